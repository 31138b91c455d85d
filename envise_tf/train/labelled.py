"""Training of a student by labels, without a teacher: --teacher none."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.table import Table

from envise_tf.distillation import training
from envise_tf.distillation.distiller import student_class_of
from envise_tf.distillation.labelled import LabelledStudent
from envise_tf.errors import UserError
from envise_tf.images.loading import load_source
from envise_tf.images.source import Source
from envise_tf.images.windows import Stream
from envise_tf.run import Run, provenance
from envise_tf.runs.accuracy import accuracy_on
from envise_tf.runs.fitting import found_replicas, opened_run
from envise_tf.runs.job import found_objectives, found_scenario, labelled_stream
from envise_tf.settings import TrainSettings
from envise_tf.train.curves import save_curves
from envise_tf.train.fit import Fit, begun_student, final_student, student_figures

_CONSOLE = Console()
_MOST_TESTED = 256
"""Images that the student answers at once."""


def labelled_training(settings: TrainSettings, resumed: bool) -> Run:
    """Trains a student by the labels of the source and writes student.keras, result.json and curves.png to its run.

    Args:
        settings: of the training, whose teacher is "none".
        resumed: resume the run in settings.out.

    Raises:
        UserError: the source has no labels, a setting asks for a teacher, or one of the errors of `train.distil`.
    """
    _require_no_teacher(settings)
    source = _source(settings)
    scenario = found_scenario(settings, source)
    objectives = found_objectives(settings)
    stream = labelled_stream(settings, source, scenario)
    classes = list(range(len(source.class_names)) if stream.labels is None else stream.labels)
    names = [source.class_names[label] for label in classes]
    replicas = found_replicas(settings, _told)
    with opened_run(settings, "train", resumed, replicas) as run:
        training.prepare(settings.seed, settings.precision)
        student = begun_student(settings, source.size or 0, classes, source.class_names)
        steps = stream.batches_a_window
        labels = len(source.class_names)
        fit = Fit(student, lambda each: LabelledStudent(each, classes, labels, objectives), settings, steps, replicas)
        held_back = _held_back(stream, settings.held_back)
        _told(
            f"supervised, without a teacher: the labels of {settings.source} teach the student {len(classes)} classes: "
            + ", ".join(names)
        )
        if not resumed:
            run.begin(settings)
        entries = fit.fitted(stream.labelled_batches, run, held_back)
        student = final_student(settings, student)
        run.save("student.keras", student.save)
        save_curves(entries, run.folder / "curves.png", "accuracy", "accuracy on labelled images")
        result = {
            "accuracy": _tested(student, source, stream.labels, classes),
            "accuracy_on_held_back": entries[-1]["val_accuracy"],
            **student_figures(settings, student, entries, steps),
            "unreadable_files": len(source.unreadable),
            "class_names": names,
            "settings": dataclasses.asdict(settings),
            **provenance(),
        }
        run.write_json("result.json", result)
        _show(result, run)
    return run


def _require_no_teacher(settings: TrainSettings) -> None:
    """Returns if no setting asks for what a teacher alone could give."""
    given = {
        "stream": settings.stream is not None,
        "widths auto": settings.widths == "auto",
        "student_init generic": settings.student_init == "generic",
        "calibrate": settings.calibrate is not None,
        "with_twin": settings.with_twin,
        "mixup": settings.mixup > 0,
    }
    for name, is_given in given.items():
        if is_given:
            raise UserError(f"--{name} given with --teacher none: expected a training by labels alone; leave it out")


def _source(settings: TrainSettings) -> Source:
    if settings.source is None:
        raise UserError("--teacher none without --source: expected labelled images, such as cifar100 or a folder")
    source = load_source(settings.source, settings.data_dir, settings.image_size)
    if not source.class_names:
        raise UserError(
            f"{settings.source} has no labels: --teacher none needs images in one sub-folder per class; give those, or "
            "a teacher"
        )
    return source


def _held_back(stream: Stream, most: int) -> tf.data.Dataset:
    """Returns up to `most` of the images that the student does not train on, with their labels."""
    pairs = dataclasses.replace(stream, part="held_back").labelled_images().unbatch().take(most)
    found = list(pairs.as_numpy_iterator())
    if not found:
        raise UserError(f"{stream.source.name} holds no image back: expected some to measure accuracy on; give more")
    images, labels = (np.stack(each) for each in zip(*found, strict=True))
    return tf.data.Dataset.from_tensor_slices((images, labels)).batch(stream.batch_size)


def _tested(student: tf.keras.Model, source: Source, labels: tuple[int, ...] | None, classes: list[int]) -> float:
    """Returns the share of the test images of the student's classes that it classifies rightly, in 0..1."""
    own = tf.constant(student_class_of(classes, len(source.class_names)))
    pairs = source.examples("test", labels).map(lambda example: (example["image"], tf.gather(own, example["label"])))
    return accuracy_on(student, pairs.batch(_MOST_TESTED).prefetch(2))


def _told(line: str) -> None:
    _CONSOLE.print(line, soft_wrap=True, highlight=False)


def _show(result: dict[str, Any], run: Run) -> None:
    table = Table(title=str(run.folder), show_header=False)
    table.add_row("accuracy on the test images", f"{100 * result['accuracy']:.1f} %")
    table.add_row("time for training", f"{result['seconds']:.0f} s, {result['images_per_second']:.0f} images/s")
    _CONSOLE.print(table)
