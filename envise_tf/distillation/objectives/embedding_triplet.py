"""Embedding triplet: near the teacher's embeddings of one's class, far from the student's of the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import tensorflow as tf

from envise_tf.distillation.objectives.objective import Evidence, Need, Objective, Shapes, mean_of
from envise_tf.distillation.objectives.vectors import unit_vectors
from envise_tf.networks.precision import at_least_float32
from envise_tf.settings.ranges import NotNegative

_SMALLEST_SQUARE = 1e-6
"""Squared distances below this, zero to float32, count as this: the root of zero has no gradient."""


def embedding_triplet(
    student: tf.Tensor, teacher: tf.Tensor, label: tf.Tensor, is_known: tf.Tensor, margin: float
) -> tf.Tensor:
    """Returns max(0, d(a, p) - d(a, n) + margin) of each image, float32 (batch,) in 0..2 + margin.

    a is the student's embedding, p the teacher's of the same class, n the student's of another class [Georgescu and
    Ionescu 2020, "Teacher-Student Training and Triplet Loss for Facial Expression Recognition under Occlusion"]. Of all
    in the batch, p is the furthest and n the nearest (our choice, after Hermans et al. 2017); d is the L2
    distance between embeddings of unit length. An image that is not known, or finds no other class, adds 0.

    Args:
        student: floating point (batch, d).
        teacher: floating point (batch, d); a constant.
        label: int (batch,).
        is_known: bool (batch,): the others are no anchor, no positive and no negative.
        margin: in units of distance.
    """
    anchors, positives = unit_vectors(student), tf.stop_gradient(unit_vectors(teacher))
    negatives = tf.identity(anchors)  # no gradient becomes a sum of three, see `Fork`
    same = label[:, tf.newaxis] == label
    both_known = is_known[:, tf.newaxis] & is_known
    squares = 2 - 2 * tf.matmul(anchors, positives, transpose_b=True)
    furthest = tf.reduce_max(tf.where(same & both_known, squares, tf.zeros_like(squares)), axis=1)
    squares = 2 - 2 * tf.matmul(negatives, negatives, transpose_b=True)
    is_negative = ~same & both_known
    nearest = tf.reduce_min(tf.where(is_negative, squares, 4 * tf.ones_like(squares)), axis=1)
    losses = tf.nn.relu(_root(furthest) - _root(nearest) + margin)
    return tf.where(tf.reduce_any(is_negative, axis=1), losses, tf.zeros_like(losses))


def _root(squares: tf.Tensor) -> tf.Tensor:
    return tf.sqrt(tf.maximum(squares, _SMALLEST_SQUARE))


@dataclass(frozen=True)
class EmbeddingTriplet(Objective):
    """The mean of `embedding_triplet` over the known images of the batch, or of a replica's share of it.

    The student's embedding passes a linear map to the teacher's number of features, its companion, which is dropped at
    export (our choice: the two networks differ in width).

    Args:
        margin: in units of distance.
    """

    needs: ClassVar[tuple[Need, ...]] = ("embedding",)

    margin: NotNegative = 0.5

    def companion(self, student: Shapes, teacher: Shapes) -> tf.keras.layers.Layer:
        initial = tf.keras.initializers.GlorotUniform(seed=0)
        adaptation = tf.keras.layers.Dense(
            teacher.embedding, use_bias=False, kernel_initializer=initial, dtype="float32", name="embedding_adaptation"
        )
        adaptation.build((None, student.embedding))
        return adaptation

    def __call__(self, evidence: Evidence) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        assert evidence.companion is not None
        student = evidence.companion(at_least_float32(evidence.student.embedding))
        teacher, known = evidence.teacher.embedding, evidence.is_known
        losses = embedding_triplet(student, teacher, evidence.pseudo_label, known, self.margin)
        return mean_of(losses, known), {}
