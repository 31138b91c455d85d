"""Deep gambler: probabilities by hand, gradients, extreme logits, and rewards that make no sense."""

import numpy as np
import pytest
import tensorflow as tf
from gradients import assert_finite, assert_gradient_is_the_slope
from scipy.special import softmax

from envise_tf.distillation.objectives import Shapes
from envise_tf.distillation.objectives.deep_gambler import DeepGambler, deep_gambler
from envise_tf.errors import UserError

LOGITS = np.array([[2.0, -1.0, 0.5, 0.3], [0.0, 0.0, 0.0, 4.0]])  # the last is the abstention's
TARGET = np.array([[0.0, 1.0, 0.0], [0.2, 0.5, 0.3]])


def losses(logits):
    return deep_gambler(logits[:, :-1], logits[:, -1:], TARGET, 2.5)


def test_it_is_the_formula():
    p = softmax(LOGITS, axis=1)
    expected = -(TARGET * np.log(p[:, :-1] + p[:, -1:] / 2.5)).sum(axis=1)
    np.testing.assert_allclose(losses(tf.constant(LOGITS)), expected, rtol=1e-9)


def test_abstaining_for_certain_costs_the_logarithm_of_the_reward():
    np.testing.assert_allclose(losses(tf.constant([[0.0, 0.0, 0.0, 900.0]] * 2)), [np.log(2.5)] * 2, rtol=1e-6)


def test_the_gradient_is_the_slope():
    assert_gradient_is_the_slope(losses, LOGITS)


def test_extreme_logits():
    assert_finite(losses, LOGITS, (0.0, 1.0, 1e4, 1e30))


def test_rewards_out_of_range_are_refused():
    with pytest.raises(UserError, match=r"reward 1.0, expected more than 1"):
        DeepGambler(reward=1.0)
    with pytest.raises(UserError, match=r"reward 4.0 with 3 classes, expected at most their number"):
        DeepGambler(reward=4.0).companion(Shapes(3, embedding=8), Shapes(3))
