"""The attention triplet loss: look where the teacher looks, and look elsewhere for the wrong class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import tensorflow as tf

from envise_tf.distillation.objectives.objective import Evidence, Objective, mean_of
from envise_tf.errors import UserError
from envise_tf.networks.grad_cam import resized_to_smaller, unit_maps
from envise_tf.settings.ranges import NotNegative

Network = Literal["student", "teacher"]

_SMALLEST_SQUARE = 1e-12
"""Squared distances below this count as this: the root of zero has no gradient."""


def attention_triplet(
    student_right: tf.Tensor,
    student_wrong: tf.Tensor,
    teacher_right: tf.Tensor,
    margin: float,
    anchor: Network = "student",
    squared: bool = False,
) -> tf.Tensor:
    """Returns max(0, d(anchor, positive) - d(anchor, negative) + margin) of each image, float (batch,) >= 0.

    The two aims are the paper's, the form is our choice. With the student's map of the right class as anchor, the
    positive is the teacher's map of it and the negative the student's map of the wrong class; with the teacher's map
    as anchor, the two others are the student's. The teacher's map is a constant.

    Args:
        student_right: float (batch, positions), unit L2 norm: A^_S,p.
        student_wrong: the same for the wrong class: A^_S,n.
        teacher_right: the teacher's map of the right class: A^_T,p.
        margin: in units of distance, 0..2 for unit maps.
        anchor: whose map of the right class is compared with the two others.
        squared: squared L2 distances in place of L2 distances.
    """
    teacher_right = tf.stop_gradient(teacher_right)
    positive = _distance(student_right, teacher_right, squared)
    negative = _distance(student_right if anchor == "student" else teacher_right, student_wrong, squared)
    return tf.nn.relu(positive - negative + margin)


@dataclass(frozen=True)
class AttentionTriplet(Objective):
    """L_at, on Grad-CAM maps of the right class (the pseudo-label) and of the most probable wrong one.

    Logs the share of images that add nothing because one of their maps is all zero and has no direction.

    Args:
        margin: in units of distance.
        anchor: "student" or "teacher", see `attention_triplet`.
        negative: whose ranking says which wrong class is the most probable: "student" or "teacher".
        squared: squared distances.
    """

    figures: ClassVar[tuple[str, ...]] = ("zero_maps",)

    margin: NotNegative = 0.5
    anchor: Network = "student"
    negative: Network = "student"
    squared: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for option in ("anchor", "negative"):
            if getattr(self, option) not in get_args(Network):
                raise UserError(
                    f"attention_triplet: {option} is {getattr(self, option)!r}, expected student or teacher"
                )

    def __call__(self, evidence: Evidence) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        right = evidence.pseudo_label
        ranking = evidence.student.logits if self.negative == "student" else evidence.teacher_logits
        wrong = most_probable_other(ranking, right)
        student = evidence.student.attention(tf.stack([right, wrong], axis=1))
        teacher = evidence.teacher.attention(tf.gather(evidence.classes, right)[:, tf.newaxis])
        student, teacher = resized_to_smaller(student, teacher)
        student, student_is_zero = unit_maps(student)
        teacher, teacher_is_zero = unit_maps(teacher)
        has_direction = ~(student_is_zero[:, 0] | student_is_zero[:, 1] | teacher_is_zero[:, 0])
        losses = attention_triplet(student[:, 0], student[:, 1], teacher[:, 0], self.margin, self.anchor, self.squared)
        used = evidence.is_known & has_direction
        # A mean over the known images: one without direction counts, and adds nothing.
        loss = mean_of(tf.where(used, losses, tf.zeros_like(losses)), evidence.is_known)
        zero_maps = mean_of(tf.cast(~has_direction, losses.dtype), evidence.is_known)
        return loss, {"zero_maps": zero_maps}


def most_probable_other(logits: tf.Tensor, label: tf.Tensor) -> tf.Tensor:
    """Returns the class with the largest logit other than `label`, int64 (batch,).

    Args:
        logits: float (batch, classes), at least two classes.
        label: int64 (batch,).
    """
    others = tf.where(tf.one_hot(label, logits.shape[-1], on_value=True, off_value=False), logits.dtype.min, logits)
    return tf.argmax(tf.stop_gradient(others), axis=-1)


def _distance(a: tf.Tensor, b: tf.Tensor, squared: bool) -> tf.Tensor:
    square = tf.reduce_sum((a - b) ** 2, axis=-1)
    return square if squared else tf.sqrt(tf.maximum(square, _SMALLEST_SQUARE))
