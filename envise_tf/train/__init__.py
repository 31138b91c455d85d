"""python -m envise_tf.train: distil a student."""
