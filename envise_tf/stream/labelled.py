"""Labelled images of elsewhere, which say what a student truly loses; they train nothing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from envise_tf.deferral.labelled import LabelledAnswers
from envise_tf.deferral.serving import ScoredStudent
from envise_tf.networks.labelled import LabelledLogits
from envise_tf.prior.adaptation import Adaptation
from envise_tf.stream.teacher import StreamTeacher


@dataclass(frozen=True)
class LabelledImages:
    """Labelled images that neither network was trained on, of which the teacher has been asked already.

    Attributes:
        batches: at least one, with "image", uint8 (batch, height, width, 3); read again for each student.
        teacher_said: of the same images in the same order, as the teacher came.
    """

    batches: tf.data.Dataset
    teacher_said: LabelledLogits

    def __len__(self) -> int:
        return len(self.teacher_said)

    def answers(self, scored: ScoredStudent, teacher: StreamTeacher, adaptation: Adaptation) -> LabelledAnswers:
        """Returns what both networks answer.

        Args:
            scored: the student.
            teacher: whose adapted answers count.
            adaptation: of the teacher, to the stream that the student is to serve.
        """
        said = [scored.said(batch["image"]) for batch in self.batches.as_numpy_iterator()]
        student_class, score = map(np.concatenate, zip(*said, strict=True))
        teacher_class = teacher.adapted(self.teacher_said.logits, adaptation).argmax(axis=-1)
        return LabelledAnswers.of(score, student_class, scored.classes, teacher_class, self.teacher_said.labels)
