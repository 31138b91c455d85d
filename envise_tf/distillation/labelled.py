"""Training by labels, without a teacher: for comparisons, and for objectives by which a student distils itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from envise_tf.distillation.distiller import student_class_of
from envise_tf.distillation.objective_model import ObjectiveModel
from envise_tf.distillation.objectives import Evidence, Objective, Shapes
from envise_tf.errors import UserError


class LabelledStudent(ObjectiveModel):
    """A Keras model that trains a student by `fit` on batches of images and their labels.

    Responsible for what `Distiller` is, with the label in the place of the class that a teacher predicts. `fit` and
    `evaluate` take pairs of uint8 images (batch, height, width, 3), 0..255, and int labels (batch,).

    Args:
        student: classifier with len(classes) logits; trained in place.
        classes: the label of each of the student's logits; images of others teach nothing.
        labels: how many labels there are.
        objectives: by name; the total loss is the sum of weight times loss.

    Raises:
        UserError: an objective needs a teacher, or one of the errors of `ObjectiveModel`.
    """

    share_name = "accuracy"

    def __init__(
        self,
        student: tf.keras.Model,
        classes: Sequence[int],
        labels: int,
        objectives: Mapping[str, Objective],
        **kwargs: Any,
    ) -> None:
        asking = sorted(name for name, each in objectives.items() if each.needs_teacher)
        if asking:
            raise UserError(
                f"{', '.join(asking)} given without a teacher: expected objectives that ask for labels alone, such as "
                "hard_label and oskd; give those, or a teacher"
            )
        super().__init__(student, classes, objectives, Shapes(0), **kwargs)
        self._student_class = tf.constant(student_class_of(classes, labels))

    def train_step(self, data: tuple[tf.Tensor, tf.Tensor]) -> dict[str, tf.Tensor]:
        return self._learned(lambda: self._evidence(data, is_training=True))

    def test_step(self, data: tuple[tf.Tensor, tf.Tensor]) -> dict[str, tf.Tensor]:
        return self._examined(self._evidence(data, is_training=False))

    def _evidence(self, data: tuple[tf.Tensor, tf.Tensor], is_training: bool) -> Evidence:
        images, labels, _ = tf.keras.utils.unpack_x_y_sample_weight(data)
        label = tf.gather(self._student_class, tf.cast(labels, tf.int64))
        student = self._student(images, training=is_training)
        nobody: Any = None  # no objective here asks for it
        return Evidence(
            student, nobody, self._classes, nobody, tf.maximum(label, 0), label >= 0, is_training=is_training
        )
