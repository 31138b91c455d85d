"""What both networks say of held-back images: all that a score is fitted on and that a threshold is chosen on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from scipy import special

from envise_tf.deferral.cascade import Teacher
from envise_tf.deferral.held_back import HeldBack
from envise_tf.deferral.regret import regret
from envise_tf.deferral.scores.outputs import Observer, Outputs
from envise_tf.deferral.scores.score import OutlierScore
from envise_tf.distillation.distiller import student_class_of
from envise_tf.errors import UserError


@dataclass(frozen=True, eq=False)
class HeldBackImages:
    """What both networks say of n held-back images, all of one part: those that choose, or those that promise.

    Attributes:
        outputs: the student's.
        own_class: int64 (n,), what the student predicts, in its own numbering.
        pseudo_label: int64 (n,), the student's class of the teacher's prediction, -1 where it has none.
        regret: float (n,), 0..1, of the student's answers, see `regret.regret`.
        teacher_class: int64 (n,), what the teacher predicts, in its own numbering.
        confidence: float (n,), 0..1, the probability that the teacher gives that class.
    """

    outputs: Outputs
    own_class: np.ndarray
    pseudo_label: np.ndarray
    regret: np.ndarray
    teacher_class: np.ndarray
    confidence: np.ndarray

    def __len__(self) -> int:
        return len(self.own_class)

    @property
    def agreement(self) -> float:
        """Share of all n images on which both agree, in 0..1, as a promise counts it.

        An image of a class that the student lacks is a disagreement.
        """
        return float((self.own_class == self.pseudo_label).mean())

    @property
    def agreement_of_its_classes(self) -> float | None:
        """Share of the images that the teacher puts in one of the student's classes, as a training counts it."""
        is_known = self.pseudo_label >= 0
        return float((self.own_class == self.pseudo_label)[is_known].mean()) if is_known.any() else None

    def fitted(self, score: OutlierScore) -> OutlierScore:
        """Returns the score itself, fitted on these images, which must be those that choose.

        Raises:
            NotApplicable: the score has no meaning for this student or these images.
        """
        score.fit(self.outputs, self.pseudo_label, self.regret)
        return score

    def seen_by(self, score: OutlierScore) -> HeldBack:
        """Returns the images as the choice of a threshold for this score sees them."""
        return HeldBack.of(score.score(self.outputs), self.own_class, self.pseudo_label, self.regret)


def answers_on(
    batches: Iterable[np.ndarray | tf.Tensor], student: Observer, teacher: Teacher, classes: Sequence[int]
) -> HeldBackImages:
    """Returns what student and teacher say of held-back images; each network runs once.

    Args:
        batches: uint8 (batch, height, width, 3), of the stream, never trained on.
        student: its observer.
        teacher: uint8 images -> logits.
        classes: the teacher's class of each of the student's.

    Raises:
        UserError: there is no image.
    """
    outputs, teacher_outputs = [], []
    for batch in batches:
        images = np.asarray(batch)
        outputs.append(student(images))
        teacher_outputs.append(teacher(images))
    if not outputs:
        raise UserError("the stream has too few images to hold any back: expected some hundreds; give more images")
    student_outputs, teacher_logits = Outputs.concatenated(outputs), np.concatenate(teacher_outputs)
    own_class, teacher_class = (logits.argmax(axis=-1) for logits in (student_outputs.logits, teacher_logits))
    probabilities = special.softmax(teacher_logits.astype(np.float64), axis=-1)
    return HeldBackImages(
        outputs=student_outputs,
        own_class=own_class,
        pseudo_label=student_class_of(classes, teacher_logits.shape[-1])[teacher_class],
        regret=regret(probabilities, np.array(classes)[own_class]),
        teacher_class=teacher_class,
        confidence=probabilities.max(axis=-1),
    )
