"""Angular margin contrastive loss (AMC): embeddings of one class at a small angle, of two at a large one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import tensorflow as tf

from envise_tf.distillation.objectives.objective import Evidence, Need, Objective, Shapes, mean_of
from envise_tf.distillation.objectives.vectors import angles, unit_vectors
from envise_tf.settings.ranges import NotNegative, Within


def amc(embedding: tf.Tensor, other: tf.Tensor, is_same_class: tf.Tensor, margin: float = 0.5) -> tf.Tensor:
    """Returns d^2 of a pair of one class and max(0, m - d)^2 of a pair of two, float32 (pairs,), in square radians.

    d = arccos(z . z'), z = x / ||x||_2 [Choi et al. 2020, "AMC-Loss", from the authors' code].

    Args:
        embedding: floating point (pairs, d), x.
        other: likewise, x'.
        is_same_class: bool (pairs,).
        margin: m, in radians.
    """
    angle = angles(tf.reduce_sum(unit_vectors(embedding) * unit_vectors(other), axis=-1))
    return tf.where(is_same_class, angle, tf.nn.relu(margin - angle)) ** 2


@dataclass(frozen=True)
class Amc(Objective):
    """The mean of `amc` over pairs of images half a batch apart whose pseudo-labels are known.

    Of an odd batch the last image is in no pair. Replicas pair the images of their own share. Its companion counts the
    training steps.

    Args:
        margin: m, in radians.
        ramp: training steps over which the loss rises linearly to its full size (the authors ramp it up; the form and
            the default are our choice); 0 for its full size from the first step on.
    """

    needs: ClassVar[tuple[Need, ...]] = ("embedding",)

    margin: NotNegative = 0.5
    ramp: Annotated[int, Within(0)] = 1000

    @property
    def needs_teacher(self) -> bool:
        return False

    def companion(self, student: Shapes, teacher: Shapes) -> tf.keras.layers.Layer:
        ramp = _Ramp(self.ramp, dtype="float32", name="amc_ramp")
        ramp.build(())
        return ramp

    def __call__(self, evidence: Evidence) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        one, other = _halves(evidence.student.embedding)
        label, other_label = _halves(evidence.pseudo_label)
        is_known, other_is_known = _halves(evidence.is_known)
        losses = amc(one, other, label == other_label, self.margin)
        assert evidence.companion is not None
        size = evidence.companion(mean_of(losses, is_known & other_is_known), training=evidence.is_training)
        return size, {}


class _Ramp(tf.keras.layers.Layer):
    """Multiplies a loss with the share of the ramp's steps that have been taken, 1 from its end on."""

    def __init__(self, length: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._length = length

    def build(self, input_shape: tf.TensorShape) -> None:
        first = tf.VariableAggregation.ONLY_FIRST_REPLICA  # all replicas count alike
        self.steps = self.add_weight("steps", (), initializer="zeros", trainable=False, aggregation=first)
        super().build(input_shape)

    def call(self, loss: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        steps = self.steps.assign_add(1.0) if training else self.steps
        return loss * tf.cast(tf.minimum(1.0, steps / self._length), loss.dtype) if self._length else loss


def _halves(rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns rows i and i + n // 2, for i < n // 2."""
    half = tf.shape(rows)[0] // 2
    return rows[:half], rows[half : 2 * half]
