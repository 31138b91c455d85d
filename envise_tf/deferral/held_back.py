"""What student and teacher say of images that were held back from training: what thresholds are chosen from."""

from __future__ import annotations

import dataclasses
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

    Raises:
        UserError: the lengths differ, a score is not finite, or an image agrees and is no inlier.
    """

    score: np.ndarray
    student_class: np.ndarray
    agrees: np.ndarray
    is_inlier: np.ndarray

    def __post_init__(self) -> None:
        for name, kind in (("score", np.float32), ("student_class", np.int64), ("agrees", bool), ("is_inlier", bool)):
            object.__setattr__(self, name, np.asarray(getattr(self, name), kind))
        shapes = [getattr(self, field.name).shape for field in dataclasses.fields(self)]
        if len(set(shapes)) > 1 or len(shapes[0]) != 1:
            raise UserError(f"score, student_class, agrees and is_inlier have shapes {shapes}: expected (n,) each")
        if not np.isfinite(self.score).all():
            raise UserError(
                f"{np.sum(~np.isfinite(self.score))} of {len(self)} held-back scores are not finite: expected numbers; "
                "look at the score's input, or leave these images out"
            )
        if (self.agrees & ~self.is_inlier).any():
            raise UserError(
                "an image agrees but is no inlier: where student and teacher agree, the class is the student's"
            )

    def __len__(self) -> int:
        return len(self.score)

    @classmethod
    def of(cls, score: np.ndarray, student_class: np.ndarray, pseudo_label: np.ndarray) -> HeldBack:
        """Returns the images as the teacher sees them: `pseudo_label` is int64 (n,), -1 for what the student lacks."""
        return cls(score, student_class, student_class == pseudo_label, pseudo_label >= 0)

    def where(self, chosen: np.ndarray) -> HeldBack:
        """Returns the chosen images.

        Args:
            chosen: bool (n,), or integer indices.
        """
        return HeldBack(self.score[chosen], self.student_class[chosen], self.agrees[chosen], self.is_inlier[chosen])
