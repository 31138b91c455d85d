"""The mixture of hard and soft labels, against SciPy."""

import numpy as np
import pytest
import tensorflow as tf
from gradients import assert_finite, assert_gradient_is_the_slope
from scipy.special import log_softmax, rel_entr, softmax

from envise_tf.distillation.objectives.mixed_label import MixedLabel, mixed_label
from envise_tf.errors import UserError

STUDENT = np.array([[2.0, -1.0, 0.5], [0.0, 0.0, 0.0]])
TEACHER = np.array([[1.0, 3.0, -0.5], [4.0, 0.0, 1.0]])
LABELS = np.array([1, 0])


def losses(student):
    return mixed_label(student, tf.cast(TEACHER, student.dtype), LABELS, 3.0, 0.7)


def test_it_is_the_weighted_sum():
    hard = -log_softmax(STUDENT, axis=1)[[0, 1], LABELS]
    soft = 9 * rel_entr(softmax(TEACHER / 3, axis=1), softmax(STUDENT / 3, axis=1)).sum(axis=1)
    np.testing.assert_allclose(losses(tf.constant(STUDENT)), 0.3 * hard + 0.7 * soft, rtol=1e-9)


def test_the_gradient_is_the_slope():
    assert_gradient_is_the_slope(losses, STUDENT)


def test_extreme_logits():
    assert_finite(losses, STUDENT, (1.0, 1e4, 1e30))


@pytest.mark.parametrize("options", [{"temperature": 0.0}, {"soft_share": 1.1}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(UserError, match=f"mixed_label: {next(iter(options))}"):
        MixedLabel(**options)
