"""Online subclass distillation (OSKD): each image is drawn to the outputs of its class that are like its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import tensorflow as tf

from envise_tf.distillation.objectives.objective import Evidence, Objective, Shapes, mean_of
from envise_tf.networks.precision import at_least_float32
from envise_tf.settings.ranges import NotNegative, Within


def oskd(
    outputs: tf.Tensor, others: tf.Tensor, is_candidate: tf.Tensor, neighbours: int = 5, push: float = 0.0
) -> tf.Tensor:
    """Returns ||y - mu||^2 - p ||y - nu||^2 of each image, float32 (batch,), at most 2.

    mu is the mean of the K candidates nearest to the output y, nu that of the K furthest, and both are constants. After
    the abstract of Tzelepi, Passalis and Tefas 2021, "Online Subclass Knowledge Distillation"; squares, means and
    candidates are our choice. Where there are fewer than K candidates, all count; an image without any adds 0.

    Args:
        outputs: floating point (batch, classes), y, probabilities.
        others: likewise (others, classes); constants.
        is_candidate: bool (batch, others), whether each may be a neighbour of each image.
        neighbours: K.
        push: p; 0 for the pull alone.
    """
    outputs = at_least_float32(outputs)
    constant, others = tf.stop_gradient(outputs), tf.stop_gradient(at_least_float32(others))
    squares = tf.reduce_sum(constant**2, axis=1, keepdims=True) + tf.reduce_sum(others**2, axis=1)
    distances = squares - 2 * tf.matmul(constant, others, transpose_b=True)
    pull = _squared_distance(outputs, others, -distances, is_candidate, neighbours)
    if not push:
        return pull
    # The output is read once by each of the two, and no third time: no gradient becomes a sum of three, see `Fork`.
    return pull - push * _squared_distance(outputs, others, distances, is_candidate, neighbours)


def _squared_distance(
    outputs: tf.Tensor, others: tf.Tensor, preference: tf.Tensor, is_candidate: tf.Tensor, count: int
) -> tf.Tensor:
    """Returns ||y - m||^2, m the mean of the `count` candidates of largest preference; 0 without any."""
    never = tf.fill(tf.shape(preference), preference.dtype.min)
    best, places = tf.math.top_k(tf.where(is_candidate, preference, never), tf.minimum(count, tf.shape(others)[0]))
    is_found = tf.cast(best > preference.dtype.min, outputs.dtype)[..., tf.newaxis]
    mean = tf.math.divide_no_nan(
        tf.reduce_sum(is_found * tf.gather(others, places), axis=1), tf.reduce_sum(is_found, axis=1)
    )
    return tf.reduce_sum((outputs - mean) ** 2, axis=1) * tf.reduce_max(is_found, axis=[1, 2])


@dataclass(frozen=True)
class Oskd(Objective):
    """The mean of `oskd` over the known images; candidates are outputs of the same class, in the batch or remembered.

    Its companion remembers the outputs of earlier training steps. The student distils itself: of the teacher it asks
    nothing but the class. Replicas look among their own share of the batch, and remember that of the first.

    Args:
        neighbours: K, see `oskd`.
        push: p, likewise.
        memory: outputs that are remembered, the latest ones; 0 for the batch alone.
    """

    neighbours: Annotated[int, Within(1)] = 5
    push: NotNegative = 0.0
    memory: Annotated[int, Within(0)] = 1024

    @property
    def needs_teacher(self) -> bool:
        return False

    def companion(self, student: Shapes, teacher: Shapes) -> tf.keras.layers.Layer:
        memory = _Memory(self.memory, student.classes, dtype="float32", name="oskd_memory")
        memory.build(())
        return memory

    def __call__(self, evidence: Evidence) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        assert evidence.companion is not None
        outputs = tf.nn.softmax(at_least_float32(evidence.student.logits))
        label, is_known = evidence.pseudo_label, evidence.is_known
        labels = tf.where(is_known, label, -tf.ones_like(label))
        constant = tf.stop_gradient(outputs)
        remembered, remembered_labels = evidence.companion(constant, labels, training=evidence.is_training)
        others = tf.concat([constant, tf.cast(remembered, outputs.dtype)], axis=0)
        others_label = tf.concat([labels, tf.cast(remembered_labels, labels.dtype)], axis=0)
        count = tf.shape(label)[0]
        is_other = tf.pad(~tf.eye(count, dtype=tf.bool), [[0, 0], [0, self.memory]], constant_values=True)
        is_candidate = is_other & (label[:, tf.newaxis] == others_label)
        losses = oskd(outputs, others, is_candidate, self.neighbours, self.push)
        return mean_of(losses, is_known), {}


class _Memory(tf.keras.layers.Layer):
    """The outputs of the latest images and their classes, -1 where there is none yet or it is not known."""

    def __init__(self, length: int, classes: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._length, self._classes = length, classes

    def build(self, input_shape: tf.TensorShape) -> None:
        first = tf.VariableAggregation.ONLY_FIRST_REPLICA
        minus_one = tf.keras.initializers.Constant(-1)
        self.outputs = self.add_weight(
            "outputs", (self._length, self._classes), initializer="zeros", trainable=False, aggregation=first
        )
        # As float: the weights of a layer have one type.
        self.labels = self.add_weight(
            "labels", (self._length,), initializer=minus_one, trainable=False, aggregation=first
        )
        super().build(input_shape)

    def call(self, outputs: tf.Tensor, labels: tf.Tensor, training: bool | None = None) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns outputs and classes remembered so far; in training, forgets the oldest for the given ones."""
        remembered = tf.convert_to_tensor(self.outputs), tf.convert_to_tensor(self.labels)
        if training:
            given = tf.cast(outputs, tf.float32), tf.cast(labels, tf.float32)
            for memory, new, old in zip((self.outputs, self.labels), given, remembered, strict=True):
                memory.assign(tf.concat([new, old], axis=0)[: self._length])
        return remembered
