"""Knowledge distillation in its first form: soft labels mixed with hard ones."""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf

from envise_tf.distillation.objectives.hard_label import hard_label
from envise_tf.distillation.objectives.objective import Evidence, Objective, mean_of
from envise_tf.distillation.objectives.soft_label import soft_label
from envise_tf.networks.precision import at_least_float32
from envise_tf.settings.ranges import Positive, Share


def mixed_label(
    student_logits: tf.Tensor,
    teacher_logits: tf.Tensor,
    pseudo_label: tf.Tensor,
    temperature: float,
    soft_share: float,
) -> tf.Tensor:
    """Returns (1 - a) CE(y, z_S) + a T^2 KL(softmax(z_T / T) || softmax(z_S / T)), float32 (batch,), in nats.

    [Hinton et al. 2015, section 2]; the pseudo-label y stands in for their label.

    Args:
        student_logits: floating point (batch, classes), z_S.
        teacher_logits: likewise of the same classes, z_T.
        pseudo_label: int (batch,), in 0..classes-1.
        temperature: T > 0.
        soft_share: a, in 0..1.
    """
    student_logits, teacher_logits = at_least_float32(student_logits), at_least_float32(teacher_logits)
    hard = hard_label(student_logits, pseudo_label)
    return (1 - soft_share) * hard + soft_share * soft_label(student_logits, teacher_logits, temperature)


@dataclass(frozen=True)
class MixedLabel(Objective):
    """The mean of `mixed_label`: `hard_label` and `soft_label` as one term with one weight.

    Args:
        temperature: T; the larger, the more the teacher's lesser classes count.
        soft_share: a (the default is our choice).
    """

    temperature: Positive = 4.0
    soft_share: Share = 0.9

    def __call__(self, evidence: Evidence) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        losses = mixed_label(
            evidence.student.logits,
            evidence.teacher_logits,
            evidence.pseudo_label,
            self.temperature,
            self.soft_share,
        )
        return mean_of(losses, evidence.is_known), {}
