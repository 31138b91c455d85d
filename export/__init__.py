"""Writing and running the bundle for phones; installed as envise_tf.export."""
