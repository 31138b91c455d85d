"""Bounds of a mean against exact binomial answers, MAPIE and simulation; the promise about accuracy, kept."""

import math

import numpy as np
import pytest
from scipy import stats

from envise_tf.errors import UserError
from envise_tf.risk_bounds import (
    accuracy_threshold,
    betting,
    hoeffding_bentkus,
    regret,
    upper_bound,
    weighted_upper_bound,
)

BOUNDS = [betting, hoeffding_bentkus]
DRAWS = 2000
DELTA = 0.05
MOST_BROKEN = stats.binom.ppf(0.9999, DRAWS, DELTA) / DRAWS
"""Share of broken promises that an exact 5 % stays under in all but one of 10,000 such tests."""


def hoeffding_bentkus_by_hand(losses, delta):
    """The definition, searched on a grid."""
    n, mean = len(losses), np.mean(losses)

    def p_value(value):
        divergence = mean * math.log(mean / value) if mean else 0.0
        divergence += (1 - mean) * math.log((1 - mean) / (1 - value)) if mean < 1 else 0.0
        return min(math.exp(-n * divergence), math.e * stats.binom.cdf(math.ceil(n * mean), n, value))

    return next(value for value in np.arange(mean + 1e-4, 1, 1e-4) if p_value(value) <= delta)


def betting_by_hand(losses, value, delta):
    """The wealth of a gambler, loss by loss."""
    n, wealth, most, total, squares = len(losses), 1.0, 1.0, 0.0, 0.25
    for i, loss in enumerate(losses, 1):
        stake = min(1.0, math.sqrt(2 * math.log(1 / delta) / (n * squares / i)))
        wealth *= 1 - stake * (loss - value)
        most, total = max(most, wealth), total + loss
        squares += (loss - (0.5 + total) / (1 + i)) ** 2
    return most >= 1 / delta


@pytest.mark.parametrize("delta", [0.01, 0.1])
@pytest.mark.parametrize("seed", range(3))
def test_hoeffding_bentkus_is_its_definition(seed, delta):
    losses = np.random.default_rng(seed).beta(0.3, 2, 70)
    expected = hoeffding_bentkus_by_hand(losses, delta)
    assert upper_bound(losses, delta, hoeffding_bentkus) == pytest.approx(expected, abs=2e-4)


@pytest.mark.parametrize("seed", range(3))
def test_betting_is_the_wealth_of_a_gambler(seed):
    losses = np.random.default_rng(seed).beta(0.3, 2, 70)
    bound = upper_bound(losses, DELTA)
    assert betting_by_hand(losses, bound + 1e-6, DELTA)
    assert not betting_by_hand(losses, bound - 1e-6, DELTA)


@pytest.mark.parametrize("n", [50, 500, 5000])
def test_without_any_loss_betting_is_the_exact_binomial_bound_and_little_more(n):
    exact = 1 - DELTA ** (1 / n)
    bound = upper_bound(np.zeros(n), DELTA)
    assert exact <= bound < 1.25 * exact
    # Bentkus' factor e costs one more unit of log(1 / delta).
    divergence = 1 - min(DELTA ** (1 / n), (DELTA / math.e) ** (1 / n))
    assert upper_bound(np.zeros(n), DELTA, hoeffding_bentkus) == pytest.approx(min(exact, divergence), rel=1e-3)


@pytest.mark.parametrize("bound", BOUNDS)
@pytest.mark.parametrize("events", [0, 1, 5, 40])
def test_no_bound_of_a_proportion_is_below_the_exact_one(bound, events):
    """Clopper and Pearson's is the smallest that depends on the count alone."""
    losses = np.zeros(400)
    losses[np.random.default_rng(events).choice(400, events, replace=False)] = 1
    exact = stats.beta.ppf(1 - DELTA, events + 1, 400 - events)
    found = upper_bound(losses, DELTA, bound)
    assert found > events / 400
    if bound is hoeffding_bentkus:
        assert found >= exact - 1e-9
    assert found < exact + 0.03


@pytest.mark.parametrize("bound", BOUNDS)
def test_all_losses_of_one_are_bounded_by_one(bound):
    assert upper_bound(np.ones(20), DELTA, bound) == 1.0


@pytest.mark.parametrize("bound", BOUNDS)
def test_more_confidence_needs_a_larger_bound(bound):
    losses = np.random.default_rng(0).beta(0.1, 3, 300)
    bounds = [float(upper_bound(losses, delta, bound)) for delta in (0.3, 0.1, 0.05, 0.01, 0.001)]
    assert bounds == sorted(bounds)
    assert bounds[0] > losses.mean()


@pytest.mark.parametrize("bound", BOUNDS)
def test_columns_are_bounded_one_by_one(bound):
    losses = np.random.default_rng(0).beta(0.2, 3, (200, 5))
    together = upper_bound(losses, DELTA, bound)
    np.testing.assert_allclose(together, [upper_bound(column, DELTA, bound) for column in losses.T], atol=1e-9)


