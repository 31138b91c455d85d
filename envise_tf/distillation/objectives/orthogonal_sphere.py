"""Orthogonal sphere: the blocks of an embedding point in different directions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import tensorflow as tf

from envise_tf.distillation.objectives.objective import Evidence, Need, Objective, Shapes, mean_of
from envise_tf.distillation.objectives.vectors import unit_vectors
from envise_tf.errors import UserError
from envise_tf.settings.ranges import Within


def orthogonal_sphere(embedding: tf.Tensor, blocks: int = 16) -> tf.Tensor:
    """Returns ||Z Z^T - I||_F^2 of each image, float32 (batch,) in 0..k^2.

    Z (k, d / k) are the k blocks of the embedding, each of unit length (our choice of form, for the orthogonal sphere
    regularisation of [Choi et al. 2020]). A block of zeros adds 1 and has no gradient. More blocks than a block has
    features cannot all be orthogonal.

    Args:
        embedding: floating point (batch, d), d a multiple of k.
        blocks: k.
    """
    z = unit_vectors(tf.reshape(embedding, [-1, blocks, embedding.shape[-1] // blocks]))
    difference = tf.matmul(z, z, transpose_b=True) - tf.eye(blocks, dtype=z.dtype)
    return tf.reduce_sum(difference**2, axis=[1, 2])


@dataclass(frozen=True)
class OrthogonalSphere(Objective):
    """The mean of `orthogonal_sphere` over the images whose pseudo-label is known.

    Args:
        blocks: k; the student's embedding must have a multiple of so many features.
    """

    needs: ClassVar[tuple[Need, ...]] = ("embedding",)

    blocks: Annotated[int, Within(2)] = 16

    @property
    def needs_teacher(self) -> bool:
        return False

    def companion(self, student: Shapes, teacher: Shapes) -> None:
        if student.embedding % self.blocks:
            raise UserError(
                f"orthogonal_sphere: {self.blocks} blocks of a student with {student.embedding} penultimate features: "
                "expected a divisor of their number"
            )

    def __call__(self, evidence: Evidence) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        return mean_of(orthogonal_sphere(evidence.student.embedding, self.blocks), evidence.is_known), {}
