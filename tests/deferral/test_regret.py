"""Regret by hand and by simulation; the threshold's promise about accuracy, kept in thousands of draws."""

import math

import numpy as np
import pytest
from scipy import stats

from envise_tf.deferral.bounds import betting, hoeffding_bentkus, upper_bound
from envise_tf.deferral.regret import accuracy_threshold, regret
from envise_tf.errors import UserError

BOUNDS = [betting, hoeffding_bentkus]
DRAWS = 2000
DELTA = 0.05
MOST_BROKEN = stats.binom.ppf(0.9999, DRAWS, DELTA) / DRAWS
"""Share of broken promises that an exact 5 % stays under in all but one of 10,000 such tests."""


def test_regret_by_hand():
    probabilities = np.array([[0.6, 0.3, 0.1], [0.2, 0.3, 0.5]])
    np.testing.assert_allclose(regret(probabilities, np.array([0, 0])), [0, 0.3])


def test_regret_is_the_accuracy_that_is_lost_where_the_teacher_is_calibrated():
    random = np.random.default_rng(0)
    probabilities = random.dirichlet([0.4] * 5, 200_000)
    truth = (random.random((200_000, 1)) > probabilities.cumsum(axis=1)).sum(axis=1)
    student = np.where(random.random(200_000) < 0.7, probabilities.argmax(axis=1), random.integers(0, 5, 200_000))
    lost = (probabilities.argmax(axis=1) == truth).mean() - (student == truth).mean()
    assert regret(probabilities, student).mean() == pytest.approx(lost, abs=0.005)


def test_the_threshold_is_the_smallest_from_above_whose_bound_is_small_enough():
    random = np.random.default_rng(0)
    score = random.random(500).round(2)
    costs = random.random(500) * (random.random(500) < 0.4 * (1 - score))
    for bound in BOUNDS:
        chosen = accuracy_threshold(score, costs, 0.05, DELTA, bound)
        levels = np.unique(score)
        bounds = np.array([upper_bound(costs * (score >= level), DELTA, bound) for level in levels])
        assert (bounds[levels >= chosen] <= 0.05 + 1e-9).all()
        assert bounds[levels < chosen][-1] > 0.05
        assert 0 < chosen < 0.9


def test_betting_answers_more_than_hoeffding_bentkus_where_regret_is_mostly_zero():
    random = np.random.default_rng(1)
    score = random.random(3000)
    costs = random.uniform(0, 0.5, 3000) * (random.random(3000) < 0.2 * (1 - score))
    betted, other = (accuracy_threshold(score, costs, 0.01, DELTA, bound) for bound in BOUNDS)
    assert (score >= betted).mean() > (score >= other).mean() + 0.05


def test_equal_scores_stay_together():
    score = np.repeat([2.0, 1.0], 200)
    costs = np.where(np.arange(400) < 399, 0.0, 1.0)
    assert accuracy_threshold(score, costs, 0.05, DELTA) == 1.0
    assert accuracy_threshold(np.ones(400), np.full(400, 0.2), 0.05, DELTA) == math.inf


def test_too_few_images_can_promise_nothing():
    assert accuracy_threshold(np.arange(50.0), np.zeros(50), 0.01, DELTA) == math.inf
    assert accuracy_threshold(np.arange(400.0), np.zeros(400), 0.01, DELTA) == 0.0


@pytest.mark.parametrize(
    ("score", "costs"), [([1.0, np.nan], [0, 0]), ([1.0], [0, 0]), ([], []), ([1.0], [2.0]), ([1.0], [-0.1])]
)
def test_what_no_threshold_can_be_chosen_on_is_refused(score, costs):
    with pytest.raises(UserError):
        accuracy_threshold(np.array(score), np.array(costs), 0.1, DELTA)


def just_enough(losses, value, delta):
    """No bound at all: the mean of the sample."""
    return losses.mean(axis=0) <= value


KINDS = np.array([0.2, 0.2, 0.15, 0.1, 0.1, 0.08, 0.07, 0.05, 0.04, 0.01])
"""Shares of ten kinds of images, which have one score each, so that scores are tied heavily; the last is rare."""
TOP = np.array([0.9, 0.99, 0.9, 0.7, 0.8, 0.6, 0.6, 0.5, 0.5, 0.95])
"""The calibrated teacher's confidence in the first of two classes."""
WRONG = np.array([0.004, 0.01, 0.03, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
"""How often the student says the second."""
LOST_AT = np.cumsum(KINDS * WRONG * (2 * TOP - 1))
"""Accuracy lost when the kinds up to this one are answered."""


def share_broken(bound, images, epsilon):
    """Returns how often more than epsilon is lost, over 2,000 draws, and the mean share of images answered."""
    random = np.random.default_rng(3)
    broken, answered = 0, 0.0
    for _ in range(DRAWS):
        kind = random.choice(10, images, p=KINDS)
        says_second = random.random(images) < WRONG[kind]
        costs = regret(np.stack([TOP[kind], 1 - TOP[kind]], axis=1), says_second.astype(int))
        threshold = accuracy_threshold(-kind.astype(float), costs, epsilon, DELTA, bound)
        if threshold < math.inf:
            broken += LOST_AT[int(-threshold)] > epsilon
            answered += KINDS[: int(-threshold) + 1].sum()
    return broken / DRAWS, answered / DRAWS


@pytest.mark.parametrize(("images", "level"), [(200, 9), (3000, 4)], ids=["small", "large"])
def test_a_calibrated_teachers_promise_is_broken_in_at_most_delta_of_2000_draws(images, level):
    """Epsilon lies just below what one of the kinds more would cost, where a promise is easiest to break."""
    epsilon = LOST_AT[level] * 0.99
    for bound in BOUNDS:
        broken, answered = share_broken(bound, images, epsilon)
        assert broken <= MOST_BROKEN
        assert answered > 0.2
    assert share_broken(just_enough, images, epsilon)[0] > 0.3
