"""The distiller: a student that learns from a frozen teacher, one unlabelled batch at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import larq
import numpy as np
import tensorflow as tf

from envise_tf.distillation.objectives import Evidence, Objective, Shapes
from envise_tf.distillation.synchronised import summed_over_replicas
from envise_tf.errors import UserError
from envise_tf.networks.grad_cam import HeadPass
from envise_tf.networks.split import Split, split
from envise_tf.networks.students import is_binary


@dataclass(frozen=True)
class _Network:
    """A network and its halves. A plain dataclass, in which Keras finds no weights to train or to checkpoint."""

    model: tf.keras.Model
    halves: Split

    def __call__(self, images: tf.Tensor, training: bool) -> HeadPass:
        *stages, features = tf.nest.flatten(self.halves.trunk(images, training=training))
        return HeadPass(self.halves.head, features, training, stages)

    @property
    def shapes(self) -> Shapes:
        *stages, _ = self.halves.trunk.outputs
        *embedding, logits = self.halves.head.outputs
        width = embedding[0].shape[-1] if embedding else 0
        return Shapes(logits.shape[-1], tuple(stage.shape for stage in stages), width)


class Distiller(tf.keras.Model):
    """A Keras model that trains a student by `fit` on batches of images alone.

        distiller = Distiller(student, teacher, classes, {"soft_label": SoftLabel()})
        distiller.compile()
        distiller.fit(images, epochs=10, callbacks=[tf.keras.callbacks.EarlyStopping("loss")])
        distiller.evaluate(more_images, return_dict=True)["agreement"]

    Responsible for running each network once per batch and handing its answers to the objectives. Must not see a
    label, change the teacher, or know what an objective computes.

    `fit` and `predict` take uint8 images (batch, height, width, 3), 0..255, as arrays or as a dataset. So does
    `evaluate`, which then asks the teacher and reports every loss and the agreement; given pairs of images and the
    teacher's outputs, float32 (batch, teacher's classes), as `distillation.answers.answered` returns them, it reports
    the agreement alone in half the time.

    A file written by `save` or `save_weights` holds student and teacher; a loaded distiller has to be compiled anew.
    TensorFlow's checkpoints, and so `BackupAndRestore`, hold the student and the state of its training instead.

    Attributes:
        companions: the layers that some objectives train or remember with, by the objective's name. They are saved with
            the distiller and not with the student.

    Args:
        student: classifier with len(classes) logits; trained in place.
        teacher: classifier with logits or probabilities; frozen, in inference mode.
        classes: the teacher's class of each of the student's logits.
        objectives: by name; the total loss is the sum of weight times loss.

    Raises:
        UserError: one of the networks cannot be split into trunk and head, see `networks.split`; or the student has
            another number of logits; or an objective cannot be used with these networks.
    """

    def __init__(
        self,
        student: tf.keras.Model,
        teacher: tf.keras.Model,
        classes: Sequence[int],
        objectives: Mapping[str, Objective],
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if student.output_shape[-1] != len(classes):
            raise UserError(
                f"the student has {student.output_shape[-1]} logits, but {len(classes)} classes are given: "
                "expected the teacher's class of each logit"
            )
        self.student = student
        self._objectives = dict(objectives)
        teacher.trainable = False
        needs = {need for objective in self._objectives.values() for need in objective.needs}
        asked = {"stages": "stages" in needs, "embedding": "embedding" in needs}
        self._teacher = _Network(teacher, split(teacher, **asked))
        self._student = _Network(student, split(student, **asked))
        self._classes = tf.constant(classes, tf.int64)
        self._student_class = tf.constant(student_class_of(classes, teacher.output_shape[-1]))
        shapes = self._student.shapes, self._teacher.shapes
        made = {name: objective.companion(*shapes) for name, objective in self._objectives.items()}
        self.companions = {name: companion for name, companion in made.items() if companion is not None}
        figures = [name for each in self._objectives.values() for name in each.figures]
        # Created here and not when first needed: in a step, each replica would create its own.
        self._means = {name: tf.keras.metrics.Mean(name) for name in ("loss", *self._objectives, *figures, "agreement")}
        self.built = True  # as both networks are

    def compile(self, optimizer: Any = None, *, jit_compile: bool = False, **options: Any) -> None:
        """Prepares the distiller for `fit` and `evaluate`.

        Args:
            optimizer: any of Keras; None is `adam_for` the distiller.
            jit_compile: whether XLA compiles the step; on processors the step takes about twice as long then.
            options: such as `run_eagerly` and `steps_per_execution`. The objectives are the loss: none is to be given.
        """
        super().compile(optimizer or adam_for(self), jit_compile=jit_compile, **options)

    def call(self, images: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        return self.student(images, training=training)

    @property
    def metrics(self) -> list[tf.keras.metrics.Metric]:
        return list(self._means.values())

    def train_step(self, data: tf.Tensor) -> dict[str, tf.Tensor]:
        images, labels, _ = tf.keras.utils.unpack_x_y_sample_weight(data)
        if labels is not None:
            raise UserError("pairs were given to fit: expected images alone, for the teacher's answers are the targets")
        teacher = self._teacher(images, training=False)
        with tf.GradientTape() as tape:
            student = self._student(images, training=True)
            evidence = self._evidence(student, teacher, is_training=True)
            losses = self._terms(evidence)
        variables = self.trainable_variables
        self.optimizer.apply_gradients(zip(tape.gradient(losses["loss"], variables), variables, strict=True))
        agreement = agreement_of(student.logits, evidence.pseudo_label, evidence.is_known)
        return self._logged(_of_the_whole_batch(losses)) | self._logged({"agreement": agreement[0]}, agreement[1])

    def test_step(self, data: tf.Tensor | tuple[tf.Tensor, tf.Tensor]) -> dict[str, tf.Tensor]:
        images, teacher_logits, _ = tf.keras.utils.unpack_x_y_sample_weight(data)
        if teacher_logits is not None:
            pseudo_label, is_known = self._pseudo_label(teacher_logits)
            agreement, known = agreement_of(self.student(images, training=False), pseudo_label, is_known)
            return self._logged({"agreement": agreement}, known)
        student = self._student(images, training=False)
        evidence = self._evidence(student, self._teacher(images, training=False))
        losses = _of_the_whole_batch(self._terms(evidence))
        agreement, known = agreement_of(student.logits, evidence.pseudo_label, evidence.is_known)
        # Weighted by the images that each batch's mean is over, the figures are means over all known images.
        return self._logged(losses, summed_over_replicas(known)) | self._logged({"agreement": agreement}, known)

    def get_config(self) -> dict[str, Any]:
        serialised = tf.keras.utils.serialize_keras_object
        return {
            "name": self.name,
            "student": serialised(self.student),
            "teacher": serialised(self._teacher.model),
            "classes": self._classes.numpy().tolist(),
            "objectives": {name: serialised(objective) for name, objective in self._objectives.items()},
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Distiller:
        def made(part: Any) -> Any:
            return tf.keras.utils.deserialize_keras_object(part, custom_objects=custom_objects)

        objectives = {name: made(objective) for name, objective in config["objectives"].items()}
        networks = {name: made(config[name]) for name in ("student", "teacher")}
        return cls(**{**config, **networks, "objectives": objectives})

    def get_compile_config(self) -> None:
        """Returns None: Keras cannot restore an optimiser with a rate of its own for binary kernels."""

    def compile_from_config(self, config: Mapping[str, Any]) -> None:
        """Does nothing, see `get_compile_config`."""

    def save_own_variables(self, store: Any) -> None:
        """Writes the teacher's weights, which Keras does not find, to a file of the whole distiller."""
        for number, weight in enumerate(self._teacher.model.get_weights()):
            store[f"teacher_{number}"] = weight

    def load_own_variables(self, store: Any) -> None:
        """Reads the teacher's weights from such a file."""
        self._teacher.model.set_weights([store[f"teacher_{number}"] for number in range(len(store.keys()))])

    def _evidence(self, student: HeadPass, teacher: HeadPass, is_training: bool = False) -> Evidence:
        pseudo_label, is_known = self._pseudo_label(teacher.logits)
        teacher_logits = tf.gather(teacher.logits, self._classes, axis=1)
        return Evidence(
            student, teacher, self._classes, teacher_logits, pseudo_label, is_known, is_training=is_training
        )

    def _pseudo_label(self, teacher_logits: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        label = tf.gather(self._student_class, tf.argmax(teacher_logits, axis=-1))
        return tf.maximum(label, 0), label >= 0

    def _terms(self, evidence: Evidence) -> dict[str, tf.Tensor]:
        """Returns the total under "loss", the loss of each objective by its name, and the objectives' figures."""
        losses, figures = {}, {}
        for name, objective in self._objectives.items():
            losses[name], more = objective(replace(evidence, companion=self.companions.get(name)))
            figures.update(more)
        total = sum(self._objectives[name].weight * loss for name, loss in losses.items())
        return {"loss": total, **losses, **figures}

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


def adam_for(network: tf.keras.Model, rate: Any = 1e-3, binary_rate: Any = None) -> tf.keras.optimizers.Optimizer:
    """Returns one Adam for the binary kernels and another for all other trained variables [Kingma and Ba 2015].

    A binary kernel counts by its sign alone, so its latent weights want a rate of their own; Larq's constraint clips
    them to -1..1 after each step, beyond which the sign's gradient is zero.

    Args:
        network: a distiller, or its student where no objective has a companion to train; may have no binary kernel.
        rate: learning rate or schedule.
        binary_rate: of the binary kernels; None takes `rate`.
    """
    kernels = [variable for variable in network.trainable_variables if is_binary(variable)]
    others = [variable for variable in network.trainable_variables if not is_binary(variable)]
    if not kernels:
        return _adam(rate, others)
    binary = _adam(rate if binary_rate is None else binary_rate, kernels)
    both = larq.optimizers.CaseOptimizer((is_binary, binary), default_optimizer=_adam(rate, others))
    _ = both.iterations  # as in `_adam`
    return both


def _adam(rate: Any, variables: Sequence[tf.Variable]) -> tf.keras.optimizers.Optimizer:
    """Returns an Adam that has its own variables already: made in the first step, they would have it traced twice."""
    adam = tf.keras.optimizers.legacy.Adam(rate)
    adam._create_all_weights(variables)
    return adam
