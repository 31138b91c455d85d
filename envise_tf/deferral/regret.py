"""Regret, the accuracy that the student's answers are expected to cost, and the threshold that bounds it.

The risk of a threshold, R(tau) = E[loss 1{score >= tau}] with losses >= 0, falls as tau rises. So the smallest tau at
and above which every bound is at most epsilon breaks R(tau) <= epsilon with chance at most delta, for as many
thresholds as there are: only the bound at the edge of the bad ones has to hold [Bates et al. 2021, theorem 1].
"""

from __future__ import annotations

import math

import numpy as np

from envise_tf.deferral.bounds import Bound, betting, checked_losses
from envise_tf.errors import UserError

_THRESHOLDS_AT_ONCE = 64


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
    score, regret = np.asarray(score), checked_losses(regret)
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
