"""OSKD: neighbours at known places, gradients, and what is remembered."""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from gradients import assert_finite, assert_gradient_is_the_slope

from envise_tf.distillation.objectives import Evidence, Shapes
from envise_tf.distillation.objectives.oskd import Oskd, oskd
from envise_tf.errors import UserError

OUTPUTS = np.array([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]])
OTHERS = np.array([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8], [0.6, 0.4]])
CANDIDATE = np.array([[True, True, True, False], [True, True, False, True], [False, True, False, False]])


def test_the_nearest_candidates_pull_by_their_mean():
    # Means (0.8, 0.2), (0.65, 0.35) and, of one candidate alone, (0.7, 0.3).
    np.testing.assert_allclose(oskd(OUTPUTS, OTHERS, CANDIDATE, 2), [0.08, 0.045, 0.98], rtol=1e-9)


def test_the_furthest_candidates_push_by_theirs():
    # Means (0.45, 0.55), (0.8, 0.2) and (0.7, 0.3).
    pushed = np.array([0.08, 0.045, 0.98]) - 0.5 * np.array([0.605, 0.18, 0.98])
    np.testing.assert_allclose(oskd(OUTPUTS, OTHERS, CANDIDATE, 2, push=0.5), pushed, rtol=1e-9)


@pytest.mark.parametrize("neighbours", [3, 4, 9])
def test_all_candidates_count_where_there_are_too_few(neighbours):
    mean = np.array([[0.6, 0.4], [2.2 / 3, 0.8 / 3], [0.7, 0.3]])
    expected = ((OUTPUTS - mean) ** 2).sum(axis=1)
    np.testing.assert_allclose(oskd(OUTPUTS, OTHERS, CANDIDATE, neighbours), expected, rtol=1e-9)


def test_an_image_without_candidates_adds_nothing():
    assert oskd(OUTPUTS, OTHERS, np.zeros((3, 4), bool)).numpy().tolist() == [0, 0, 0]


@pytest.mark.parametrize("push", [0.0, 0.5])
def test_the_gradient_is_the_slope(push):
    assert_gradient_is_the_slope(lambda outputs: oskd(outputs, OTHERS, CANDIDATE, 2, push), OUTPUTS + 0.01)


def test_equal_and_tiny_outputs():
    assert_finite(
        lambda outputs: oskd(outputs, OTHERS.astype("float32"), CANDIDATE, 2, 0.5), OUTPUTS, (0.0, 1e-30, 1.0)
    )


LABELS = [0, 0, 1, 1]


def evidence(companion, logits, label=LABELS, is_known=(True,) * 4, is_training=True):
    student = SimpleNamespace(logits=tf.constant(logits))
    known = tf.constant(list(is_known))
    return Evidence(student, None, None, None, tf.constant(label, tf.int64), known, companion, is_training)


def logits_of(*places):
    return np.eye(3, dtype=np.float32)[list(places)] * 20


def test_only_known_images_of_the_same_class_are_neighbours_and_none_its_own():
    objective = Oskd(memory=0)
    companion = objective.companion(Shapes(3), Shapes(3))
    loss, _ = objective(evidence(companion, logits_of(0, 1, 2, 2)))
    assert float(loss) == pytest.approx((2 + 2 + 0 + 0) / 4, abs=1e-6)
    loss, _ = objective(evidence(companion, logits_of(0, 1, 2, 2), is_known=(True, False, True, True)))
    assert float(loss) == pytest.approx(0, abs=1e-6)


def test_outputs_of_earlier_training_steps_are_neighbours_until_newer_ones_take_their_place():
    objective = Oskd(neighbours=1, memory=4)
    companion = objective.companion(Shapes(3), Shapes(3))

    def loss(*places, **options):
        return float(objective(evidence(companion, logits_of(*places), [0, 1, 2, 2], **options))[0])

    assert loss(0, 1, 2, 2, is_training=False) == pytest.approx(0, abs=1e-6)  # nobody of its class to be like
    assert loss(0, 1, 2, 2) == pytest.approx(0, abs=1e-6)  # evaluation is not remembered
    assert loss(1, 1, 2, 2) == pytest.approx(2 / 4, abs=1e-6)  # unlike the one of its class that is
    assert loss(1, 1, 2, 2) == pytest.approx(0, abs=1e-6)  # that one is forgotten for the newer


def test_unknown_images_are_not_remembered_as_any_class():
    objective = Oskd(memory=4)
    companion = objective.companion(Shapes(3), Shapes(3))
    objective(evidence(companion, logits_of(1, 1, 1, 1), [0] * 4, is_known=[False] * 4))
    loss, _ = objective(evidence(companion, logits_of(0, 1, 2, 2), [0, 1, 2, 2]))
    assert float(loss) == pytest.approx(0, abs=1e-6)


def test_numbers_that_make_no_sense_are_refused():
    with pytest.raises(UserError, match="neighbours 0, expected at least 1"):
        Oskd(neighbours=0)
    with pytest.raises(UserError, match=r"push -1\.0, expected at least 0"):
        Oskd(push=-1.0)
