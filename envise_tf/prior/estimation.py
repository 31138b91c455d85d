"""The class shares of a stream, estimated from the teacher's calibrated answers to its unlabelled images.

The teacher's probabilities hold under a source prior pi0. With images of a class looking the same in both places (label
shift), the density of image x in a stream of prior pi is, up to a factor that does not depend on pi,

    f(x; pi) = sum_c pi_c p(c | x) / pi0_c

and EM climbs the log-likelihood sum_i log f(x_i; pi) by pi_c <- mean_i q(c | x_i), where q(c | x) is proportional to
p(c | x) pi_c / pi0_c [Saerens, Latinne and Decaestecker 2002]. A Dirichlet prior on pi makes it the largest
posterior density instead: alpha_c - 1 is added to the count of each class. Our choice is alpha_c = 1 + k pi0_c, which
is k more images spread as the source's: with k > 0 a class that has not been seen for a while stays possible.

This needs NumPy alone, so that a device can do it. `black_box` is the cross-check from labelled images.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from envise_tf.errors import UserError
from envise_tf.prior.shift import SHARE_FLOOR, checked_prior

PSEUDO_IMAGES = 1.0
"""Images that the Dirichlet prior counts for (our choice: enough to keep every class possible, too few to be seen in
the estimate of some hundred images)."""

TOLERANCE = 1e-6
"""EM has converged when no class share moves by more than this in a step."""

MOST_STEPS = 2000

_TINY = np.finfo(np.float32).tiny
_ROUGH_TOLERANCE = 1e-5
_ROUGH_STEPS = 200
_NEGLIGIBLE = 1e-15
"""What is smaller counts as 0 where float32 is good enough: processors are slow at products that leave its range."""


@dataclass(frozen=True)
class PriorEstimate:
    """What EM found.

    Attributes:
        prior: float64 (classes,), shares that sum to 1.
        log_likelihood: float64 (steps + 1,), of the images, with the Dirichlet term, before the first step and after
            each; up to a constant. It never falls.
        has_converged: whether the last step moved no share by more than the tolerance.
    """

    prior: np.ndarray
    log_likelihood: np.ndarray
    has_converged: bool


def likelihood_ratios(logits: np.ndarray, source_prior: np.ndarray) -> np.ndarray:
    """Returns p(c | x) / pi0_c, the largest of each image scaled to 1: float (images, classes), 0..1.

    Args:
        logits: float (images, classes), calibrated: log p(c | x) up to a constant per image; -inf is a chance of 0.
        source_prior: float (classes,), under which they are calibrated, above 0.

    Raises:
        UserError: a logit is NaN or +inf, all of an image's are -inf, or the prior is none for these classes.
    """
    logits = np.asarray(logits)
    if logits.ndim != 2 or logits.shape[1] < 2:
        raise UserError(f"logits have shape {logits.shape}: expected (images, classes) of at least two classes")
    scaled = logits - np.log(checked_prior(source_prior, logits.shape[1])).astype(logits.dtype)
    largest = scaled.max(axis=1, keepdims=True)
    if not np.isfinite(largest).all():
        raise UserError(
            f"the logits of {np.sum(~np.isfinite(largest))} images are NaN or infinite: expected numbers; leave these "
            "images out"
        )
    return np.exp(scaled - largest)


def estimated_prior(
    logits: np.ndarray,
    source_prior: np.ndarray,
    pseudo_images: float = PSEUDO_IMAGES,
    start: np.ndarray | None = None,
) -> PriorEstimate:
    """Returns the class shares under which a stream's images are most probable [Saerens et al. 2002].

    Args:
        logits: float (images, classes), calibrated: log p(c | x) up to a constant per image.
        source_prior: float (classes,), under which they are calibrated, above 0.
        pseudo_images: k >= 0 of the Dirichlet prior; 0 gives the maximum of the likelihood.
        start: float (classes,), where EM begins, every share above 0; None begins at the source prior.

    Raises:
        UserError: as in `likelihood_ratios`, or there is no image and no pseudo-image.
    """
    ratios = likelihood_ratios(np.asarray(logits, np.float64), source_prior)
    if len(ratios) + pseudo_images <= 0:
        raise UserError("there is no image to estimate the class shares from: give at least one")
    pseudo_counts = pseudo_images * np.asarray(source_prior, np.float64)
    prior = np.asarray(source_prior if start is None else start, np.float64)
    trajectory = []
    for _ in range(MOST_STEPS):
        density = ratios @ prior
        trajectory.append(_objective(density, prior, pseudo_counts))
        stepped = _stepped(prior, ratios, 1 / density, pseudo_counts)
        moved, prior = np.abs(stepped - prior).max(), stepped
        if moved <= TOLERANCE:
            break
    trajectory.append(_objective(ratios @ prior, prior, pseudo_counts))
    return PriorEstimate(prior, np.array(trajectory), bool(moved <= TOLERANCE))


def _objective(density: np.ndarray, prior: np.ndarray, pseudo_counts: np.ndarray) -> float:
    return float(np.log(density).sum() + (pseudo_counts * np.log(np.maximum(prior, _TINY))).sum())


def _stepped(
    prior: np.ndarray, ratios: np.ndarray, weight_by_density: np.ndarray, pseudo_counts: np.ndarray
) -> np.ndarray:
    """Returns the prior after one step of EM, float (..., classes), for one prior or a batch of them.

    Args:
        prior: float (..., classes).
        ratios: float (images, classes).
        weight_by_density: float (..., images), how often an image counts, divided by its density.
        pseudo_counts: float (classes,).
    """
    counts = prior * (weight_by_density @ ratios) + pseudo_counts
    return counts / counts.sum(axis=-1, keepdims=True)


def log_likelihood(logits: np.ndarray, prior: np.ndarray, source_prior: np.ndarray) -> np.ndarray:
    """Returns how much more probable each image is under a prior than under the source's: float64 (images,), in nats.

    log sum_c pi_c p(c | x) / pi0_c: its mean over a window falls when the stream leaves the prior.

    Args:
        logits: float (images, classes), calibrated: log p(c | x) up to a constant per image.
        prior: float (classes,), shares that sum to 1.
        source_prior: float (classes,), under which they are calibrated, above 0.
    """
    ratios = likelihood_ratios(np.asarray(logits, np.float64), source_prior)
    return np.log(np.maximum(ratios @ prior, _TINY)) - np.log(ratios @ source_prior)


# --- How sure the estimate is -----------------------------------------------------------------------------------------


def prior_interval(
    logits: np.ndarray,
    estimate: np.ndarray,
    source_prior: np.ndarray,
    seed: int,
    confidence: float = 0.95,
    pseudo_images: float = PSEUDO_IMAGES,
    replicates: int = 200,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the lower and the upper end of each class share, float64 (classes,) each.

    The percentile bootstrap [Efron 1979]: images are drawn with replacement, by multinomial weights, and EM goes on
    from the estimate with each draw, all draws in one matrix product. The interval is that of the images' draw; it
    takes the calibration as given.

    Args:
        logits: float (images, classes), those that the estimate was made from.
        estimate: float (classes,), the estimated prior.
        source_prior: float (classes,), under which the logits are calibrated, above 0.
        seed: of the draws.
        confidence: share of the draws between the ends, in (0, 1).
        pseudo_images: as in the estimate.
        replicates: number of draws.
    """
    ratios = _rough_ratios(logits, source_prior)
    images = len(ratios)
    random = np.random.default_rng(seed)
    weights = random.multinomial(images, np.full(images, 1 / images), size=replicates).astype(np.float32)
    pseudo_counts = (pseudo_images * np.asarray(source_prior)).astype(np.float32)
    priors = np.tile(np.asarray(estimate, np.float32), (replicates, 1))
    for _ in range(_ROUGH_STEPS):
        priors = np.maximum(priors, _NEGLIGIBLE)
        stepped = _stepped(priors, ratios, weights / (priors @ ratios.T), pseudo_counts)
        moved, priors = np.abs(stepped - priors).max(), stepped
        if moved <= _ROUGH_TOLERANCE:
            break
    tail = (1 - confidence) / 2
    lower, upper = np.quantile(priors.astype(np.float64), [tail, 1 - tail], axis=0)
    return lower, upper


