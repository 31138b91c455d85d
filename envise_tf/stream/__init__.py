"""python -m envise_tf.stream: answer a stream that changes."""
