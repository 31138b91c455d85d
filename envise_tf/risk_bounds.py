"""Upper confidence bounds for a mean of losses in [0, 1], and the threshold that keeps a promise about accuracy.

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

The risk of a threshold, R(tau) = E[loss 1{score >= tau}] with losses >= 0, falls as tau rises. So the smallest tau at
and above which every bound is at most epsilon breaks R(tau) <= epsilon with chance at most delta, for as many
thresholds as there are: only the bound at the edge of the bad ones has to hold [Bates et al. 2021, theorem 1].
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
_THRESHOLDS_AT_ONCE = 64


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


def upper_bound(losses: np.ndarray, delta: float, bound: Bound = betting) -> np.ndarray:
    """Returns the upper confidence bound of the mean, float64 () or (m,), 0..1; it errs with chance at most delta.

    Args:
        losses: float (n,) or (n, m), 0..1, in random order; each column is a sample of its own.
        delta: in (0, 1).
        bound: `betting` or `hoeffding_bentkus`.

    Raises:
        UserError: there is no loss, or one is not in 0..1.
    """
    losses = _checked(losses)
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


# --- The promise about accuracy --------------------------------------------------------------------------------------


def regret(probabilities: np.ndarray, student_class: np.ndarray) -> np.ndarray:
    """Returns the accuracy that the student's answers are expected to cost, float64 (n,), 0..1.

    r = q(t | x) - q(s | x), with t the class that the adapted teacher predicts and s the student's. If q is calibrated,
    its mean is the accuracy lost by letting the student answer.

    Args:
        probabilities: float (n, classes), q, the adapted teacher's.
        student_class: int (n,), the student's answers in the teacher's numbering.
    """
    probabilities = np.asarray(probabilities, np.float64)
    return probabilities.max(axis=1) - probabilities[np.arange(len(probabilities)), student_class]


def accuracy_threshold(
    score: np.ndarray, regret: np.ndarray, epsilon: float, delta: float, bound: Bound = betting
) -> float:
    """Returns the smallest threshold at which the student's answers cost at most `epsilon`, with confidence 1 - delta.

    The student answers where score >= threshold, equal scores together. From the largest score downwards, each is
    tried until the upper bound of mean(regret * 1{score >= tau}) exceeds epsilon.

    Args:
        score: float (n,), finite, of images in random order that chose nothing before.
        regret: float (n,), 0..1.
        epsilon: accuracy that may be lost over all images, in (0, 1).
        delta: largest chance that more is lost, in (0, 1).
        bound: `betting` or `hoeffding_bentkus`.

    Returns:
        One of the scores, or +inf (the student answers nothing) where not even the largest keeps the promise.

    Raises:
        UserError: there is no image, a score is not finite, or a regret is not in 0..1.
    """
    score, regret = np.asarray(score), _checked(regret)
    if score.shape != regret.shape or score.ndim != 1 or not np.isfinite(score).all():
        raise UserError(
            f"scores of shape {score.shape} with regrets of shape {regret.shape}: expected finite (n,) each"
        )
    thresholds = np.unique(score)[::-1]
    chosen = math.inf
    for i in range(0, len(thresholds), _THRESHOLDS_AT_ONCE):
        some = thresholds[i : i + _THRESHOLDS_AT_ONCE]
        is_kept = np.logical_and.accumulate(bound(regret[:, None] * (score[:, None] >= some), epsilon, delta))
        if is_kept.any():
            chosen = float(some[is_kept.sum() - 1])
        if not is_kept.all():
            break
    return chosen


def _checked(losses: np.ndarray) -> np.ndarray:
    losses = np.asarray(losses, np.float64)
    if not len(losses) or not ((losses >= 0) & (losses <= 1)).all():
        raise UserError(f"{losses.shape} losses: expected at least one, each in 0..1")
    return losses
