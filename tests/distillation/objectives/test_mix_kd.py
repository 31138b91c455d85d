"""MIX-KD: NumPy's standard deviation and SciPy's divergence, gradients, and logits that are all alike."""

import numpy as np
import pytest
import tensorflow as tf
from gradients import assert_finite, assert_gradient_is_the_slope
from scipy.special import log_softmax, rel_entr, softmax

from envise_tf.distillation.objectives.mix_kd import MixKd, mix_kd, standardised
from envise_tf.errors import UserError

STUDENT = np.array([[2.0, -1.0, 0.5], [0.3, 0.1, 0.0]])
TEACHER = np.array([[1.0, 3.0, -0.5], [4.0, 0.0, 1.0]])
LABELS = np.array([1, 0])


def losses(student):
    return mix_kd(student, tf.cast(TEACHER, student.dtype), LABELS)


def test_it_is_the_formula():
    units = [softmax(z / z.std(axis=1, keepdims=True), axis=1) for z in (TEACHER, STUDENT)]
    expected = 0.1 * -log_softmax(STUDENT, axis=1)[[0, 1], LABELS] + 0.9 * rel_entr(*units).sum(axis=1)
    np.testing.assert_allclose(losses(tf.constant(STUDENT)), expected, rtol=1e-9)


def test_standardised_by_hand():
    np.testing.assert_allclose(standardised(tf.constant([[1.0, 3.0], [5.0, 5.0]])), [[-1, 1], [0, 0]], rtol=1e-6)


def test_the_gradient_is_the_slope():
    assert_gradient_is_the_slope(losses, STUDENT)


def test_extreme_logits():
    assert_finite(losses, STUDENT, (0.0, 1.0, 1e4, 1e30))


def test_a_share_out_of_range_is_refused():
    with pytest.raises(UserError, match=r"mix_kd: soft_share 1.1, expected 0 to 1"):
        MixKd(soft_share=1.1)
