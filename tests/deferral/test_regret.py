"""Regret by hand and by simulation; the threshold's promise about accuracy, kept in thousands of draws."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from envise_tf.deferral.bounds import betting, hoeffding_bentkus, upper_bound
from envise_tf.deferral.regret import accuracy_threshold, regret
from envise_tf.errors import UserError

MAPIE = json.loads(Path(__file__).with_name("mapie.json").read_text())
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
    score = random.integers(0, 20, 500) / 20
    costs = random.random(500) * (random.random(500) < 0.4 * (1 - score))
    for bound in BOUNDS:
        chosen = accuracy_threshold(score, costs, 0.05, DELTA, bound)
        levels = np.unique(score)
        bounds = np.array([upper_bound(costs * (score >= level), DELTA, bound) for level in levels])
        assert (bounds[levels >= chosen] <= 0.05 + 1e-9).all()
        assert bounds[levels < chosen][-1] > 0.05
        assert 0 < chosen < 0.9


@pytest.mark.parametrize("case", MAPIE["cases"], ids=lambda case: f"{len(case['score'])} images at {case['epsilon']}")
def test_the_threshold_is_that_of_mapies_learn_then_test(case):
    """Stored answers, see make_mapie.py."""
    chosen = accuracy_threshold(case["score"], case["regret"], case["epsilon"], DELTA, hoeffding_bentkus)
    assert chosen == (math.inf if case["threshold"] is None else case["threshold"])


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


SHARES = np.array([0.25, 0.2, 0.15, 0.15, 0.1, 0.08, 0.05, 0.02])
"""Shares of eight kinds of images, which have one score each, so that scores are tied heavily, from the surest on; the
last is that of a rare class."""
PROBABILITIES = np.array(
    [
        [0.97, 0.01, 0.01, 0.01],
        [0.01, 0.95, 0.03, 0.01],
        [0.05, 0.02, 0.92, 0.01],
        [0.6, 0.35, 0.04, 0.01],
        [0.1, 0.55, 0.34, 0.01],
        [0.3, 0.25, 0.44, 0.01],
        [0.5, 0.3, 0.19, 0.01],
        [0.05, 0.02, 0.03, 0.9],
    ]
)
"""Of four classes, by the calibrated teacher, who is as often right of a kind as it says."""
SAID = np.array([0.002, 0.01, 0.03, 0.1, 0.2, 0.3, 0.4, 0.6])
"""How often the student contradicts the teacher; it then says the next class."""
TEACHER = PROBABILITIES.argmax(axis=1)
REGRETS = regret(PROBABILITIES, (TEACHER + 1) % 4)


def lost_at(said):
    """Accuracy lost when the kinds up to each are answered."""
    return np.cumsum(SHARES * said * REGRETS)


def drawn(random, said, shape):
    """Kinds of images and whether the student contradicts the teacher."""
    kind = random.choice(len(SHARES), shape, p=SHARES)
    return kind, random.random(shape) < said[kind]


def test_labels_drawn_from_the_teachers_probabilities_lose_what_the_regrets_say():
    random, images = np.random.default_rng(7), 400_000
    kind, contradicts = drawn(random, SAID, images)
    label = (random.random((images, 1)) > PROBABILITIES[kind].cumsum(axis=1)).sum(axis=1)
    student = (TEACHER[kind] + contradicts) % 4
    lost = (TEACHER[kind] == label).astype(float) - (student == label)
    for level, expected in enumerate(lost_at(SAID)):
        assert (lost * (kind <= level)).mean() == pytest.approx(expected, abs=4 * lost.std() / math.sqrt(images))


def levels_chosen(bound, kind, costs, epsilon):
    """Returns up to which kind `accuracy_threshold` answers in each column, -1 for none: all draws at once."""
    chosen, is_open = np.full(kind.shape[1], -1), np.ones(kind.shape[1], bool)
    for level in range(len(SHARES)):
        is_open[is_open] = bound(costs[:, is_open] * (kind[:, is_open] <= level), epsilon, DELTA)
        chosen[is_open] = level
    return chosen


@pytest.mark.parametrize(("images", "said", "level"), [(50, SAID**0.25, 4), (2000, SAID, 4)], ids=["small", "large"])
def test_a_calibrated_teachers_promise_is_broken_in_at_most_delta_of_2000_draws(images, said, level):
    """Epsilon lies just below what one of the kinds more would cost, where a promise is easiest to break."""
    epsilon = lost_at(said)[level] * 0.99
    random, chosen = np.random.default_rng(3), {bound: [] for bound in (*BOUNDS, just_enough)}
    for _ in range(8):
        kind, contradicts = drawn(random, said, (images, DRAWS // 8))
        costs = REGRETS[kind] * contradicts
        for bound, levels in chosen.items():
            levels.append(levels_chosen(bound, kind, costs, epsilon))
    for bound in BOUNDS:
        levels = np.concatenate(chosen[bound])
        assert np.mean(levels >= level) <= MOST_BROKEN
        assert np.mean(np.append(SHARES.cumsum(), 0)[levels]) > 0.2
        for draw in range(10):  # the last of them, one by one
            alone = accuracy_threshold(-kind[:, draw].astype(float), costs[:, draw], epsilon, DELTA, bound)
            assert np.sum(-kind[:, draw] >= alone) == np.sum(kind[:, draw] <= levels[draw - DRAWS // 8])
    assert np.mean(np.concatenate(chosen[just_enough]) >= level) > 0.3
