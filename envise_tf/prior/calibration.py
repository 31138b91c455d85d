"""Calibration: a teacher's logits made into log-probabilities that can be believed.

    log p(c | x) = z_c(x) / T + b_c - (a constant per image)

T is the temperature [Guo et al. 2017], b one bias per class [Alexandari, Kundaje and Shrikumar 2020, "bias-corrected
temperature scaling"], which sums to 0. Both are fitted by maximum likelihood on labelled images that the teacher was
not trained on. In 1/T and b the negative log-likelihood is convex, so its minimum is found from any start.

Where the teacher is right about all of them, it has none: ever sharper logits are ever more probable. So 1/T has the
prior exp(-1/T), as one more image would, of which a wrong class lay one nat ahead of the right one (our choice). Among
hundreds of images, some of them mistaken, it is not felt.

Under a shifted prior the probabilities in use are those of the adapted teacher,

    log q(c | x) = z_c(x) / T + b_c + log(pi_c / pi0_c) - (a constant per image)

and it is these that have to be right. So T and b can be fitted on q, with each labelled image counting pi_c / pi0_c of
its label, which makes the labelled images look like the stream (our choice). As pi in turn is estimated from the
calibrated teacher, `calibrated_on_stream` alternates the two. It leaves b alone: under the weights b_c and log pi_c do
the same, any pi is explained by some b, and the alternation would drift to a prior of a few classes. `logit_offset`
finds b before, on the labelled images as they are.

With bias, the source prior pi0 is that of the labelled images: there the fitted probabilities of each class have its
share as their mean. With temperature alone it is the prior that the teacher was trained with.

The likelihood looks at all classes, and where the form z / T + b does not fit, as after label smoothing, its optimum
may be too sure of the predicted class, which is what a promise about accuracy rests on. `matched_temperature` chooses
the temperature at which the mean confidence is the accuracy instead (our choice).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from scipy import optimize, special

from envise_tf.errors import UserError
from envise_tf.prior.estimation import PSEUDO_IMAGES, estimated_prior
from envise_tf.prior.shift import SHARE_FLOOR, log_prior_ratio

TEMPERATURES = (0.05, 20.0)
"""Where the temperature is sought: logits that say nothing end at the upper end (our choice: there probabilities are
even, to all purposes)."""

_FIRST_RIDGE, _MOST_RIDGE = 32.0, 1e6
_SAME_RIDGE = 0.05
_TOLERANCE, _ROUGH_TOLERANCE = 1e-13, 1e-9

_MOST_APART = 1.5
_MOST_ROUNDS = 20
_SAME = 1e-4


@dataclass(frozen=True)
class Calibration:
    """What turns a teacher's logits into calibrated ones.

    Attributes:
        temperature: T > 0.
        bias: b, one number a class, in nats.
    """

    temperature: float
    bias: tuple[float, ...]

    def __post_init__(self) -> None:
        if not (np.isfinite(self.temperature) and self.temperature > 0 and np.isfinite(self.bias).all()):
            raise UserError(
                f"calibration with temperature {self.temperature}: expected T > 0 and biases that are numbers"
            )

    @classmethod
    def identity(cls, classes: int) -> Calibration:
        """Returns the calibration that leaves logits as they are: T = 1, b = 0."""
        return cls(1.0, (0.0,) * classes)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Calibration:
        """Returns the calibration that `to_dict` was called on."""
        return cls(float(values["temperature"]), tuple(float(value) for value in values["bias"]))

    def to_dict(self) -> dict[str, Any]:
        """Returns it as JSON takes it."""
        return {**asdict(self), "bias": list(self.bias)}

    def logits(self, logits: np.ndarray) -> np.ndarray:
        """Returns z / T + b, float64 (..., classes).

        Args:
            logits: z, float (..., classes), or log-probabilities.
        """
        return np.asarray(logits, np.float64) / self.temperature + np.asarray(self.bias)


def fitted_calibration(
    logits: np.ndarray,
    labels: np.ndarray,
    log_ratio: np.ndarray | None = None,
    ridge: float | None = None,
) -> Calibration:
    """Returns the temperature and the biases under which labelled images are most probable.

    Minimises sum_i w_i (-log q(y_i | x_i)) + 1 / T + ridge / 2 sum_c b_c^2 by L-BFGS in 1/T and b. The weights w_i are
    exp(log_ratio) of the image's label, scaled so that they sum to the effective number of images,
    (sum w)^2 / sum w^2 [Kish 1965], or the ridge would count for less or more than it says.

    Args:
        logits: float (images, classes), of images that the teacher was not trained on.
        labels: int (images,), their classes.
        log_ratio: float (classes,), log(pi / pi0) of the prior that the images should count for, which q then has;
            None leaves every image the weight 1.
        ridge: precision of the normal prior on each bias, in 1 / nats^2, >= 0; None finds the one that the images make
            most probable, so that biases of noise alone come out as next to 0 and true ones stay.

    Raises:
        UserError: shapes, labels or numbers are not such, or all images are of one class.
    """
    logits, labels = _checked(logits, labels)
    shift, weights = _counted(labels, logits.shape[1], log_ratio)
    if ridge is None:
        return _with_probable_ridge(logits, labels, shift, weights)
    return _most_probable(logits, labels, shift, weights, ridge, Calibration.identity(logits.shape[1]))


def fitted_temperature(logits: np.ndarray, labels: np.ndarray, log_ratio: np.ndarray | None = None) -> Calibration:
    """Returns the temperature under which labelled images are most probable, and no bias; see `fitted_calibration`."""
    logits, labels = _checked(logits, labels)
    shift, weights = _counted(labels, logits.shape[1], log_ratio)
    return _most_probable(logits, labels, shift, weights, None, Calibration.identity(logits.shape[1]))


def logit_offset(logits: np.ndarray, labels: np.ndarray, source_prior: np.ndarray) -> np.ndarray:
    """Returns what the teacher's logits lack for some classes, float64 (classes,): T b of the most probable T and b.

    Added to the logits it leaves them fair between classes at any temperature. A teacher that gives one class too
    little and another too much makes EM find shares that are wrong by as much, which no temperature mends.

    The labelled images may have shares of their own: q has those, by one more image spread as the source prior, and
    b is what is left.

    Args:
        logits: float (images, classes), of images that the teacher was not trained on.
        labels: int (images,), their classes.
        source_prior: float (classes,), that the teacher was trained with, above 0.

    Raises:
        UserError: as in `fitted_calibration`.
    """
    logits, labels = _checked(logits, labels)
    classes = logits.shape[1]
    shares = (np.bincount(labels, minlength=classes) + source_prior) / (len(labels) + 1)
    shift, weights = log_prior_ratio(shares, source_prior), np.ones(len(labels))
    fitted = _with_probable_ridge(logits, labels, shift, weights)
    return fitted.temperature * np.asarray(fitted.bias)


def _counted(labels: np.ndarray, classes: int, log_ratio: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Returns the log-ratio that q has, (classes,), and the weights of the images, (images,)."""
    shift = np.zeros(classes) if log_ratio is None else np.asarray(log_ratio, np.float64)
    weights = np.exp(shift - shift.max())[labels]
    return shift, weights * (weights.sum() / (weights**2).sum())


