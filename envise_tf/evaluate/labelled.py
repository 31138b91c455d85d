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
        outputs = networks.student(batch["image"])
        teacher_class = networks.teacher(batch["image"]).argmax(axis=-1)
        parts.append((score.score(outputs), outputs.logits.argmax(axis=-1), teacher_class, batch["label"]))
    score_of, own_class, teacher_class, label = map(np.concatenate, zip(*parts, strict=True))
    return LabelledAnswers.of(score_of, own_class, networks.teacher_classes, teacher_class, label)


def weights_on(adaptation: Adaptation, labelled: LabelledAnswers) -> ShiftWeights:
    """Returns how much labelled images weigh, so that they stand for the stream that a teacher was adapted to."""
    return ShiftWeights.of(labelled.label, adaptation.lower, adaptation.upper)