def _rough_ratios(logits: np.ndarray, source_prior: np.ndarray) -> np.ndarray:
    ratios = likelihood_ratios(np.asarray(logits, np.float32), source_prior)
    ratios[ratios < _NEGLIGIBLE] = 0
    return ratios


# --- While the stream runs --------------------------------------------------------------------------------------------


class WindowPrior:
    """The class shares of the last images of a stream.

    Responsible for a window of likelihood ratios (float32) and the estimate on it. Each update goes on from the last
    estimate by a few steps of EM, so it costs the same however long the stream has run, and what it holds beyond the
    window is one number a class. Not responsible for noticing a change: it only forgets what left the window.

    Where images had an unequal chance of coming here, each counts by the reciprocal of its chance [Horvitz and
    Thompson 1952]: the weighted log-likelihood has that of all images as its mean [Binder 1983].

    Args:
        window: number of images that count.
        source_prior: float (classes,), under which the logits are calibrated, above 0.
        pseudo_images: k >= 0 of the Dirichlet prior.
        most_steps: steps of EM an update (our choice: a stream that stands still needs one or two, after a change
            a few updates catch up).

    Attributes:
        prior: float64 (classes,), the estimate; the source prior before the first image.
    """

    def __init__(
        self, window: int, source_prior: np.ndarray, pseudo_images: float = PSEUDO_IMAGES, most_steps: int = 10
    ) -> None:
        self._source_prior = checked_prior(source_prior, len(source_prior))
        self._pseudo_counts = pseudo_images * self._source_prior
        self._most_steps = most_steps
        self._ratios = np.empty((window, len(source_prior)), np.float32)
        self._weights = np.empty(window, np.float32)
        self._seen = 0
        self.prior = self._source_prior

    @property
    def images(self) -> int:
        """Number of images in the window."""
        return min(self._seen, len(self._ratios))

    def update(self, logits: np.ndarray, weight: float = 1.0) -> np.ndarray:
        """Returns the estimate after further images, float64 (classes,).

        Args:
            logits: float (images, classes), calibrated: log p(c | x) up to a constant per image, oldest first.
            weight: how many images of the stream each of them stands for, above 0.
        """
        ratios = _rough_ratios(logits, self._source_prior)
        self._keep(ratios, np.full(len(ratios), weight, np.float32))
        for _ in range(self._most_steps if self.images else 0):
            stepped = self._step()
            moved, self.prior = np.abs(stepped - self.prior).max(), stepped
            if moved <= _ROUGH_TOLERANCE:
                break
        return self.prior

    def snapshot(self) -> dict[str, np.ndarray]:
        """Returns all that `restore` needs: prior, and ratios and weights of the window, oldest first."""
        oldest_first = np.arange(self._seen - self.images, self._seen) % len(self._ratios)
        return {"prior": self.prior, "ratios": self._ratios[oldest_first], "weights": self._weights[oldest_first]}

    def restore(self, snapshot: Mapping[str, np.ndarray]) -> None:
        """Makes a fresh window the one that `snapshot` was taken of; a smaller one keeps the newest images."""
        self._keep(snapshot["ratios"], snapshot["weights"])
        self.prior = snapshot["prior"]

    def _keep(self, ratios: np.ndarray, weights: np.ndarray) -> None:
        window = len(self._ratios)
        places = np.arange(self._seen, self._seen + len(ratios))[-window:] % window
        self._ratios[places], self._weights[places] = ratios[-window:], weights[-window:]
        self._seen += len(ratios)

    def _step(self) -> np.ndarray:
        kept, weights = self._ratios[: self.images], self._weights[: self.images]
        # A class whose share has gone to nothing comes back from the floor in a few steps; from 0 it never would.
        prior = np.maximum(self.prior, SHARE_FLOOR)
        density = kept @ prior.astype(np.float32)
        return _stepped(prior, kept, weights / density, self._pseudo_counts)
