"""Directions, and angles between them, with finite gradients."""

from __future__ import annotations

import tensorflow as tf

from envise_tf.networks.precision import at_least_float32

LARGEST_COSINE = 1 - 1e-7
"""Cosines are clipped to this: the slope of the arc cosine is infinite at 1."""

_SMALLEST = 1e-12
"""A vector whose entries are all at most this large has no direction (our choice)."""


def unit_vectors(values: tf.Tensor) -> tf.Tensor:
    """Returns x / ||x||_2 along the last axis, float32 (float64 for float64), of the shape of `values`.

    A vector without direction becomes zeros and passes a gradient of zero. No finite entry is so large that its square
    would overflow.

    Args:
        values: floating point (..., d).
    """
    values = at_least_float32(values)
    # The direction does not depend on the scale, so its gradient may take the scale as constant.
    largest = tf.stop_gradient(tf.reduce_max(tf.abs(values), axis=-1, keepdims=True))
    has_direction = largest > _SMALLEST
    scaled = values / tf.where(has_direction, largest, tf.ones_like(largest))
    scaled = tf.where(has_direction, scaled, tf.zeros_like(scaled))
    squares = tf.reduce_sum(scaled**2, axis=-1, keepdims=True)
    return scaled * tf.math.rsqrt(tf.where(has_direction, squares, tf.ones_like(squares)))


def angles(cosines: tf.Tensor) -> tf.Tensor:
    """Returns arccos, in radians, of cosines clipped to `LARGEST_COSINE`; beyond it the gradient is zero."""
    return tf.acos(tf.clip_by_value(cosines, -LARGEST_COSINE, LARGEST_COSINE))
