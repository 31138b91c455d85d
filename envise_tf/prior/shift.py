"""What another prior does to a classifier's probabilities: Bayes' rule in logits.

    log q(c | x) = log p(c | x) + log(pi_c / pi0_c) - (a constant per image)

where p holds under the source prior pi0 and q under the prior pi of the stream, supposing that the images of a class
look the same in both places (label shift) [Saerens, Latinne and Decaestecker 2002].
"""

from __future__ import annotations

import numpy as np

from envise_tf.errors import UserError

SHARE_FLOOR = 1e-6
"""Smallest share that a class is taken to have (our choice: one image in a million). A class that EM leaves nothing is
thereby unlikely rather than impossible, and no logit becomes infinite."""

PRIOR_TOLERANCE = 1e-6
"""How far the sum of class shares may be from 1."""


def uniform_prior(classes: int) -> np.ndarray:
    """Returns equal shares, float64 (classes,)."""
    return np.full(classes, 1 / classes)


def log_prior_ratio(prior: np.ndarray, source_prior: np.ndarray) -> np.ndarray:
    """Returns log(pi / pi0), float64 (classes,), finite: shares below `SHARE_FLOOR` count as that.

    Args:
        prior: float (classes,), of the stream, shares >= 0.
        source_prior: float (classes,), above 0.

    Raises:
        UserError: the source prior is none for these classes.
    """
    return np.log(np.maximum(prior, SHARE_FLOOR)) - np.log(checked_prior(source_prior, len(prior)))


def adapted_logits(logits: np.ndarray, prior: np.ndarray, source_prior: np.ndarray) -> np.ndarray:
    """Returns log q(c | x) up to a constant per image, float64 (images, classes).

    Args:
        logits: float (images, classes), calibrated: log p(c | x) up to a constant per image.
        prior: float (classes,), of the stream, shares >= 0.
        source_prior: float (classes,), under which the logits are calibrated, above 0.
    """
    return np.asarray(logits, np.float64) + log_prior_ratio(prior, source_prior)


def checked_prior(prior: np.ndarray, classes: int) -> np.ndarray:
    """Returns a source prior as float64 (classes,).

    Raises:
        UserError: another number of classes, a share that is not above 0, or a sum that is not 1.
    """
    prior = np.asarray(prior, np.float64)
    if prior.shape != (classes,) or not (prior > 0).all() or abs(prior.sum() - 1) > PRIOR_TOLERANCE:
        raise UserError(
            f"the source prior has shape {prior.shape}, smallest share {prior.min(initial=1):g} and sum "
            f"{prior.sum():g}: expected {classes} shares above 0 that sum to 1"
        )
    return prior
