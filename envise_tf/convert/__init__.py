"""python -m envise_tf.convert: a network of Keras 3 as one of Keras 2."""