def _with_probable_ridge(logits: np.ndarray, labels: np.ndarray, shift: np.ndarray, weights: np.ndarray) -> Calibration:
    """Returns the fit with the ridge of the largest evidence, by MacKay's fixed point [1992, equation 4.15 and after].

    ridge = gamma / sum b^2, where gamma = sum_c h_c / (h_c + ridge) counts the biases that the images determine, and
    h_c is the curvature of the likelihood along b_c (its diagonal: the biases are taken to be independent).
    """
    found, ridge = Calibration.identity(logits.shape[1]), _FIRST_RIDGE
    for _ in range(_MOST_ROUNDS):
        found = _most_probable(logits, labels, shift, weights, ridge, found, _ROUGH_TOLERANCE)
        q = special.softmax(found.logits(logits) + shift, axis=1)
        curvature = weights @ (q * (1 - q))
        determined = float((curvature / (curvature + ridge)).sum())
        before, ridge = ridge, min(determined / max(np.square(found.bias).sum(), 1 / _MOST_RIDGE), _MOST_RIDGE)
        if abs(np.log(ridge / before)) <= _SAME_RIDGE:
            break
    return found


def _most_probable(
    logits: np.ndarray,
    labels: np.ndarray,
    shift: np.ndarray,
    weights: np.ndarray,
    ridge: float | None,
    start: Calibration,
    tolerance: float = _TOLERANCE,
) -> Calibration:
    """Returns the most probable temperature and biases; the temperature alone where the ridge is None."""
    images, classes = logits.shape
    # Only differences between the logits of an image matter: without their mean, 1/T and b are less entangled.
    logits = logits - logits.mean(axis=1, keepdims=True)
    rows, has_bias = np.arange(images), ridge is not None
    precision = 0.0 if ridge is None else ridge

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        sharpness, bias = parameters[0], parameters[1:] if has_bias else np.zeros(classes)
        adapted = sharpness * logits + bias + shift
        log_q = adapted - special.logsumexp(adapted, axis=1, keepdims=True)
        residual = np.exp(log_q)
        residual[rows, labels] -= 1
        residual *= weights[:, None]
        value = -(weights * log_q[rows, labels]).sum() + sharpness + precision / 2 * (bias**2).sum()
        gradient = np.append((residual * logits).sum() + 1, residual.sum(axis=0) + precision * bias)
        return value / weights.sum(), gradient[: len(parameters)] / weights.sum()

    coldest, hottest = TEMPERATURES
    biases = start.bias if has_bias else ()
    found = optimize.minimize(
        loss,
        np.array([1 / start.temperature, *biases]),
        jac=True,
        method="L-BFGS-B",
        bounds=[(1 / hottest, 1 / coldest), *[(None, None)] * len(biases)],
        options={"maxiter": 1000, "ftol": tolerance, "gtol": 1e-8},
    )
    bias = found.x[1:] - found.x[1:].mean() if has_bias else np.zeros(classes)
    return Calibration(float(1 / found.x[0]), tuple(bias.tolist()))


