"""Activations of Keras 3 that Keras 2 lacks, or gives another meaning.

Their names are none of Keras' own: Keras writes a function that is called as one of its own down by the plain name, and
would take its own when it loads the file.
"""

from __future__ import annotations

import tensorflow as tf


@tf.keras.utils.register_keras_serializable(package="envise_tf")
def keras3_hard_sigmoid(x: tf.Tensor) -> tf.Tensor:
    """Returns relu6(x + 3) / 6, 0..1, of the shape and dtype of x (MobileNetV3, Howard et al. 2019, section 5.2).

    Keras 2 calls another function hard_sigmoid: 0.2 x + 0.5, clipped to 0..1.
    """
    return tf.nn.relu6(x + 3.0) * (1.0 / 6.0)


@tf.keras.utils.register_keras_serializable(package="envise_tf")
def keras3_hard_swish(x: tf.Tensor) -> tf.Tensor:
    """Returns x times its hard sigmoid, of the shape and dtype of x (as above); Keras 3 calls it hard_silu, too."""
    return x * keras3_hard_sigmoid(x)
