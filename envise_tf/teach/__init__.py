"""python -m envise_tf.teach: train a teacher, or its generic student."""
