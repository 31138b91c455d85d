"""What student and teacher say of images that were held back from training: what thresholds are chosen from."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from envise_tf.errors import UserError


@dataclass(frozen=True)
class HeldBack:
    """What student and teacher say of n images that neither was trained on. No label is among it.

    Attributes:
        score: float32 (n,), finite, larger = more inlier.
        student_class: int64 (n,), what the student predicts, in its own numbering.
        agrees: bool (n,), whether that is the class the teacher predicts.
        is_inlier: bool (n,), whether the teacher predicts one of the student's classes.
        regret: float32 (n,), 0..1, the accuracy that the student's answer is expected to cost, see `regret.regret`.

    Raises:
        UserError: the lengths differ, a score is not finite, a regret is not in 0..1, or an image agrees and is no
            inlier or has a regret.
    """

    score: np.ndarray
    student_class: np.ndarray
    agrees: np.ndarray
    is_inlier: np.ndarray
    regret: np.ndarray

    def __post_init__(self) -> None:
        kinds = {
            "score": np.float32,
            "student_class": np.int64,
            "agrees": bool,
            "is_inlier": bool,
            "regret": np.float32,
        }
        for name, kind in kinds.items():
            object.__setattr__(self, name, np.asarray(getattr(self, name), kind))
        shapes = [getattr(self, field.name).shape for field in dataclasses.fields(self)]
        if len(set(shapes)) > 1 or len(shapes[0]) != 1:
            raise UserError(
                f"score, student_class, agrees, is_inlier and regret have shapes {shapes}: expected (n,) each"
            )
        if not np.isfinite(self.score).all():
            raise UserError(
                f"{np.sum(~np.isfinite(self.score))} of {len(self)} held-back scores are not finite: expected numbers; "
                "look at the score's input, or leave these images out"
            )
        if (self.agrees & ~self.is_inlier).any():
            raise UserError(
                "an image agrees but is no inlier: where student and teacher agree, the class is the student's"
            )
        if not ((self.regret >= 0) & (self.regret <= 1)).all() or self.regret[self.agrees].any():
            raise UserError("a regret is outside 0..1, or not 0 where student and teacher agree: see regret.regret")

    def __len__(self) -> int:
        return len(self.score)

    @classmethod
    def of(
        cls, score: np.ndarray, student_class: np.ndarray, pseudo_label: np.ndarray, regret: np.ndarray | None = None
    ) -> HeldBack:
        """Returns the images as the teacher sees them.

        Args:
            score: as in the class, like the next and `regret`.
            student_class: likewise.
            pseudo_label: int64 (n,), the student's class of the teacher's prediction, -1 for what the student lacks.
            regret: None, where the teacher's probabilities are unknown, is the most it can be: 1 where they disagree.
        """
        agrees = student_class == pseudo_label
        return cls(score, student_class, agrees, pseudo_label >= 0, ~agrees if regret is None else regret)

    @classmethod
    def concatenated(cls, parts: Sequence[HeldBack]) -> HeldBack:
        """Returns the images of several parts, at least one, in their order."""
        return cls(
            *(np.concatenate([getattr(each, field.name) for each in parts]) for field in dataclasses.fields(cls))
        )

    def where(self, chosen: np.ndarray) -> HeldBack:
        """Returns the chosen images.

        Args:
            chosen: bool (n,), or integer indices.
        """
        return HeldBack(*(getattr(self, field.name)[chosen] for field in dataclasses.fields(self)))
