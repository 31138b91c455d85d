"""What a cascade reaches, at one threshold or at all of them: with labels for any share of outliers, or expected.

The test split has as many outliers as it has; a stream has few. So each figure is computed on the inliers and on the
outliers separately, and mixed: at outlier rate r it is (1 - r) times the one plus r times the other. No images are
drawn, so there is no luck of the draw in it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from envise_tf.errors import UserError
from envise_tf.measures.gie import gie, speedup


@dataclass(frozen=True)
class Predictions:
    """What both networks predict for n labelled images.

    Attributes:
        truth: int64 (n,), the true class in the teacher's numbering, -1 where the teacher has none.
        teacher_class: int64 (n,), what the teacher predicts.
        student_class: int64 (n,), what the student predicts, in the teacher's numbering.
        is_outlier: bool (n,), whether the image's true class is one of the scenario's outliers.
    """

    truth: np.ndarray
    teacher_class: np.ndarray
    student_class: np.ndarray
    is_outlier: np.ndarray

    @property
    def lost(self) -> np.ndarray:
        """What an answer of the student costs, int64 (n,): 1 where the teacher alone is right, -1 where it is alone."""
        return (self.teacher_class == self.truth).astype(np.int64) - (self.student_class == self.truth)

    def where(self, rows: np.ndarray) -> Predictions:
        """Returns those for some images, integer indices (m,), each as often as it is named."""
        return Predictions(*(values[rows] for values in vars(self).values()))

    def outlier_share(self, outlier_rate: float) -> float:
        """Returns the share that the outliers weigh at an outlier rate: all or nothing where one side has no image.

        Args:
            outlier_rate: in 0..1.

        Raises:
            UserError: the rate is out of its range.
        """
        if not 0 <= outlier_rate <= 1:
            raise UserError(f"outlier rate {outlier_rate}: expected a share in 0..1")
        has_both = self.is_outlier.any() and not self.is_outlier.all()
        return outlier_rate if has_both else float(self.is_outlier.any())

    def weights(self, outlier_rate: float) -> np.ndarray:
        """Returns the weight of each image, float64 (n,), sum 1, that makes outliers a share `outlier_share`."""
        share, outliers = self.outlier_share(outlier_rate), int(self.is_outlier.sum())
        inliers = len(self.is_outlier) - outliers
        return np.where(self.is_outlier, share / max(outliers, 1), (1 - share) / max(inliers, 1))


@dataclass(frozen=True)
class OperatingPoint:
    """What the cascade does at one threshold and one outlier rate; shares in 0..1 of all images.

    Attributes:
        outlier_rate: share of outliers in the stream.
        accuracy_student: of the student alone, which is wrong about every outlier.
        accuracy_teacher: of the teacher alone.
        accuracy_cascade: of both.
        loss: accuracy_teacher - accuracy_cascade.
        loss_standard_error: of `loss`, paired by image.
        deferral_rate: share of images that the teacher answers; the sum of the next two.
        outliers_caught: share of images that are outliers and deferred.
        false_alarms: share of images that are inliers and deferred.
        gie: gain in efficiency.
        speedup: the teacher's FLOPs over the cascade's.
    """

    outlier_rate: float
    accuracy_student: float
    accuracy_teacher: float
    accuracy_cascade: float
    loss: float
    loss_standard_error: float
    deferral_rate: float
    outliers_caught: float
    false_alarms: float
    gie: float
    speedup: float

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


def operating_point(
    predictions: Predictions, deferred: np.ndarray, outlier_rate: float, student_flops: float, teacher_flops: float
) -> OperatingPoint:
    """Returns what a cascade reaches that defers these images.

    Args:
        predictions: for n images.
        deferred: bool (n,).
        outlier_rate: in 0..1.
        student_flops: FLOPs an image.
        teacher_flops: FLOPs an image.
    """
    weights = predictions.weights(outlier_rate)
    student_right = predictions.student_class == predictions.truth
    teacher_right = predictions.teacher_class == predictions.truth
    lost = predictions.lost * ~deferred
    deferral_rate = float(weights @ deferred)
    gain = float(gie(1.0, min(deferral_rate, 1.0), student_flops, teacher_flops))
    return OperatingPoint(
        outlier_rate=outlier_rate,
        accuracy_student=float(weights @ student_right),
        accuracy_teacher=float(weights @ teacher_right),
        accuracy_cascade=float(weights @ np.where(deferred, teacher_right, student_right)),
        loss=float(weights @ lost),
        loss_standard_error=_standard_error(lost, predictions.is_outlier, predictions.outlier_share(outlier_rate)),
        deferral_rate=deferral_rate,
        outliers_caught=float(weights @ (deferred & predictions.is_outlier)),
        false_alarms=float(weights @ (deferred & ~predictions.is_outlier)),
        gie=gain,
        speedup=float(speedup(gain)),
    )


@dataclass(frozen=True)
class Curve:
    """The cascade at every threshold of one score, from none deferred to all; arrays (m,).

    Attributes:
        threshold: float32, ascending from -inf; the last one, +inf, defers everything.
        deferral_rate: at an outlier rate.
        accuracy: of the cascade.
        gie: gain in efficiency.
    """

    threshold: np.ndarray
    deferral_rate: np.ndarray
    accuracy: np.ndarray
    gie: np.ndarray

    def best_gie(self, least_accuracy: float) -> float:
        """Returns the largest GiE among the thresholds whose accuracy is at least that; deferring all is among them."""
        reached = self.accuracy >= least_accuracy - 1e-12
        return float(self.gie[reached].max()) if reached.any() else float(self.gie[-1])


def curve(
    predictions: Predictions, score: np.ndarray, outlier_rate: float, student_flops: float, teacher_flops: float
) -> Curve:
    """Returns the cascade at every threshold that makes a difference.

    Args:
        predictions: for n images.
        score: float32 (n,), larger = more inlier.
        outlier_rate: in 0..1.
        student_flops: FLOPs an image.
        teacher_flops: FLOPs an image.
    """
    student_right, teacher_right = (
        answer == predictions.truth for answer in (predictions.student_class, predictions.teacher_class)
    )
    return _curve(student_right, teacher_right, predictions.weights(outlier_rate), score, student_flops, teacher_flops)


def expected_curve(
    confidence: np.ndarray, regret: np.ndarray, score: np.ndarray, student_flops: float, teacher_flops: float
) -> Curve:
    """Returns what the cascade is expected to reach on unlabelled images, at every threshold that makes a difference.

    In place of whether an answer is right stands the probability q that the teacher gives it: q(t | x) for its own
    class t, and q(s | x) for the student's s, which is q(t | x) less the regret. The accuracy is right as far as q is.

    Args:
        confidence: float (n,), q(t | x), n > 0.
        regret: float (n,), 0..1, see `deferral.regret`.
        score: float (n,), larger = more inlier.
        student_flops: FLOPs an image.
        teacher_flops: FLOPs an image.
    """
    weights = np.full(len(score), 1 / len(score))
    return _curve(confidence - regret, confidence, weights, score, student_flops, teacher_flops)


def _curve(
    student_right: np.ndarray,
    teacher_right: np.ndarray,
    weights: np.ndarray,
    score: np.ndarray,
    student_flops: float,
    teacher_flops: float,
) -> Curve:
    """Returns the curve of images that each network answers rightly with some probability, (n,) in 0..1."""
    order = np.argsort(score, kind="stable")
    ascending, weights = score[order], weights[order]
    student_right, teacher_right = (right[order].astype(float) for right in (student_right, teacher_right))
    deferral_rate = np.concatenate([[0.0], np.cumsum(weights)])
    gained = np.concatenate([[0.0], np.cumsum(weights * (teacher_right - student_right))])
    # The first k images are deferred at a threshold above the k-th score; images of equal score go together.
    ends = np.concatenate([[True], ascending[1:] > ascending[:-1], [True]])
    threshold = np.concatenate([[-np.inf], ascending[1:], [np.inf]])
    return Curve(
        threshold=threshold[ends].astype(np.float32),
        deferral_rate=deferral_rate[ends],
        accuracy=(weights @ student_right + gained)[ends],
        gie=np.asarray(gie(1.0, np.minimum(deferral_rate[ends], 1.0), student_flops, teacher_flops)),
    )


def _standard_error(lost: np.ndarray, is_outlier: np.ndarray, outlier_share: float) -> float:
    """Returns the standard error of the mixed mean, from the variance among inliers and among outliers."""
    sides = [(lost[~is_outlier], 1 - outlier_share), (lost[is_outlier], outlier_share)]
    return float(np.sqrt(sum(share**2 * side.var() / len(side) for side, share in sides if len(side))))
