"""Which test images a report shows, and what it says of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import tensorflow as tf

from envise_tf.evaluate.evaluation import Evaluation
from envise_tf.evaluate.test_pass import Examination, Examiner
from envise_tf.measures.operating_points import Predictions
from envise_tf.report.pictures import Picture, photograph_uri

_MISTAKES = 24
_ROWS_A_KIND = 3


def mistakes(evaluation: Evaluation) -> list[Picture]:
    """Returns the images that the student should have left to the teacher, the highest scores first, captioned."""
    examination, examiner = _tested(evaluation)
    predictions, score = examination.predictions, examination.scores[evaluation.score]
    student_right = predictions.student_class == predictions.truth
    teacher_right = predictions.teacher_class == predictions.truth
    wrong = np.flatnonzero(~evaluation.deferred(evaluation.score) & ~student_right & teacher_right)
    rows = wrong[np.argsort(-score[wrong], kind="stable")][:_MISTAKES]
    images = images_at(examiner, rows)
    names = evaluation.class_names
    return [
        Picture(
            photograph_uri(images[row]),
            f"{names[predictions.student_class[row]]}, but {true_name(names, predictions.truth[row])}"
            f"{' (outlier)' if predictions.is_outlier[row] else ''}, score {score[row]:.3g}",
        )
        for row in rows
    ]


def attention_rows(evaluation: Evaluation) -> list[list[Picture]]:
    """Returns rows of attention maps, see `Attention.rows`.

    The first few images on which both networks agree, on which they do not, and of the outliers.
    """
    examination, examiner = _tested(evaluation)
    predictions = examination.predictions
    agrees = predictions.student_class == predictions.teacher_class
    is_known = np.isin(predictions.teacher_class, evaluation.finished.teacher_classes)
    kinds = (agrees & ~predictions.is_outlier, ~agrees & is_known & ~predictions.is_outlier, predictions.is_outlier)
    rows = np.concatenate([np.flatnonzero(kind)[:_ROWS_A_KIND] for kind in kinds])
    if not rows.size:
        return []
    shown = images_at(examiner, rows)
    images = np.stack([shown[row] for row in rows])
    captions = [_truth(evaluation.class_names, predictions, row) for row in rows]
    return evaluation.attention.rows(images, captions, predictions.teacher_class[rows], examiner.logits(images))


def true_name(names: Sequence[str], truth: int) -> str:
    """Returns the name of a true class of the teacher's; -1 stands for one that the teacher does not know."""
    return names[truth] if truth >= 0 else "a class unknown to the teacher"


def _truth(names: Sequence[str], predictions: Predictions, row: int) -> str:
    return true_name(names, predictions.truth[row]) + (", outlier" if predictions.is_outlier[row] else "")


def images_at(examiner: Examiner, rows: Iterable[int]) -> dict[int, np.ndarray]:
    """Returns the images at these rows of the examination, by row."""
    wanted = sorted({int(row) for row in rows})
    if not wanted:
        return {}
    rows_wanted = tf.constant(wanted, tf.int64)
    numbered = examiner.examples().enumerate().take(wanted[-1] + 1)
    kept = numbered.filter(lambda row, _: tf.reduce_any(row == rows_wanted))
    return {int(row): example["image"] for row, example in kept.as_numpy_iterator()}


def _tested(evaluation: Evaluation) -> tuple[Examination, Examiner]:
    assert evaluation.examination is not None
    assert evaluation.examiner is not None
    return evaluation.examination, evaluation.examiner
