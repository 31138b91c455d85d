"""Attention transfer: a case by hand, its gradient, and extreme maps."""

import numpy as np
import tensorflow as tf
from gradients import assert_finite, assert_gradient_is_the_slope

from envise_tf.distillation.objectives.attention_transfer import attention_transfer
from envise_tf.distillation.objectives.energy import energy

TEACHER = np.array([[[1.0, 0.0], [0.0, 0.0]], [[0.2, 0.4], [0.1, 0.9]]])
FEATURES = np.random.default_rng(1).normal(size=(2, 2, 2, 3))


def losses(features):
    maps = energy(features)
    return attention_transfer(maps, tf.cast(TEACHER, maps.dtype))


def test_three_four_five_against_one_position():
    student = tf.constant([[[3.0, 4.0], [0.0, 0.0]]], tf.float64)
    np.testing.assert_allclose(attention_transfer(student, TEACHER[:1]), [(0.4**2 + 0.8**2) / 4], rtol=1e-6)
    np.testing.assert_allclose(attention_transfer(10 * student, 7 * student), [0], atol=1e-12)


def test_the_gradient_is_the_slope_and_the_teacher_is_a_constant():
    assert_gradient_is_the_slope(lambda maps: attention_transfer(maps, TEACHER), TEACHER[::-1] + 0.3)
    teacher = tf.Variable(TEACHER)
    with tf.GradientTape() as tape:
        loss = attention_transfer(TEACHER[::-1], teacher)
    assert tape.gradient(loss, teacher) is None


def test_the_gradient_in_the_features_is_the_slope_but_for_the_scale():
    """The scale is constant to the gradient, and the loss does not depend on it."""
    assert_gradient_is_the_slope(losses, FEATURES)


def test_extreme_features():
    assert_finite(losses, FEATURES, (0.0, 1e-30, 1.0, 1e37))
