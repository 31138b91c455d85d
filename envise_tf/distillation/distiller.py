"""The distiller: a student that learns from a frozen teacher, one unlabelled batch at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from envise_tf.distillation.objective_model import ObjectiveModel, agreement_of
from envise_tf.distillation.objectives import Evidence, Objective
from envise_tf.distillation.split_network import SplitNetwork
from envise_tf.errors import UserError
from envise_tf.networks.grad_cam import HeadPass


class Distiller(ObjectiveModel):
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

    Args:
        student: classifier with len(classes) logits; trained in place.
        teacher: classifier with logits or probabilities; frozen, in inference mode.
        classes: the teacher's class of each of the student's logits.
        objectives: by name; the total loss is the sum of weight times loss.

    Raises:
        UserError: one of the networks cannot be split into trunk and head, see `networks.split`; or the student has
            another number of logits; or an objective cannot be used with these networks.
    """

    share_name = "agreement"

    def __init__(
        self,
        student: tf.keras.Model,
        teacher: tf.keras.Model,
        classes: Sequence[int],
        objectives: Mapping[str, Objective],
        **kwargs: Any,
    ) -> None:
        teacher.trainable = False
        asked = SplitNetwork.of(teacher, objectives)
        super().__init__(student, classes, objectives, asked.shapes, **kwargs)
        self._teacher = asked
        self._student_class = tf.constant(student_class_of(classes, teacher.output_shape[-1]))

    def train_step(self, data: tf.Tensor) -> dict[str, tf.Tensor]:
        images, labels, _ = tf.keras.utils.unpack_x_y_sample_weight(data)
        if labels is not None:
            raise UserError("pairs were given to fit: expected images alone, for the teacher's answers are the targets")
        teacher = self._teacher(images, training=False)
        return self._learned(lambda: self._evidence(self._student(images, training=True), teacher, is_training=True))

    def test_step(self, data: tf.Tensor | tuple[tf.Tensor, tf.Tensor]) -> dict[str, tf.Tensor]:
        images, teacher_logits, _ = tf.keras.utils.unpack_x_y_sample_weight(data)
        if teacher_logits is not None:
            pseudo_label, is_known = self._pseudo_label(teacher_logits)
            agreement, known = agreement_of(self.student(images, training=False), pseudo_label, is_known)
            return self._logged({"agreement": agreement}, known)
        student = self._student(images, training=False)
        return self._examined(self._evidence(student, self._teacher(images, training=False)))

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


def student_class_of(classes: Sequence[int], teacher_classes: int) -> np.ndarray:
    """Returns the student's class of each of the teacher's, int64 (teacher_classes,), -1 where it has none."""
    table = np.full(teacher_classes, -1, np.int64)
    table[list(classes)] = np.arange(len(classes))
    return table
