"""Searching for the best settings; installed as envise_tf.tuning."""
