"""Networks saved by Keras 3, rebuilt in Keras 2: what is in the file, its layers, its operations, the network."""
