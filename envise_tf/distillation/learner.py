"""A student that learns from the teacher step by step, as images come, instead of in one `fit`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from envise_tf.distillation.adam import adam_for
from envise_tf.distillation.distiller import Distiller, student_class_of
from envise_tf.distillation.objectives import Objective
from envise_tf.distillation.training import DivergenceError
from envise_tf.images.augmentation import augmented
from envise_tf.images.windows import Augmentation

_BATCH = 256
"""Images that agreement is measured on at once: always as many, as another number would be traced again."""


def agreement_on(
    student: tf.keras.Model, classes: Sequence[int], images: np.ndarray, teacher_class: np.ndarray
) -> float:
    """Returns a student's agreement with the teacher on the images whose class it has, in 0..1; 0 where there are none.

    Args:
        student: uint8 images -> logits.
        classes: the teacher's class of each of its logits.
        images: uint8 (n, height, width, 3).
        teacher_class: int64 (n,), what the teacher predicts.
    """
    most = max(*classes, int(teacher_class.max(initial=0)))
    own = student_class_of(classes, most + 1)[teacher_class]
    is_known = own >= 0
    if not is_known.any():
        return 0.0
    logits = student.predict(images[is_known], batch_size=_BATCH, verbose=0)
    return float((logits.argmax(axis=-1) == own[is_known]).mean())


class Learner:
    """Trains a student a batch at a time, at a rate that can be changed on the way.

    Responsible for the training step and all that a resumed one needs. Not for which images it is given, nor for when
    it has learned enough.

    Args:
        student: trained in place.
        teacher: frozen.
        classes: the teacher's class of each of the student's logits.
        objectives: by name.
        rate: learning rate of all variables.
        augmentation: of every training image.
        batch_size: images a step.
        seed: of the augmentation.

    Attributes:
        student: as given.
        steps: taken so far.
    """

    def __init__(
        self,
        student: tf.keras.Model,
        teacher: tf.keras.Model,
        classes: Sequence[int],
        objectives: Mapping[str, Objective],
        rate: float,
        augmentation: Augmentation,
        batch_size: int,
        seed: int,
    ) -> None:
        self.student = student
        self._rate = tf.Variable(rate, trainable=False, dtype=tf.float32)
        self._seed, self.steps = seed, 0
        distiller = Distiller(student, teacher, classes, objectives)
        distiller.compile(adam_for(distiller, lambda: self._rate))
        options = vars(augmentation)

        def step(images: tf.Tensor, seed: tf.Tensor) -> dict[str, tf.Tensor]:
            return distiller.train_step(augmented(images, seed, **options))

        specs = [tf.TensorSpec((batch_size, *student.input_shape[1:]), tf.uint8), tf.TensorSpec((2,), tf.int64)]
        self._step = tf.function(step, specs, autograph=False)
        self._distiller = distiller

    def learn(self, images: np.ndarray) -> None:
        """Takes one step on uint8 images (batch_size, height, width, 3).

        Raises:
            DivergenceError: the loss is no longer finite.
        """
        means = self._step(tf.constant(images), tf.constant([self._seed, self.steps], tf.int64))
        self.steps += 1
        loss = float(means["loss"])
        if not math.isfinite(loss):
            raise DivergenceError(
                f"the loss became {loss} in training step {self.steps} of a student: start again with a lower "
                "--learning_rate or a lower weight of the objectives"
            )

    def settle(self, images: np.ndarray) -> None:
        """Sets means and variances of all batch normalisations to those of these images, uint8 (n, height, width, 3).

        After Wu and Johnson 2021, "Rethinking Batch in BatchNorm", section 3. Signs of weights flip in a step, and the
        moving averages lag behind: a student of digits that agreed on 98 % in training agreed on 76 to 98 % of
        held-back images.
        """
        normalisations = [
            layer for layer in self.student.layers if isinstance(layer, tf.keras.layers.BatchNormalization)
        ]
        momenta = [layer.momentum for layer in normalisations]
        for layer in normalisations:
            layer.momentum = 0.0
        self.student(images, training=True)
        for layer, momentum in zip(normalisations, momenta, strict=True):
            layer.momentum = momentum

    @property
    def rate(self) -> float:
        """The learning rate of the next step."""
        return float(self._rate)

    @rate.setter
    def rate(self, rate: float) -> None:
        self._rate.assign(rate)

    def means(self) -> dict[str, float]:
        """Returns the mean of every loss and figure since the last call."""
        values = {metric.name: float(metric.result()) for metric in self._distiller.metrics}
        self._distiller.reset_metrics()
        return values

    def snapshot(self) -> dict[str, Any]:
        """Returns all that `restore` needs as plain values and arrays."""
        return {
            "student": self.student.get_weights(),
            "companions": {name: layer.get_weights() for name, layer in self._distiller.companions.items()},
            "optimizer": [variable.numpy() for variable in self._distiller.optimizer.weights],
            "metrics": [metric.get_weights() for metric in self._distiller.metrics],
            "rate": self.rate,
            "steps": self.steps,
        }

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Makes this the learner, of the same arguments, that `snapshot` was taken of."""
        self.student.set_weights(snapshot["student"])
        for name, layer in self._distiller.companions.items():
            layer.set_weights(snapshot["companions"][name])
        for variable, value in zip(self._distiller.optimizer.weights, snapshot["optimizer"], strict=True):
            variable.assign(value)
        for metric, weights in zip(self._distiller.metrics, snapshot["metrics"], strict=True):
            metric.set_weights(weights)
        self._rate.assign(snapshot["rate"])
        self.steps = snapshot["steps"]
