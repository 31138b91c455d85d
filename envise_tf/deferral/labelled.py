"""The true loss on the stream from labelled images of elsewhere: nothing is supposed of the teacher's probabilities.

Labelled images that neither network was trained on need not come from the stream, nor have its class shares: under
label shift, where images of a class look alike in both places, the stream's loss is

    E[loss] = sum_c pi_c E[loss | y = c] = E0[loss pi_y / pi0_y]
    loss = 1{teacher right} - 1{student right} where the student answers, else 0

with pi the stream's shares and pi0 those of the labelled images, over which E0 is the mean. pi is an estimate with an
interval for each class, so a loss of 1 weighs its upper end over pi0 and a gain (a loss of -1) its lower end: together
at least the loss for every pi within the intervals (our choice; that they hold is supposed). Classes without a labelled
image count as lost entirely.

Unlike regret the loss may be below 0, so it need not rise with coverage, and a threshold is chosen by fixed-sequence
testing [Angelopoulos et al. 2021, "Learn then Test"]: candidates that come from other images are tried from the largest
down, up to the first whose bound is above epsilon.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from envise_tf.deferral.bounds import Bound, betting, weighted_upper_bound
from envise_tf.deferral.cascade import is_deferred
from envise_tf.errors import UserError


@dataclass(frozen=True, eq=False)
class LabelledAnswers:
    """What both networks answer on n labelled images that neither was trained on.

    Attributes:
        score: float32 (n,), finite, the student's.
        student_class: int64 (n,), the student's answer in its own numbering.
        lost: int64 (n,), 1{teacher right} - 1{student right}.
        label: int64 (n,), the true class in the teacher's numbering.
    """

    score: np.ndarray
    student_class: np.ndarray
    lost: np.ndarray
    label: np.ndarray

    def __len__(self) -> int:
        return len(self.label)

    @classmethod
    def of(
        cls,
        score: np.ndarray,
        student_class: np.ndarray,
        classes: np.ndarray,
        teacher_class: np.ndarray,
        label: np.ndarray,
    ) -> LabelledAnswers:
        """Returns them, with what is lost by each.

        Args:
            score: float32 (n,), the student's.
            student_class: int64 (n,), in its own numbering.
            classes: int64 (student's classes,), the teacher's class of each.
            teacher_class: int64 (n,), what the teacher answers.
            label: int64 (n,), the true class in the teacher's numbering.
        """
        lost = (teacher_class == label).astype(np.int64) - (classes[student_class] == label)
        return cls(score, student_class, lost, label)


@dataclass(frozen=True, eq=False)
class ShiftWeights:
    """How much the images of each class weigh, so that labelled images of one prior stand for a stream of another.

    Attributes:
        loss: float64 (classes,), weight of a loss, the upper end of pi_c / pi0_c; 0 where no image has the label.
        gain: float64 (classes,), weight of a gain, its lower end.
        unseen: largest share of the stream that is of classes without a labelled image.
    """

    loss: np.ndarray
    gain: np.ndarray
    unseen: float

    @classmethod
    def of(cls, label: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> ShiftWeights:
        """Returns the weights for labelled images.

        Args:
            label: int64 (n,), n > 0, true classes.
            lower: float (classes,), lower ends of the stream's class shares, 0..1.
            upper: float (classes,), upper ends, 0..1.

        Raises:
            UserError: there is no image, or a label outside the classes.
        """
        if not len(label) or label.min() < 0 or label.max() >= len(upper):
            raise UserError(f"{len(label)} labelled images: expected at least one, labels 0 to {len(upper) - 1}")
        share = np.bincount(label, minlength=len(upper)) / len(label)
        is_seen = share > 0
        loss, gain = (np.where(is_seen, end / np.where(is_seen, share, 1), 0.0) for end in (upper, lower))
        return cls(loss, gain, float(min(upper[~is_seen].sum(), 1 - lower[is_seen].sum())))


def true_loss_bound(
    thresholds: np.ndarray, labelled: LabelledAnswers, weights: ShiftWeights, delta: float, bound: Bound = betting
) -> np.ndarray:
    """Returns the upper confidence bounds of the accuracy that the stream loses, float64 (m,); each errs with delta.

    Args:
        thresholds: float (m,) or (m, student's classes), each chosen without these images.
        labelled: of n > 0 images.
        weights: `ShiftWeights.of` their labels.
        delta: in (0, 1).
        bound: `bounds.betting` or `bounds.hoeffding_bentkus`.

    Raises:
        UserError: there is no image.
    """
    order = np.random.default_rng(0).permutation(len(labelled))  # betting asks for a random one
    lost, label = labelled.lost[order], labelled.label[order]
    score, student_class = labelled.score[order], labelled.student_class[order]
    thresholds = np.asarray(thresholds)
    by_class = thresholds if thresholds.ndim == 2 else np.repeat(thresholds[:, None], student_class.max() + 1, axis=1)
    answered = np.stack([~is_deferred(score, student_class, values) for values in by_class], axis=1)
    weight = np.where(lost > 0, weights.loss[label], weights.gain[label])
    most = float(weights.loss.max())
    found = weighted_upper_bound(lost[:, None] * answered, weight, most, delta, least_loss=-1.0, bound=bound)
    return found + weights.unseen


def labelled_threshold(
    candidates: np.ndarray,
    labelled: LabelledAnswers,
    weights: ShiftWeights,
    epsilon: float,
    delta: float,
    bound: Bound = betting,
) -> float:
    """Returns the smallest threshold, from the largest down, whose true loss is at most epsilon but for a chance delta.

    Args:
        candidates: float (m,), fixed without these images, such as quantiles of the choosing part's scores.
        labelled: of n > 0 images.
        weights: `ShiftWeights.of` their labels.
        epsilon: accuracy that may be lost over all images of the stream, in (0, 1).
        delta: in (0, 1).
        bound: `bounds.betting` or `bounds.hoeffding_bentkus`.

    Returns:
        One of the candidates, or +inf where not even the largest keeps the promise.

    Raises:
        UserError: there is no image.
    """
    descending = np.unique(candidates)[::-1]
    is_kept = np.logical_and.accumulate(true_loss_bound(descending, labelled, weights, delta, bound) <= epsilon)
    return float(descending[is_kept.sum() - 1]) if is_kept.any() else math.inf
