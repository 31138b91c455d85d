"""Normalisation as a layer inside every network, so that a bundle needs no preprocessing beyond resizing."""

from __future__ import annotations

from typing import Any, Literal, get_args

import tensorflow as tf

PixelRange = Literal["raw", "unit", "symmetric", "torch", "caffe"]
PIXEL_RANGES: tuple[PixelRange, ...] = get_args(PixelRange)


@tf.keras.utils.register_keras_serializable(package="envise_tf")
class Normalisation(tf.keras.layers.Layer):
    """Turns uint8 pixels into the range that a network was trained on.

    Args:
        pixel_range: "raw" 0..255; "unit" 0..1; "symmetric" -1..1; "torch" 0..1 less ImageNet's mean, divided by its
            deviation; "caffe" BGR less ImageNet's mean (the modes of keras.applications.imagenet_utils).

    Call with uint8 or float (batch, height, width, 3), 0..255; returns float of the same shape.
    """

    def __init__(self, pixel_range: PixelRange, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if pixel_range not in PIXEL_RANGES:
            raise ValueError(f"pixel_range {pixel_range!r}: expected one of {', '.join(PIXEL_RANGES)}")
        self.pixel_range = pixel_range

    def call(self, images: tf.Tensor) -> tf.Tensor:
        pixels = tf.cast(images, self.compute_dtype)
        if self.pixel_range == "raw":
            return pixels
        if self.pixel_range == "unit":
            return pixels / 255.0
        mode = "tf" if self.pixel_range == "symmetric" else self.pixel_range
        return tf.keras.applications.imagenet_utils.preprocess_input(pixels, data_format="channels_last", mode=mode)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "pixel_range": self.pixel_range}
