"""Upper confidence bounds for a mean of losses in [0, 1].

A bound is given as a test: does the sample show, with confidence 1 - delta, that the mean is below a value? The upper
bound is the smallest value that it shows. Two tests, both for independent losses of any law on [0, 1]:

- Hoeffding-Bentkus [Bates et al. 2021, "Distribution-free, risk-controlling prediction sets"]: with r the mean of n
  losses, the true mean is below v when the smaller of exp(-n h(r, v)) and e P(Bin(n, v) <= ceil(n r)) is at most delta,
  h the Kullback-Leibler divergence of two Bernoulli laws.
- Betting [Waudby-Smith and Ramdas 2020/2024, "Estimating means of bounded random variables by betting"; the one-sided
  form of Bates et al. 2021, proposition 5]: a gambler stakes nu_i against "the mean is at least v" before loss i is
  seen, and owns K_i(v) = prod_j (1 - nu_j (L_j - v)). If the mean were at least v, K would be a supermartingale from 1,
  which reaches 1 / delta with chance at most delta [Ville 1939]. The stake is their predictable plug-in,
      nu_i = min(1, sqrt(2 log(1 / delta) / (n s2_(i-1)))),  s2_i = (1/4 + sum_(j<=i) (L_j - m_j)^2) / (1 + i),
      m_i = (1/2 + sum_(j<=i) L_j) / (1 + i),
  which grows as the variance turns out small: where losses are mostly 0 the bound is far below Hoeffding-Bentkus'.
  K_i(v) rises with v, so the bound is found by bisection. The losses' order has a say: give them in random order.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy import special, stats

from envise_tf.errors import UserError

Bound = Callable[[np.ndarray, "float | np.ndarray", float], np.ndarray]
"""Losses (n,) or (n, m), value or values (m,), delta -> bool () or (m,): is the mean shown to be below the value?"""

_BISECTIONS = 40


def hoeffding_bentkus(losses: np.ndarray, value: float | np.ndarray, delta: float) -> np.ndarray:
    """Returns whether the mean is at most `value` with confidence 1 - delta, by Hoeffding's and Bentkus' inequalities.

    Args:
        losses: float (n,) or (n, m), 0..1; each column is a sample of its own.
        value: one for all columns or (m,), 0..1.
        delta: in (0, 1).

    Returns:
        bool, () or (m,).
    """
    n, mean, value = len(losses), losses.mean(axis=0), np.asarray(value, np.float64)
    # Means of many small numbers are a little off, and ceil would make a whole count of it.
    count = np.ceil(n * mean - 1e-9)
    divergence = special.rel_entr(mean, value) + special.rel_entr(1 - mean, 1 - value)
    p_value = np.minimum(np.exp(-n * divergence), math.e * stats.binom.cdf(count, n, value))
    return (mean < value) & (p_value <= delta)


def betting(losses: np.ndarray, value: float | np.ndarray, delta: float) -> np.ndarray:
    """Returns whether the mean is at most `value` with confidence 1 - delta, by betting against larger means.

    Args:
        losses: float (n,) or (n, m), 0..1, in random order; each column is a sample of its own.
        value: one for all columns or (m,), 0..1.
        delta: in (0, 1), also what the stakes are made for.

    Returns:
        bool, () or (m,).
    """
    n = len(losses)
    seen = np.arange(2, n + 2).reshape(-1, *[1] * (losses.ndim - 1))
    running_mean = (0.5 + np.cumsum(losses, axis=0)) / seen
    variance = (0.25 + np.cumsum((losses - running_mean) ** 2, axis=0)) / seen
    before = np.concatenate([np.full_like(variance[:1], 0.25), variance[:-1]])
    stake = np.minimum(1.0, np.sqrt(2 * math.log(1 / delta) / (n * before)))
    with np.errstate(divide="ignore"):  # all is lost where a loss of 1 meets the value 0
        log_wealth = np.cumsum(np.log1p(-stake * (losses - value)), axis=0)
    return log_wealth.max(axis=0) >= math.log(1 / delta)


BOUNDS: dict[str, Bound] = {"betting": betting, "hoeffding_bentkus": hoeffding_bentkus}
"""All bounds, by the names that settings and bundles give them."""


def upper_bound(losses: np.ndarray, delta: float, bound: Bound = betting) -> np.ndarray:
    """Returns the upper confidence bound of the mean, float64 () or (m,), 0..1; it errs with chance at most delta.

    Args:
        losses: float (n,) or (n, m), 0..1, in random order; each column is a sample of its own.
        delta: in (0, 1).
        bound: `betting` or `hoeffding_bentkus`.

    Raises:
        UserError: there is no loss, or one is not in 0..1.
    """
    losses = checked_losses(losses)
    low, high = losses.mean(axis=0), np.ones(losses.shape[1:])
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        is_shown = bound(losses, middle, delta)
        low, high = np.where(is_shown, low, middle), np.where(is_shown, middle, high)
    return high


def weighted_upper_bound(
    losses: np.ndarray,
    weights: np.ndarray,
    most_weight: float,
    delta: float,
    least_loss: float = 0.0,
    bound: Bound = betting,
) -> np.ndarray:
    """Returns the upper confidence bound of E[w L], float64 () or (m,), from images of another prior.

    Under label shift the stream's mean loss is sum_c pi_c E[L | c] = E0[w L] with w = pi_c / pi0_c of an image's label
    and E0 the mean where the labelled images come from. w L is brought to 0..1 by its range, least_loss * most_weight
    to most_weight. The bound takes the weights as given; to allow for an uncertain pi give weights of its upper ends,
    which is safe for losses >= 0.

    Args:
        losses: float (n,) or (n, m), least_loss..1, in random order; each column is a sample of its own.
        weights: float (n,), 0..most_weight.
        most_weight: the largest weight that any image can have, not only one of these.
        delta: in (0, 1).
        least_loss: -1 or 0, say.
        bound: `betting` or `hoeffding_bentkus`.

    Raises:
        UserError: there is no loss, or a loss or a weight is out of its range.
    """
    losses, weights = np.asarray(losses, np.float64), np.asarray(weights, np.float64)
    if weights.shape != losses.shape[:1] or not ((weights >= 0) & (weights <= most_weight)).all():
        raise UserError(f"weights of shape {weights.shape}: expected {losses.shape[:1]}, each in 0..{most_weight:g}")
    if not ((losses >= least_loss) & (losses <= 1)).all():
        raise UserError(f"losses run from {losses.min():g} to {losses.max():g}: expected {least_loss:g} to 1")
    lowest, width = least_loss * most_weight, (1 - least_loss) * most_weight
    weighted = losses * weights.reshape(-1, *[1] * (losses.ndim - 1))
    return lowest + width * upper_bound((weighted - lowest) / width, delta, bound)


def checked_losses(losses: np.ndarray) -> np.ndarray:
    """Returns losses as float64.

    Raises:
        UserError: there is none, or one is not in 0..1.
    """
    losses = np.asarray(losses, np.float64)
    if not len(losses) or not ((losses >= 0) & (losses <= 1)).all():
        raise UserError(f"{losses.shape} losses: expected at least one, each in 0..1")
    return losses
