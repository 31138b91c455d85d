"""Gradients of losses against finite differences, and losses at extreme inputs."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

STEP = 1e-6


def assert_gradient_is_the_slope(losses: Callable[[tf.Tensor], tf.Tensor], values: np.ndarray) -> None:
    """Compares the gradient of sum(losses) in float64 `values`, entry by entry; some entry must have one."""
    variable = tf.Variable(values, dtype=tf.float64)
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(losses(variable))
    assert total.dtype == tf.float64
    gradient = tf.convert_to_tensor(tape.gradient(total, variable)).numpy()
    nudges = STEP * np.eye(values.size).reshape(-1, *values.shape)
    slopes = [float(tf.reduce_sum(losses(values + n)) - tf.reduce_sum(losses(values - n))) for n in nudges]
    expected = np.reshape(slopes, values.shape) / (2 * STEP)
    assert np.abs(expected).max() > 1e-4
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-6 * max(1, np.abs(expected).max()))


def assert_finite(losses: Callable[[tf.Tensor], tf.Tensor], values: np.ndarray, scales: tuple[float, ...]) -> None:
    """Checks losses and gradients at `values` times each scale, in float32 and bfloat16; losses stay float32."""
    for dtype in (tf.float32, tf.bfloat16):
        for scale in scales:
            given = tf.Variable(tf.cast(values * scale, dtype))
            with tf.GradientTape() as tape:
                result = losses(given)
            assert result.dtype == tf.float32
            gradient = tf.cast(tf.convert_to_tensor(tape.gradient(result, given)), tf.float32)
            assert np.isfinite(result).all(), (dtype, scale)
            assert np.isfinite(gradient).all(), (dtype, scale)