def matched_temperature(logits: np.ndarray, labels: np.ndarray, log_ratio: np.ndarray | None = None) -> Calibration:
    """Returns the temperature at which the mean confidence in the predicted class is the accuracy; no bias.

    Our choice: of all that calibration asks for, this is what an estimate of accuracy rests on. With `log_ratio` both
    are those of the adapted classifier, and images count exp(log_ratio) of their label.

    It is sought between two thirds and one and a half of the most probable temperature: far above it, an adapted
    classifier that always answers with the largest share is matched too, and worthless. It is noisier than that
    temperature: under a skewed prior confidence hardly depends on it, and the shares of classes that look alike do.

    Args:
        logits: float (images, classes), of images that the teacher was not trained on.
        labels: int (images,), their classes.
        log_ratio: float (classes,), log(pi / pi0) of the prior that the images should count for; None leaves every
            image the weight 1.

    Raises:
        UserError: shapes, labels or numbers are not such, or all images are of one class.
    """
    logits, labels = _checked(logits, labels)
    classes = logits.shape[1]
    shift = np.zeros(classes) if log_ratio is None else np.asarray(log_ratio, np.float64)
    weights = np.exp(shift - shift.max())[labels]

    def overconfidence(log_temperature: float) -> float:
        q = special.softmax(logits / np.exp(log_temperature) + shift, axis=1)
        return float(np.average(q.max(axis=1) - (q.argmax(axis=1) == labels), weights=weights))

    near = fitted_temperature(logits, labels, log_ratio).temperature
    coldest, hottest = np.log(np.clip([near / _MOST_APART, near * _MOST_APART], *TEMPERATURES))
    if overconfidence(coldest) <= 0:
        found = coldest
    elif overconfidence(hottest) >= 0:
        found = hottest
    else:
        found = optimize.brentq(overconfidence, coldest, hottest, xtol=1e-6)
    return Calibration(float(np.exp(found)), (0.0,) * classes)


Fit = Callable[[np.ndarray, np.ndarray, np.ndarray | None], Calibration]
"""Logits, labels, log(pi / pi0) or None -> a calibration without bias."""


