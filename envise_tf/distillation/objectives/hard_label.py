"""Cross-entropy with the teacher's predicted class."""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf

from envise_tf.distillation.objectives.objective import Evidence, Objective, mean_of


def hard_label(student_logits: tf.Tensor, pseudo_label: tf.Tensor) -> tf.Tensor:
    """Returns the cross-entropy of each image with its pseudo-label, float32 (batch,), in nats.

    Args:
        student_logits: float32 (batch, classes).
        pseudo_label: int (batch,), in 0..classes-1.
    """
    return tf.nn.sparse_softmax_cross_entropy_with_logits(pseudo_label, student_logits)


@dataclass(frozen=True)
class HardLabel(Objective):
    """L_d in its first form: cross-entropy with the pseudo-label (our choice; the paper leaves the form open)."""

    @property
    def needs_teacher(self) -> bool:
        return False

    def __call__(self, evidence: Evidence) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        losses = hard_label(evidence.student.logits, evidence.pseudo_label)
        return mean_of(losses, evidence.is_known), {}
