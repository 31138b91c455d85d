"""Bounds of a mean against exact binomial answers, MAPIE and simulation."""

import math

import numpy as np
import pytest
from scipy import stats

from envise_tf.deferral.bounds import (
    betting,
    hoeffding_bentkus,
    upper_bound,
    weighted_upper_bound,
)
from envise_tf.errors import UserError

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
