"""The gain in efficiency at equal accuracy: how much a cascade saves when it may lose so much against a teacher.

A cascade of less accuracy saves more, so cascades are compared at the same accuracy, that of a teacher less an allowed
loss: of all thresholds of its score the one is taken that saves most and is that accurate. Labels choose it, so this is
what a score could reach, not what a promise gave. The teacher of the comparison need not be the cascade's own: where
the cascade defers to an adapted teacher, which is better than the raw one, it may save more against the raw one.

Standard errors are those of the bootstrap [Efron 1979]: inliers and outliers are drawn anew from the test images, and
everything is computed again on them, accuracy of the teacher and best threshold included.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from envise_tf.measures.operating_points import Predictions, curve

ALLOWED_LOSSES = (0.0, 0.005, 0.01, 0.02)
"""Accuracy that a cascade may lose against the teacher of the comparison."""

_RESAMPLES = 200


@dataclass(frozen=True)
class EqualAccuracy:
    """A cascade against one teacher.

    Attributes:
        accuracy: of that teacher alone, 0..1.
        accuracy_standard_error: of `accuracy`.
        gie: float64 (losses,), largest GiE whose accuracy is at least the teacher's less each of `ALLOWED_LOSSES`; NaN
            where no threshold reaches it.
        gie_standard_error: float64 (losses,), over the resamples that reach it; NaN where fewer than two do.
    """

    accuracy: float
    accuracy_standard_error: float
    gie: np.ndarray
    gie_standard_error: np.ndarray


def gie_at_equal_accuracy(
    predictions: Predictions,
    score: np.ndarray,
    teachers: Mapping[str, np.ndarray],
    outlier_rate: float,
    student_flops: float,
    teacher_flops: float,
    seed: int = 0,
) -> dict[str, EqualAccuracy]:
    """Returns what the cascade of one score saves at equal accuracy, against each teacher, by the teacher's name.

    Args:
        predictions: for n labelled images; the cascade's teacher is the one that predicted there.
        score: float32 (n,), larger = more inlier.
        teachers: int64 (n,) each, the classes that they predict.
        outlier_rate: in 0..1.
        student_flops: FLOPs an image.
        teacher_flops: FLOPs an image.
        seed: of the resamples.

    Raises:
        UserError: the rate is out of its range.
    """
    is_right = np.stack([answer == predictions.truth for answer in teachers.values()])

    def measured(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns accuracy, (teachers,), and GiE, (teachers, losses), on these images."""
        chosen = predictions.where(rows)
        accuracy = is_right[:, rows] @ chosen.weights(outlier_rate)
        points = curve(chosen, score[rows], outlier_rate, student_flops, teacher_flops)
        least = accuracy[:, np.newaxis] - ALLOWED_LOSSES
        # GiE falls along the curve, so the first threshold that is accurate enough saves most.
        reached = points.accuracy >= least[..., np.newaxis] - 1e-12
        return accuracy, np.where(reached.any(axis=-1), points.gie[reached.argmax(axis=-1)], np.nan)

    accuracy, gie = measured(np.arange(len(score)))
    random = np.random.default_rng(seed)
    sides = [np.flatnonzero(predictions.is_outlier == side) for side in (False, True)]
    drawn = (np.concatenate([random.choice(side, len(side)) for side in sides if len(side)]) for _ in range(_RESAMPLES))
    accuracies, gies = (np.stack(values) for values in zip(*map(measured, drawn), strict=True))
    errors = _deviation(gies)
    return {
        name: EqualAccuracy(float(accuracy[i]), float(accuracies[:, i].std(ddof=1)), gie[i], errors[i])
        for i, name in enumerate(teachers)
    }


def _deviation(values: np.ndarray) -> np.ndarray:
    """Returns the standard deviation over the first axis of the values that are not NaN; NaN where there are < 2."""
    count = np.sum(~np.isnan(values), axis=0)
    mean = np.nansum(values, axis=0) / np.maximum(count, 1)
    squares = np.nansum((values - mean) ** 2, axis=0) / np.maximum(count - 1, 1)
    return np.where(count > 1, np.sqrt(squares), np.nan)
