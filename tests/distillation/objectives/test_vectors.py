"""Unit vectors and angles: values, gradients, and what has no direction."""

import numpy as np
import tensorflow as tf
from gradients import assert_finite, assert_gradient_is_the_slope

from envise_tf.distillation.objectives.vectors import angles, unit_vectors

VECTORS = np.array([[3.0, -4.0], [0.5, 2.0]])
WEIGHTS = np.array([[1.0, 2.0], [3.0, -1.0]])


def test_three_four_five():
    np.testing.assert_allclose(unit_vectors(tf.constant([[3.0, -4.0], [0.0, 0.0]])), [[0.6, -0.8], [0, 0]], atol=1e-7)


def test_the_gradient_is_the_slope():
    assert_gradient_is_the_slope(lambda values: unit_vectors(values) * WEIGHTS, VECTORS)


def test_no_scale_is_too_large_or_too_small():
    assert_finite(lambda values: unit_vectors(values) * WEIGHTS.astype("f"), VECTORS, (1e-30, 0.0, 1.0, 1e37))
    np.testing.assert_allclose(unit_vectors(tf.constant(VECTORS[:1] * 1e37, tf.float32)), [[0.6, -0.8]], rtol=1e-6)


def test_angles_are_finite_at_both_ends():
    cosines = tf.Variable([1.0, -1.0, 0.0])
    with tf.GradientTape() as tape:
        found = angles(cosines)
    np.testing.assert_allclose(found, [0, np.pi, np.pi / 2], atol=1e-3)
    np.testing.assert_allclose(tape.gradient(found, cosines), [0, 0, -1])
