"""What the distiller and the training with labels have in common: a student that learns by objectives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import tensorflow as tf

from envise_tf.distillation.adam import adam_for
from envise_tf.distillation.objectives import Evidence, Objective, Shapes
from envise_tf.distillation.split_network import SplitNetwork
from envise_tf.distillation.synchronised import summed_over_replicas
from envise_tf.errors import UserError


class ObjectiveModel(tf.keras.Model):
    """A Keras model that trains a student on the weighted sum of objectives.

    Responsible for the student, the total loss and what is logged. Who says what the images show is left to the
    derived class.

    Attributes:
        share_name: what the share of images that the student classifies rightly is called among the figures.
        student: trained in place.
        companions: the layers that some objectives train or remember with, by the objective's name. They are saved with
            the model and not with the student.

    Args:
        student: classifier with len(classes) logits.
        classes: the class of each of the student's logits, as whoever says what the images show counts them.
        objectives: by name; the total loss is the sum of weight times loss.
        teacher: of the teacher; that of nothing where there is none.

    Raises:
        UserError: the student cannot be split into trunk and head, see `networks.split`; or it has another number of
            logits; or an objective cannot be used with these networks.
    """

    share_name: ClassVar[str]

    def __init__(
        self,
        student: tf.keras.Model,
        classes: Sequence[int],
        objectives: Mapping[str, Objective],
        teacher: Shapes,
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
        self._student = SplitNetwork.of(student, objectives)
        self._classes = tf.constant(classes, tf.int64)
        made = {name: each.companion(self._student.shapes, teacher) for name, each in self._objectives.items()}
        self.companions = {name: companion for name, companion in made.items() if companion is not None}
        figures = [name for each in self._objectives.values() for name in each.figures]
        # Created here and not when first needed: in a step, each replica would create its own.
        names = ("loss", *self._objectives, *figures, self.share_name)
        self._means = {name: tf.keras.metrics.Mean(name) for name in names}
        self.built = True  # as the student is

    def compile(self, optimizer: Any = None, *, jit_compile: bool = False, **options: Any) -> None:
        """Prepares the model for `fit` and `evaluate`.

        Args:
            optimizer: any of Keras; None is `adam_for` the model.
            jit_compile: whether XLA compiles the step; on processors the step takes about twice as long then.
            options: such as `run_eagerly` and `steps_per_execution`. The objectives are the loss: none is to be given.
        """
        super().compile(optimizer or adam_for(self), jit_compile=jit_compile, **options)

    def call(self, images: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        return self.student(images, training=training)

    @property
    def metrics(self) -> list[tf.keras.metrics.Metric]:
        return list(self._means.values())

    def _learned(self, found: Callable[[], Evidence]) -> dict[str, tf.Tensor]:
        """Takes a step down the gradient of the total loss of a batch; returns what is logged.

        Args:
            found: runs the student in training and returns what is known of the batch.
        """
        with tf.GradientTape() as tape:
            evidence = found()
            losses = self._terms(evidence)
        variables = self.trainable_variables
        self.optimizer.apply_gradients(zip(tape.gradient(losses["loss"], variables), variables, strict=True))
        share, known = _share_of(evidence)
        return self._logged(_of_the_whole_batch(losses)) | self._logged({self.share_name: share}, known)

    def _examined(self, evidence: Evidence) -> dict[str, tf.Tensor]:
        """Returns what is logged of a batch that is not learned from."""
        losses = _of_the_whole_batch(self._terms(evidence))
        share, known = _share_of(evidence)
        # Weighted by the images that each batch's mean is over, the figures are means over all known images.
        return self._logged(losses, summed_over_replicas(known)) | self._logged({self.share_name: share}, known)

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


def _share_of(evidence: Evidence) -> tuple[tf.Tensor, tf.Tensor]:
    return agreement_of(evidence.student.logits, evidence.pseudo_label, evidence.is_known)


def _of_the_whole_batch(parts: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Returns what each replica has to log, so that the mean over replicas is the sum of their parts."""
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    return parts if replicas == 1 else {name: part * replicas for name, part in parts.items()}