def calibrated_on_stream(
    logits: np.ndarray,
    labels: np.ndarray,
    stream_logits: np.ndarray,
    source_prior: np.ndarray,
    fit: Fit = fitted_temperature,
    stream_share: float = 1.0,
    pseudo_images: float = PSEUDO_IMAGES,
) -> tuple[Calibration, np.ndarray]:
    """Returns the calibration that is right under the stream's prior, and that prior, float64 (classes,).

    Starts with the plain calibration. Each round estimates the prior by EM and fits the temperature anew on labelled
    images that count as the prior has it, until the prior stands still or after 20 rounds (our choice). The weighted
    fit rests on few images: 400 of 2,000, where a fifth of the classes occurs. With `stream_share` below 1 it is shrunk
    to the plain one, which `matched_temperature` needs: half-way (0.5) is what was tried.

    Args:
        logits: float (images, classes), of images that the teacher was not trained on.
        labels: int (images,), their classes.
        stream_logits: float (stream's images, classes), the teacher's, without labels.
        source_prior: float (classes,), that the teacher was trained with, above 0.
        fit: `fitted_temperature` or `matched_temperature`.
        stream_share: how far to go from the plain fit to the weighted one, 0..1.
        pseudo_images: k of the Dirichlet prior on the shares.

    Raises:
        UserError: as in the fit and `estimated_prior`.
    """
    calibration = plain = fit(logits, labels, None)
    prior = estimated_prior(calibration.logits(stream_logits), source_prior, pseudo_images).prior
    for _ in range(_MOST_ROUNDS):
        weighted = fit(logits, labels, log_prior_ratio(prior, source_prior))
        temperature = plain.temperature ** (1 - stream_share) * weighted.temperature**stream_share
        calibration = Calibration(temperature, plain.bias)
        calibrated, before = calibration.logits(stream_logits), np.maximum(prior, SHARE_FLOOR)
        prior = estimated_prior(calibrated, source_prior, pseudo_images, start=before).prior
        if np.abs(prior - before).max() <= _SAME:
            break
    return calibration, prior


def _checked(logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    logits, labels = np.asarray(logits, np.float64), np.asarray(labels)
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or not np.issubdtype(labels.dtype, np.integer):
        raise UserError(
            f"logits have shape {logits.shape}, labels {labels.shape} of {labels.dtype}: expected (images, classes) "
            "and (images,) of integers"
        )
    if not np.isfinite(logits).all():
        raise UserError("a logit is NaN or infinite: expected numbers; leave these images out")
    if len(labels) and not (labels.min() >= 0 and labels.max() < logits.shape[1]):
        raise UserError(f"labels run from {labels.min()} to {labels.max()}: expected 0 to {logits.shape[1] - 1}")
    if len(np.unique(labels)) < 2:
        raise UserError(
            f"{len(labels)} labelled images show {len(np.unique(labels))} classes: expected at least two, or nothing "
            "tells right from wrong; give images of more classes"
        )
    return logits, labels


# --- How well calibrated ----------------------------------------------------------------------------------------------

Binning = Literal["equal_mass", "equal_width"]


@dataclass(frozen=True)
class Reliability:
    """A reliability diagram as numbers, one entry per bin that holds an image, in order of confidence.

    Attributes:
        images: int64 (bins,).
        confidence: float64 (bins,), mean confidence, 0..1.
        accuracy: float64 (bins,), share of correct answers, 0..1.
    """

    images: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray

    @property
    def calibration_error(self) -> float:
        """Mean of |accuracy - confidence| over the bins, weighted by their images, in 0..1 [Guo et al. 2017]."""
        return float(np.average(np.abs(self.accuracy - self.confidence), weights=self.images))

    @property
    def overconfidence(self) -> float:
        """Mean confidence less accuracy over all images, in -1..1; above 0 where the classifier is too sure."""
        return float(np.average(self.confidence - self.accuracy, weights=self.images))


def reliability(
    confidence: np.ndarray, is_correct: np.ndarray, bins: int = 15, binning: Binning = "equal_mass"
) -> Reliability:
    """Returns how often a classifier is right where it is so sure.

    Args:
        confidence: float (n,), probability of the predicted class, 0..1; n > 0.
        is_correct: bool (n,).
        bins: number of bins.
        binning: "equal_mass" gives every bin as many images as the next [Nguyen and O'Connor 2015], so that no bin
            is noise alone; "equal_width" cuts 0..1 into equal parts [Guo et al. 2017], as most papers report.
    """
    confidence, is_correct = np.asarray(confidence, np.float64), np.asarray(is_correct, np.float64)
    if confidence.ndim != 1 or confidence.shape != is_correct.shape or not len(confidence):
        raise UserError(f"confidence has shape {confidence.shape}, is_correct {is_correct.shape}: expected (n,), n > 0")
    if not ((confidence >= 0) & (confidence <= 1)).all():
        raise UserError("a confidence is not in 0..1: expected the probability of the predicted class")
    if binning == "equal_width":
        of_image = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    else:
        of_image = np.empty(len(confidence), np.int64)
        of_image[np.argsort(confidence, kind="stable")] = np.arange(len(confidence)) * bins // len(confidence)
    images = np.bincount(of_image, minlength=bins)
    is_used = images > 0
    means = [np.bincount(of_image, values, bins)[is_used] / images[is_used] for values in (confidence, is_correct)]
    return Reliability(images[is_used], *means)
