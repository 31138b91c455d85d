"""AMC: pairs at known angles, gradients, which images are pairs, and the ramp."""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from gradients import assert_finite, assert_gradient_is_the_slope

from envise_tf.distillation.objectives import Evidence, Shapes
from envise_tf.distillation.objectives.amc import Amc, amc
from envise_tf.errors import UserError

ANGLE = 0.3
ONE = np.array([[2.0, 0.0]] * 3)
OTHER = 5 * np.array([[np.cos(ANGLE), np.sin(ANGLE)], [np.cos(ANGLE), np.sin(ANGLE)], [0.0, 1.0]])
SAME = np.array([True, False, False])


def test_pairs_at_known_angles():
    np.testing.assert_allclose(amc(ONE, OTHER, SAME, 0.5), [ANGLE**2, (0.5 - ANGLE) ** 2, 0], rtol=1e-9)


def test_the_gradient_is_the_slope():
    assert_gradient_is_the_slope(lambda embedding: amc(embedding, OTHER, SAME), ONE + 0.1)


@pytest.mark.parametrize("other", [ONE, -ONE, OTHER], ids=["equal", "opposite", "other"])
def test_equal_opposite_and_extreme_embeddings(other):
    assert_finite(lambda embedding: amc(embedding, tf.constant(other, tf.float32), SAME), ONE, (0.0, 1.0, 1e37))


def evidence(embedding, label, is_known, companion, is_training=True):
    student = SimpleNamespace(embedding=tf.constant(embedding))
    return Evidence(
        student, None, None, None, tf.constant(label), tf.constant(is_known), companion, is_training=is_training
    )


def test_images_half_a_batch_apart_are_pairs_if_both_are_known():
    embedding = np.concatenate([ONE, OTHER, [[9.0, 9.0]]])  # the last is in no pair
    label = [0, 0, 1, 0, 1, 2, 0]
    objective = Amc(ramp=0)
    companion = objective.companion(Shapes(3), Shapes(3))
    loss, _ = objective(evidence(embedding, label, [True] * 7, companion))
    assert float(loss) == pytest.approx((ANGLE**2 + (0.5 - ANGLE) ** 2) / 3)
    loss, _ = objective(evidence(embedding, label, [True, True, False, True, False, True, True], companion))
    assert float(loss) == pytest.approx(ANGLE**2)
    assert float(objective(evidence(embedding[:1], [0], [True], companion))[0]) == 0


def test_the_loss_rises_over_training_steps_alone():
    objective = Amc(ramp=2)
    companion = objective.companion(Shapes(3), Shapes(3))
    modes = [True, False, True, True]
    label, known = [0, 0, 1, 0, 1, 2], [True, False, True, True, False, False]
    losses = [
        float(objective(evidence(np.concatenate([ONE, OTHER]), label, known, companion, mode))[0]) for mode in modes
    ]
    np.testing.assert_allclose(losses, np.array([0.5, 0.5, 1, 1]) * ANGLE**2, rtol=1e-6)
    assert companion.get_weights() == [3.0]


@pytest.mark.parametrize("options", [{"margin": -0.1}, {"ramp": -1}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(UserError, match=f"amc: {next(iter(options))}"):
        Amc(**options)
