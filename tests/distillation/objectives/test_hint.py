"""Hints: differences by hand on two grids, gradients, extreme features, and the adaptation's shape."""

import numpy as np
import pytest
import tensorflow as tf
from gradients import assert_finite, assert_gradient_is_the_slope

from envise_tf.distillation.objectives import Shapes
from envise_tf.distillation.objectives.hint import Hint, hint
from envise_tf.errors import UserError

ADAPTED = np.array([[[[1.0, 2.0], [3.0, 4.0]]]])
TEACHER = np.array([[[[1.0, 0.0], [2.0, 7.0]]]])


def test_differences_by_hand():
    np.testing.assert_allclose(hint(ADAPTED, TEACHER), [(4 + 1 + 9) / 4])
    np.testing.assert_allclose(hint(ADAPTED, TEACHER, "l1"), [(2 + 1 + 3) / 4])


def test_a_finer_grid_is_brought_to_the_coarser_one():
    fine = TEACHER.repeat(2, axis=1).repeat(2, axis=2)
    np.testing.assert_allclose(hint(ADAPTED, fine), [(4 + 1 + 9) / 4])


@pytest.mark.parametrize("norm", ["l2", "l1"])
def test_the_gradient_is_the_slope_and_extreme_features_are_finite(norm):
    assert_gradient_is_the_slope(lambda maps: hint(maps, TEACHER, norm), ADAPTED + 0.1)
    assert_finite(lambda maps: hint(maps, tf.cast(TEACHER, tf.float32), norm), ADAPTED, (0.0, 1.0, 1e18))


def test_the_adaptation_leads_from_the_students_channels_to_the_teachers_and_is_the_same_each_time():
    student = Shapes(3, (tf.TensorShape((None, 4, 4, 8)), tf.TensorShape((None, 2, 2, 6))))
    teacher = Shapes(5, (tf.TensorShape((None, 3, 3, 7)),))
    one, other = (Hint().companion(student, teacher).get_weights() for _ in range(2))
    assert [weight.shape for weight in one] == [(1, 1, 6, 7), (7,)]
    np.testing.assert_array_equal(one[0], other[0])


def test_another_norm_is_refused():
    with pytest.raises(UserError, match="norm is 'l3', expected l2 or l1"):
        Hint(norm="l3")
