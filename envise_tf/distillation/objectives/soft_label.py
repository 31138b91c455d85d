"""Knowledge distillation: the teacher's softened probabilities as the target."""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf

from envise_tf.distillation.objectives.objective import Evidence, Objective, mean_of
from envise_tf.settings.ranges import Positive


def soft_label(student_logits: tf.Tensor, teacher_logits: tf.Tensor, temperature: float) -> tf.Tensor:
    """Returns T^2 KL(softmax(z_T / T) || softmax(z_S / T)) of each image, float32 (batch,) >= 0, in nats.

    [Hinton et al. 2015, section 2]; T^2 keeps the gradient's size as T changes.

    Args:
        student_logits: float32 (batch, classes), z_S.
        teacher_logits: float32 (batch, classes), z_T, of the same classes.
        temperature: T > 0.
    """
    target = tf.nn.log_softmax(teacher_logits / temperature)
    output = tf.nn.log_softmax(student_logits / temperature)
    return temperature**2 * tf.reduce_sum(tf.exp(target) * (target - output), axis=-1)


@dataclass(frozen=True)
class SoftLabel(Objective):
    """L_d in its second form (our choice; the paper leaves the form open).

    Args:
        temperature: T; the larger, the more the teacher's lesser classes count.
    """

    temperature: Positive = 2.0

    def __call__(self, evidence: Evidence) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        losses = soft_label(evidence.student.logits, evidence.teacher_logits, self.temperature)
        return mean_of(losses, evidence.is_known), {}
