"""Where both networks of a run look: Grad-CAM maps of any images, and the rows of pictures that a report shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import tensorflow as tf

from envise_tf.networks.grad_cam import grad_cam
from envise_tf.networks.split import split
from envise_tf.report.pictures import Picture, overlaid_uri, photograph_uri
from envise_tf.runs.finished import FinishedRun


class Attention:
    """Maps of a run's networks.

    Args:
        finished: the run.
    """

    def __init__(self, finished: FinishedRun) -> None:
        self._names = finished.job.teacher.class_names
        self._classes = finished.teacher_classes
        self._split = {"teacher": split(finished.job.teacher.model), "student": split(finished.student)}

    def maps(self, network: Literal["teacher", "student"], images: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """Returns Grad-CAM maps, float32 (n, K, h, w), for classes (n, K) in the network's own numbering."""
        return grad_cam(self._split[network], tf.constant(images), tf.constant(classes)).numpy()

    def rows(
        self, images: np.ndarray, captions: Sequence[str], teacher_class: np.ndarray, student_logits: np.ndarray
    ) -> list[list[Picture]]:
        """Returns rows of four: image, teacher's map, student's map for the same class, for the most probable other.

        For a class that the student lacks: its two most probable ones.

        Args:
            images: uint8 (n, height, width, 3).
            captions: of the n images.
            teacher_class: int64 (n,), what the teacher predicts.
            student_logits: float (n, student's classes).
        """
        if not len(images):
            return []
        own = right_and_wrong(student_logits, teacher_class, self._classes)
        teacher_maps = self.maps("teacher", images, teacher_class[:, np.newaxis])
        student_maps = self.maps("student", images, own)
        return [
            [
                Picture(photograph_uri(image), caption),
                Picture(overlaid_uri(image, of_teacher[0]), f"teacher: {self._names[label]}"),
                *(
                    Picture(overlaid_uri(image, each), f"student: {self._names[self._classes[k]]}")
                    for each, k in zip(of_student, pair, strict=True)
                ),
            ]
            for image, caption, label, pair, of_teacher, of_student in zip(
                images, captions, teacher_class, own, teacher_maps, student_maps, strict=True
            )
        ]


def right_and_wrong(logits: np.ndarray, teacher_class: np.ndarray, classes: Sequence[int]) -> np.ndarray:
    """Returns the student's class that the teacher sees, else its own answer, and the most probable other: (n, 2).

    Args:
        logits: float (n, student's classes), the student's.
        teacher_class: int (n,), what the teacher predicts.
        classes: the teacher's class of each of the student's.
    """
    ranking = np.argsort(-logits, kind="stable")
    right = np.array(
        [
            classes.index(label) if label in classes else best
            for label, best in zip(teacher_class, ranking[:, 0], strict=True)
        ]
    )
    wrong = np.where(ranking[:, 0] == right, ranking[:, 1], ranking[:, 0])
    return np.stack([right, wrong], axis=1)