def test_where_losses_are_mostly_zero_betting_is_much_tighter():
    random = np.random.default_rng(0)
    losses = random.uniform(0, 0.3, 2000) * (random.random(2000) < 0.05)
    excess = {bound: upper_bound(losses, DELTA, bound) - losses.mean() for bound in BOUNDS}
    assert excess[betting] < 0.5 * excess[hoeffding_bentkus]


LAWS = {
    "bernoulli": (lambda random, shape: (random.random(shape) < 0.1).astype(float), 0.1),
    "rare": (lambda random, shape: (random.random(shape) < 0.01).astype(float), 0.01),
    "heavy ties": (lambda random, shape: random.choice([0.0, 0.2, 1.0], shape, p=[0.9, 0.08, 0.02]), 0.036),
    "uniform": (lambda random, shape: random.random(shape), 0.5),
    "mostly zero": (lambda random, shape: random.uniform(0, 0.4, shape) * (random.random(shape) < 0.1), 0.02),
}


@pytest.mark.parametrize("bound", BOUNDS)
@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("n", [100, 1000])
def test_the_bound_is_broken_in_at_most_delta_of_2000_draws(bound, law, n):
    draw, mean = LAWS[law]
    losses = draw(np.random.default_rng(1), (n, DRAWS))
    # A bound lies below the mean where the mean's own value is shown already.
    assert bound(losses, mean * (1 - 1e-9), DELTA).mean() <= MOST_BROKEN


@pytest.mark.parametrize("seed", range(3))
def test_hoeffding_bentkus_is_mapies_p_value(seed):
    """MAPIE is in no extra: `pip install --no-deps mapie` runs this."""
    methods = pytest.importorskip("mapie.risk_control.methods")
    losses = np.random.default_rng(seed).beta(0.3, 4, 300)
    values = np.linspace(0.02, 0.4, 60)
    p_values = methods.compute_hoeffding_bentkus_p_value(losses.mean(keepdims=True), len(losses), values)
    shown = [bool(hoeffding_bentkus(losses, value, DELTA)) for value in values]
    assert shown == (np.ravel(p_values) <= DELTA).tolist()
    assert any(shown)
    assert not all(shown)


@pytest.mark.parametrize("losses", [[], [0.5, 1.1], [-0.1], [np.nan]])
def test_what_are_no_losses_is_refused(losses):
    with pytest.raises(UserError, match=r"expected at least one, each in 0\.\.1"):
        upper_bound(np.array(losses), DELTA)


# --- Under label shift ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bound", BOUNDS)
def test_weights_of_one_change_nothing(bound):
    losses = np.random.default_rng(0).random(100)
    weighted = weighted_upper_bound(losses, np.ones(100), 1.0, DELTA, bound=bound)
    assert weighted == pytest.approx(float(upper_bound(losses, DELTA, bound)))


@pytest.mark.parametrize("bound", BOUNDS)
def test_the_mean_of_another_prior_is_bounded_in_all_but_delta_of_the_draws(bound):
    """Losses of -1, 0 and 1 that depend on the class; the stream shows the first class more often."""
    source, stream = np.array([0.5, 0.3, 0.2]), np.array([0.8, 0.2, 0.0])
    chances = np.array([[0.05, 0.85, 0.1], [0.0, 0.7, 0.3], [0.3, 0.7, 0.0]])
    truth = stream @ chances @ [-1, 0, 1]
    random = np.random.default_rng(2)
    broken, bounds = 0, []
    for _ in range(20):
        labels = random.choice(3, (500, 100), p=source)
        losses = (random.random((500, 100, 1)) > chances[labels].cumsum(axis=-1)).sum(axis=-1) - 1.0
        for column in range(100):
            weights = (stream / source)[labels[:, column]]
            x = losses[:, column]
            bounds.append(x @ weights / 500)
        shifted = (losses * (stream / source)[labels] + 1.6) / 3.2
        broken += int(bound(shifted, (truth + 1.6) / 3.2 * (1 - 1e-9), DELTA).sum())
    assert np.mean(bounds) == pytest.approx(truth, abs=0.01)
    assert broken / 2000 <= MOST_BROKEN
    one = weighted_upper_bound(losses[:, 0], (stream / source)[labels[:, 0]], 1.6, DELTA, least_loss=-1.0, bound=bound)
    assert one == pytest.approx(3.2 * float(upper_bound(shifted[:, 0], DELTA, bound)) - 1.6)
    assert truth < one < truth + 0.5


@pytest.mark.parametrize(
    ("losses", "weights", "message"),
    [
        ([0.5, 0.5], [1.0, 3.0], r"each in 0\.\.2"),
        ([0.5], [1.0, 1.0], "weights of shape"),
        ([1.5], [1.0], "expected 0 to 1"),
    ],
)
def test_weights_and_losses_out_of_range_are_refused(losses, weights, message):
    with pytest.raises(UserError, match=message):
        weighted_upper_bound(np.array(losses), np.array(weights), 2.0, DELTA)


# --- The promise ------------------------------------------------------------------------------------------------------


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
