"""What both networks of a run say of its held-back images."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from envise_tf.deferral.held_back import HeldBack
from envise_tf.deferral.scores.outputs import Outputs
from envise_tf.deferral.scores.score import OutlierScore
from envise_tf.errors import UserError
from envise_tf.runs.finished import Networks


@dataclass(frozen=True)
class HeldBackOutputs:
    """What both networks say of n held-back images, all of one part: those that choose, or those that promise.

    Attributes:
        outputs: the student's.
        own_class: int64 (n,), what the student predicts, in its own numbering.
        pseudo_label: int64 (n,), the student's class of the teacher's prediction, -1 where it has none.
    """

    outputs: Outputs
    own_class: np.ndarray
    pseudo_label: np.ndarray

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

    def seen_by(self, score: OutlierScore) -> HeldBack:
        """Returns the images as the choice of a threshold for this score sees them."""
        return HeldBack.of(score.score(self.outputs), self.own_class, self.pseudo_label)


def held_back_outputs(networks: Networks, batches: Iterable[np.ndarray]) -> HeldBackOutputs:
    """Returns what both networks say of held-back images.

    Args:
        networks: of a run.
        batches: uint8 (n, height, width, 3) each.

    Raises:
        UserError: there is no image.
    """
    parts, teacher_class = [], []
    for images in batches:
        parts.append(networks.student(images))
        teacher_class.append(networks.teacher(images).argmax(axis=-1))
    if not parts:
        raise UserError("the stream has too few images to hold any back: expected some hundreds; give more images")
    outputs = Outputs.concatenated(parts)
    pseudo_label = networks.student_classes[np.concatenate(teacher_class)]
    return HeldBackOutputs(outputs, outputs.logits.argmax(axis=-1), pseudo_label)
