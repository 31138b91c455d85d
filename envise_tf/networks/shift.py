"""A learned number added to each channel: what moves the threshold of a sign, or the corner of a PReLU."""

from __future__ import annotations

import tensorflow as tf


@tf.keras.utils.register_keras_serializable(package="envise_tf")
class Shift(tf.keras.layers.Layer):
    """Adds one learned number to each channel, at first 0 (RSign and RPReLU, Liu et al. 2020, "ReActNet", section 4.2).

    Call with float (..., channels); returns the same shape and dtype. On the phone it is one ADD.
    """

    def build(self, input_shape: tf.TensorShape) -> None:
        self.offset = self.add_weight("offset", (input_shape[-1],), initializer="zeros")
        super().build(input_shape)

    def call(self, values: tf.Tensor) -> tf.Tensor:
        return values + self.offset
