"""The distiller: a student that learns from a frozen teacher, one unlabelled batch at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import larq
import numpy as np
import tensorflow as tf

from envise_tf.distillation.objectives import Evidence, Objective
from envise_tf.networks.grad_cam import HeadPass
from envise_tf.networks.split import split
from envise_tf.networks.students import is_binary


class Distiller(tf.keras.Model):
    """Trains a student by `fit` on batches of images alone.

    Responsible for running each network once a batch and giving what they say to the objectives. Must not see a
    label, change the teacher, or know what an objective computes.

    Args:
        student: classifier with len(classes) logits; trained in place.
        teacher: classifier with logits or probabilities; frozen, in inference mode.
        classes: the teacher's class of each of the student's logits.
        objectives: by name; the total loss is the sum of weight times loss.

    `train_step` takes uint8 images (batch, height, width, 3). `test_step` takes (images, teacher_logits), the latter
    float32 (batch, teacher's classes): on held-back images the teacher's answer is computed once, not every window.
    """

    def __init__(
        self,
        student: tf.keras.Model,
        teacher: tf.keras.Model,
        classes: Sequence[int],
        objectives: Mapping[str, Objective],
    ) -> None:
        super().__init__()
        self.student = student
        self._objectives = dict(objectives)
        teacher.trainable = False
        # Plain dataclasses: Keras would otherwise find the teacher's weights and write them to every checkpoint.
        self._teacher_split = split(teacher)
        self._student_split = split(student)
        self._classes = tf.constant(classes, tf.int64)
        self._student_class = tf.constant(student_class_of(classes, self._teacher_split.head.output_shape[-1]))
        figures = [name for each in self._objectives.values() for name in each.figures]
        # Made here and not when first met: in a step, each replica would make its own.
        self._means = {name: tf.keras.metrics.Mean(name) for name in ("loss", *self._objectives, *figures, "agreement")}

    def call(self, images: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        return self.student(images, training=training)

    @property
    def metrics(self) -> list[tf.keras.metrics.Metric]:
        return list(self._means.values())

    def train_step(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        teacher_features = self._teacher_split.trunk(images, training=False)
        teacher = HeadPass(self._teacher_split.head, teacher_features, training=False)
        with tf.GradientTape() as tape:
            features = self._student_split.trunk(images, training=True)
            student = HeadPass(self._student_split.head, features, training=True)
            evidence = self._evidence(student, teacher)
            losses, figures = self._terms(evidence)
            total = sum(self._objectives[name].weight * loss for name, loss in losses.items())
        variables = self.student.trainable_variables
        self.optimizer.apply_gradients(zip(tape.gradient(total, variables), variables, strict=True))
        agreement = agreement_of(student.logits, evidence.pseudo_label, evidence.is_known)
        means = _of_the_whole_batch({"loss": total, **losses, **figures})
        return self._logged(means) | self._logged({"agreement": agreement[0]}, agreement[1])

    def test_step(self, data: tuple[tf.Tensor, tf.Tensor]) -> dict[str, tf.Tensor]:
        images, teacher_logits = data
        pseudo_label, is_known = self._pseudo_label(teacher_logits)
        logits = self.student(images, training=False)
        agreement, known = agreement_of(logits, pseudo_label, is_known)
        return self._logged({"agreement": agreement}, known)

    def _evidence(self, student: HeadPass, teacher: HeadPass) -> Evidence:
        pseudo_label, is_known = self._pseudo_label(teacher.logits)
        teacher_logits = tf.gather(teacher.logits, self._classes, axis=1)
        return Evidence(student, teacher, self._classes, teacher_logits, pseudo_label, is_known)

    def _pseudo_label(self, teacher_logits: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        label = tf.gather(self._student_class, tf.argmax(teacher_logits, axis=-1))
        return tf.maximum(label, 0), label >= 0

    def _terms(self, evidence: Evidence) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
        losses, figures = {}, {}
        for name, objective in self._objectives.items():
            losses[name], more = objective(evidence)
            figures.update(more)
        return losses, figures

    def _logged(self, values: Mapping[str, tf.Tensor], count: tf.Tensor | None = None) -> dict[str, tf.Tensor]:
        for name, value in values.items():
            self._means[name].update_state(value, sample_weight=count)
        return {name: self._means[name].result() for name in values}


def _of_the_whole_batch(parts: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Returns what each replica has to log, so that the mean over replicas is the sum of their parts."""
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    return parts if replicas == 1 else {name: part * replicas for name, part in parts.items()}


def student_class_of(classes: Sequence[int], teacher_classes: int) -> np.ndarray:
    """Returns the student's class of each of the teacher's, int64 (teacher_classes,), -1 where it has none."""
    table = np.full(teacher_classes, -1, np.int64)
    table[list(classes)] = np.arange(len(classes))
    return table


def agreement_of(logits: tf.Tensor, pseudo_label: tf.Tensor, is_known: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the share of known images whose pseudo-label the student predicts, and the number of known images.

    Args:
        logits: float32 (batch, classes), the student's.
        pseudo_label: int64 (batch,).
        is_known: bool (batch,), whether the student has the class that the teacher predicts.
    """
    agrees = tf.cast(tf.argmax(logits, axis=-1) == pseudo_label, tf.float32)
    known = tf.cast(is_known, tf.float32)
    count = tf.reduce_sum(known)
    return tf.math.divide_no_nan(tf.reduce_sum(agrees * known), count), count


def compiled(distiller: Distiller, binary_rate: Any, float_rate: Any) -> Distiller:
    """Returns the distiller with one Adam for binary kernels and another for all other variables.

    A binary kernel counts by its sign alone, so its latent weights want a rate of their own; Larq's constraint clips
    them to -1..1 after each step, beyond which the sign's gradient is zero.

    Args:
        distiller: compiled in place.
        binary_rate: learning rate or schedule of the binary kernels.
        float_rate: learning rate or schedule of the rest.
    """
    adam = tf.keras.optimizers.legacy.Adam
    optimizer = adam(float_rate)
    if any(is_binary(variable) for variable in distiller.student.trainable_variables):
        optimizer = larq.optimizers.CaseOptimizer((is_binary, adam(binary_rate)), default_optimizer=optimizer)
    distiller.compile(optimizer, jit_compile=False)
    return distiller
