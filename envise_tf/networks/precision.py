"""Numbers in half precision, brought to one that losses and maps are computed in."""

from __future__ import annotations

import tensorflow as tf


def at_least_float32(values: tf.Tensor) -> tf.Tensor:
    """Returns the values as float32; float64 stays as it is."""
    return values if values.dtype == tf.float64 else tf.cast(values, tf.float32)
