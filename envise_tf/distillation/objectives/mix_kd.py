"""MIX-KD's loss: each network's logits in units of their own spread, in place of a temperature."""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf

from envise_tf.distillation.objectives.hard_label import hard_label
from envise_tf.distillation.objectives.objective import Evidence, Objective, mean_of
from envise_tf.distillation.objectives.soft_label import soft_label
from envise_tf.distillation.objectives.vectors import unit_vectors
from envise_tf.networks.precision import at_least_float32
from envise_tf.settings.ranges import Share


def mix_kd(
    student_logits: tf.Tensor, teacher_logits: tf.Tensor, pseudo_label: tf.Tensor, soft_share: float = 0.9
) -> tf.Tensor:
    """Returns (1 - a) CE(y, z_S) + a KL(softmax(z_T / std(z_T)) || softmax(z_S / std(z_S))), float32 (batch,), in nats.

    std is over an image's classes [from the authors' code]. Logits that are all alike are uniform probabilities.

    Args:
        student_logits: floating point (batch, classes), z_S.
        teacher_logits: likewise of the same classes, z_T.
        pseudo_label: int (batch,), y.
        soft_share: a, in 0..1; 0.9 in the authors' code.
    """
    student_logits, teacher_logits = at_least_float32(student_logits), at_least_float32(teacher_logits)
    hard = hard_label(student_logits, pseudo_label)
    soft = soft_label(standardised(student_logits), standardised(teacher_logits), temperature=1.0)
    return (1 - soft_share) * hard + soft_share * soft


def standardised(logits: tf.Tensor) -> tf.Tensor:
    """Returns (z - mean) / std of each image, of mean 0 and variance 1 over its classes, of the shape of `logits`.

    The mean changes no softmax. Zeros where all logits are alike.

    Args:
        logits: floating point (batch, classes).
    """
    logits = tf.identity(logits)  # no gradient becomes a sum of three, see `Fork`
    centred = logits - tf.reduce_mean(logits, axis=-1, keepdims=True)
    return unit_vectors(centred) * tf.sqrt(tf.cast(tf.shape(logits)[-1], centred.dtype))


@dataclass(frozen=True)
class MixKd(Objective):
    """The mean of `mix_kd`, whatever the images are; it is made for blended ones, such as `--mixup 1` gives.

    The authors mix the two labels of a blend; here the teacher says what the blend shows (our choice: it takes no
    label, and no second look of the teacher at the unmixed images).

    Args:
        soft_share: a, see `mix_kd`.
    """

    soft_share: Share = 0.9

    def __call__(self, evidence: Evidence) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        logits = evidence.student.logits
        losses = mix_kd(logits, evidence.teacher_logits, evidence.pseudo_label, self.soft_share)
        return mean_of(losses, evidence.is_known), {}
