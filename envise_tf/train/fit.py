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
from envise_tf.images.windows import Augmentation
from envise_tf.networks.loading import load_generic
from envise_tf.networks.students import residual_student, with_classes
from envise_tf.run import Run
from envise_tf.settings import TrainSettings


def begun_student(settings: TrainSettings, size: int, classes: Sequence[int]) -> tf.keras.Model:
    """Returns the student as it begins: untrained, or with the weights of the one that the settings start from.

    Args:
        settings: of the training; their widths are numbers.
        size: side of the images in pixels.
        classes: the teacher's class, or the label, of each of the student's logits.

    Raises:
        UserError: as in `load_generic` and `with_classes`.
    """
    student = _new_student(settings, size, len(classes))
    other = load_generic(settings.student_init, settings.teacher, settings.twin)
    if other is not None:
        with_classes(student, other, classes)
    return student


def final_student(settings: TrainSettings, student: tf.keras.Model) -> tf.keras.Model:
    """Returns a trained student in float32, whatever the precision that it was trained in."""
    size, classes = student.input_shape[1], student.output_shape[-1]
    return training.in_float32(student, lambda: _new_student(settings, size, classes), settings.precision)


def compile_for(model: ObjectiveModel, settings: TrainSettings, steps: int) -> None:
    """Compiles the model with the rates that the settings ask for over so many steps; in the scope of its replicas."""
    rate, binary_rate = (
        training.cosine_rate(peak, steps, settings.warmup)
        for peak in (settings.learning_rate, settings.learning_rate * settings.binary_rate)
    )
    model.compile(adam_for(model, rate, binary_rate))


def fitted(
    model: ObjectiveModel,
    settings: TrainSettings,
    batches: Callable[[Augmentation, int], tf.data.Dataset],
    steps_a_window: int,
    run: Run,
    replicas: Replicas,
    held_back: tf.data.Dataset,
    callbacks: Sequence[tf.keras.callbacks.Callback] = (),
    until: int | None = None,
) -> list[dict[str, Any]]:
    """Fits the model window by window from the run's latest checkpoint on; returns the run's log.

    Args:
        model: compiled.
        settings: of the training.
        batches: takes an augmentation and the number of a window, and returns the endless stream that begins with it.
        steps_a_window: steps in each.
        run: where checkpoints, log and what TensorBoard shows are kept.
        replicas: who share each batch.
        held_back: what is measured after each window.
        callbacks: told of each window.
        until: the window after which to pause; None is the end.

    Raises:
        UserError: as in `training.fitted`.
    """
    augmentation = Augmentation(settings.flip, settings.shift, settings.cutout, settings.mixup, settings.mixed)
    boards = []
    if settings.tensorboard:
        boards.append(tf.keras.callbacks.TensorBoard(run.folder / "tensorboard", write_graph=False))
    with progress.ProgressBar(settings.windows, steps_a_window) as bar:
        return training.fitted(
            model,
            lambda first: batches(augmentation, first),
            run,
            until or settings.windows,
            steps_a_window,
            held_back,
            [*boards, *callbacks, bar],
            replicas,
        )


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
        "architecture": {"network": "residual_student", "size": size, "classes": classes, **_shape(settings)},
        "parameters": student.count_params(),
    }


def _new_student(settings: TrainSettings, size: int, classes: int) -> tf.keras.Model:
    return residual_student(size, classes, **_shape(settings))


def _shape(settings: TrainSettings) -> dict[str, Any]:
    assert settings.widths != "auto"  # picked when the job was found
    shape = {"widths": list(settings.widths), "blocks": list(settings.blocks)}
    return {**shape, "binary": not settings.twin, "block": settings.block}
