"""python -m envise_tf.evaluate: test a finished run."""
