"""The fit of a student, whoever says what the images show: its network, rates, windows and curves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from envise_tf import progress
from envise_tf.distillation import training
from envise_tf.distillation.adam import adam_for
from envise_tf.distillation.objective_model import ObjectiveModel
from envise_tf.distillation.replicas import Replicas
from envise_tf.errors import UserError
from envise_tf.images.windows import Augmentation
from envise_tf.networks.loading import load_generic
from envise_tf.networks.students import residual_student, with_classes
from envise_tf.run import Run
from envise_tf.settings import TrainSettings


def begun_student(
    settings: TrainSettings, size: int, classes: Sequence[int], class_names: Sequence[str]
) -> tf.keras.Model:
    """Returns the student as it begins: untrained, or with the weights of the one that the settings start from.

    Args:
        settings: of the training; their widths are numbers.
        size: side of the images in pixels.
        classes: the teacher's class, or the label, of each of the student's logits.
        class_names: of all the teacher's classes, or labels.

    Raises:
        UserError: as in `load_generic` and `with_classes`.
    """
    student = _new_student(settings, size, len(classes))
    generic = load_generic(settings.student_init, settings.teacher, class_names, settings.twin)
    if generic is not None:
        with_classes(student, generic.network, classes, generic.classes)
    return student


def final_student(settings: TrainSettings, student: tf.keras.Model) -> tf.keras.Model:
    """Returns a trained student in float32, whatever the precision that it was trained in."""
    size, classes = student.input_shape[1], student.output_shape[-1]
    return training.in_float32(student, lambda: _new_student(settings, size, classes), settings.precision)


class Fit:
    """The training of a student, in one stage or in two, of which the first gives its binary convolutions real kernels.

    The first stage is ready as soon as this is made, so that what does not fit is said before anything is written.

    Args:
        student: trained in place.
        modelled: takes a student in the replicas, and returns what trains it; called in their scope.
        settings: of the training.
        steps_a_window: steps in each window.
        replicas: who share each batch.

    Raises:
        UserError: the windows do not make two equal stages, or the twin is asked for, which has no binary convolution;
            or one of the errors of `modelled`.
    """

    def __init__(
        self,
        student: tf.keras.Model,
        modelled: Callable[[tf.keras.Model], ObjectiveModel],
        settings: TrainSettings,
        steps_a_window: int,
        replicas: Replicas,
    ) -> None:
        if settings.windows % settings.stages:
            raise UserError(
                f"--windows {settings.windows} with --stages {settings.stages}: expected an even number, half of them "
                "for each stage"
            )
        if settings.stages > 1 and settings.twin:
            raise UserError("--stages 2 with --twin, whose kernels are real ones to the end: leave out one of the two")
        self._student, self._modelled, self._settings = student, modelled, settings
        self._steps_a_window, self._replicas = steps_a_window, replicas
        self._stage = 0
        self._begin_stage()

    def fitted(
        self,
        batches: Callable[[Augmentation, int], tf.data.Dataset],
        run: Run,
        held_back: tf.data.Dataset,
        callbacks: Sequence[tf.keras.callbacks.Callback] = (),
        until: int | None = None,
    ) -> list[dict[str, Any]]:
        """Trains window by window from the run's latest checkpoint on; returns the run's log.

        The second stage goes on from the checkpoint with which the first ends: its weights, the moments of its
        optimiser, and what objectives remember.

        Args:
            batches: takes an augmentation and the number of a window, and returns the endless stream that begins with
                it.
            run: where checkpoints, log and what TensorBoard shows are kept.
            held_back: what is measured after each window.
            callbacks: told of each window.
            until: the window after which to pause; None is the end.

        Raises:
            UserError: as in `training.fitted`.
        """
        settings = self._settings
        augmentation = Augmentation(settings.flip, settings.shift, settings.cutout, settings.mixup, settings.mixed)
        boards = []
        if settings.tensorboard:
            boards.append(tf.keras.callbacks.TensorBoard(run.folder / "tensorboard", write_graph=False))
        last = until or settings.windows
        with progress.ProgressBar(settings.windows, self._steps_a_window) as bar:
            while True:
                end = settings.windows * (self._stage + 1) // settings.stages
                entries = training.fitted(
                    self._model,
                    lambda first: batches(augmentation, first),
                    run,
                    min(end, last),
                    self._steps_a_window,
                    held_back,
                    [*boards, *callbacks, bar],
                    self._replicas,
                )
                self._replicas.copied_back(self._model.student, self._learning)
                self._student.set_weights(self._learning.get_weights())
                if last <= end:
                    return entries
                self._stage += 1
                self._begin_stage()

    def _begin_stage(self) -> None:
        """Makes and compiles what trains the student in a stage, with the rates that the settings ask for."""
        settings, is_last = self._settings, self._stage == self._settings.stages - 1
        self._learning = self._student if is_last else _with_real_kernels(settings, self._student)
        learning = self._replicas.copied(self._learning)
        with self._replicas.scope():
            self._model = self._modelled(learning)
            rate, binary_rate = (
                training.cosine_rate(peak, settings.windows * self._steps_a_window, settings.warmup, settings.stages)
                for peak in (settings.learning_rate, settings.learning_rate * settings.binary_rate)
            )
            self._model.compile(adam_for(self._model, rate, binary_rate))


def student_figures(
    settings: TrainSettings, student: tf.keras.Model, entries: Sequence[dict[str, Any]], steps_a_window: int
) -> dict[str, Any]:
    """Returns what result.json says of any student: how long it took, and what it is built from."""
    seconds, steps = sum(entry["seconds"] for entry in entries), len(entries) * steps_a_window
    size, classes = student.input_shape[1], student.output_shape[-1]
    return {
        "images_per_second": steps * settings.batch_size / seconds,
        "steps": steps,
        "seconds": seconds,
        "architecture": {"network": "residual_student", "size": size, "classes": classes, **settings.shape},
        "parameters": student.count_params(),
    }


def _new_student(settings: TrainSettings, size: int, classes: int, real_kernels: bool = False) -> tf.keras.Model:
    assert settings.widths != "auto"  # picked when the job was found
    return residual_student(size, classes, **settings.shape, real_kernels=real_kernels)


def _with_real_kernels(settings: TrainSettings, student: tf.keras.Model) -> tf.keras.Model:
    size, classes = student.input_shape[1], student.output_shape[-1]
    other = _new_student(settings, size, classes, real_kernels=True)
    other.set_weights(student.get_weights())
    return other
