"""Attention transfer: be active where the teacher is, stage by stage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import tensorflow as tf

from envise_tf.distillation.objectives.energy import energy_pairs, flattened
from envise_tf.distillation.objectives.objective import Evidence, Need, Objective, mean_of
from envise_tf.distillation.objectives.vectors import unit_vectors


def attention_transfer(student: tf.Tensor, teacher: tf.Tensor) -> tf.Tensor:
    """Returns mean over positions of (Q_S / ||Q_S||_2 - Q_T / ||Q_T||_2)^2 of each image, float32 (batch,) >= 0.

    [Zagoruyko and Komodakis 2017, "Paying More Attention to Attention", eq. 2, in the form of the authors' code]

    Args:
        student: floating point (batch, height, width), the energy Q = mean_c F_c^2, up to a factor for each image.
        teacher: likewise, on the same grid; a constant.
    """
    difference = unit_vectors(flattened(student)) - tf.stop_gradient(unit_vectors(flattened(teacher)))
    return tf.reduce_mean(difference**2, axis=-1)


@dataclass(frozen=True)
class AttentionTransfer(Objective):
    """The sum of `attention_transfer` over the stages.

    Args:
        weight: beta; 1000 is the value of the authors' code.
    """

    needs: ClassVar[tuple[Need, ...]] = ("stages",)

    weight: float = 1000.0

    def __call__(self, evidence: Evidence) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        pairs = energy_pairs(evidence.student.stages, evidence.teacher.stages)
        losses = sum(attention_transfer(*pair) for pair in pairs)
        return mean_of(losses, evidence.is_known), {}
