"""The cascade of two Keras networks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from envise_tf.deferral.cascade import Cascade
from envise_tf.deferral.scores.outputs import Observer
from envise_tf.deferral.scores.score import OutlierScore
from envise_tf.deferral.threshold import Threshold
from envise_tf.networks.loading import Classifier


def keras_cascade(
    student: Observer, score: OutlierScore, teacher: Classifier, threshold: Threshold, classes: Sequence[int]
) -> Cascade:
    """Returns the cascade of two Keras networks.

    Args:
        student: its observer.
        score: fitted.
        teacher: with a name for each class.
        threshold: one value for each of the student's classes, chosen for this score.
        classes: the teacher's class of each of the student's.

    Raises:
        UserError: threshold and classes differ in length, or a class has no name.
    """

    def scored(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        outputs = student(images)
        return outputs.logits, score.score(outputs)

    return Cascade(scored, teacher, threshold.values, classes, teacher.class_names)
