"""What both networks answer on labelled images of elsewhere, for a promise that supposes nothing of the teacher."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from envise_tf.deferral.labelled import LabelledAnswers, ShiftWeights
from envise_tf.deferral.scores.score import OutlierScore
from envise_tf.prior.adaptation import Adaptation
from envise_tf.runs.finished import Networks


def labelled_answers(
    batches: Iterable[Mapping[str, np.ndarray]], networks: Networks, score: OutlierScore
) -> LabelledAnswers:
    """Returns what both networks answer; each runs once.

    Args:
        batches: at least one, with "image", uint8 (batch, height, width, 3), and "label", int64 (batch,), in the
            teacher's numbering.
        networks: of the run.
        score: fitted.
    """
    parts = []
    for batch in batches:
        outputs, label = networks.student(batch["image"]), batch["label"]
        own_class = outputs.logits.argmax(axis=-1)
        teacher_right = networks.teacher(batch["image"]).argmax(axis=-1) == label
        lost = teacher_right.astype(np.int64) - (networks.teacher_classes[own_class] == label)
        parts.append((score.score(outputs), own_class, lost, label))
    return LabelledAnswers(*map(np.concatenate, zip(*parts, strict=True)))


def weights_on(adaptation: Adaptation, labelled: LabelledAnswers) -> ShiftWeights:
    """Returns how much labelled images weigh, so that they stand for the stream that a teacher was adapted to."""
    return ShiftWeights.of(labelled.label, adaptation.lower, adaptation.upper)
