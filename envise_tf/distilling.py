"""The main job: from settings to a distilled student, its networks, figures and result in a run's folder."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import larq
import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.table import Table

from envise_tf import fitting
from envise_tf.distiller import Distiller, compiled
from envise_tf.errors import UserError
from envise_tf.frequent import frequent_classes
from envise_tf.images import load_source
from envise_tf.images.scenario import Scenario, load_scenario
from envise_tf.images.source import Source
from envise_tf.images.stream import Augmentation, Stream
from envise_tf.networks.loading import Classifier, load_classifier, load_network
from envise_tf.networks.shipped import shipped_names, shipped_network
from envise_tf.networks.students import residual_student, with_classes
from envise_tf.objectives import Objective, objective
from envise_tf.report.curves import save_curves
from envise_tf.run import Run, provenance
from envise_tf.settings import TrainSettings

_CONSOLE = Console()


@dataclass(frozen=True)
class Job:
    """Everything that the settings name, found and checked.

    Attributes:
        settings: what was asked for.
        teacher: with a name for each class.
        source: the labelled source for testing, or the unlabelled folder itself.
        scenario: None where all of the source's classes are inliers.
        stream: what the student may train on.
        held_back: what agreement is measured on.
        objectives: by name.
    """

    settings: TrainSettings
    teacher: Classifier
    source: Source
    scenario: Scenario | None
    stream: Stream
    held_back: Stream
    objectives: dict[str, Objective]

    @property
    def size(self) -> int:
        """Side of the images in pixels."""
        return int(self.source.size or 0)

    @property
    def inliers(self) -> tuple[int, ...] | None:
        """The source's labels of the inlier classes; None means all."""
        return None if self.scenario is None else self.scenario.labels("inlier", self.source.class_names)


def distil(settings: TrainSettings, resumed: bool) -> Run:
    """Distils a student and writes student.keras, teacher.keras, classes.json, result.json and curves.png to its run.

    Args:
        settings: see there.
        resumed: go on with the run in settings.out.

    Raises:
        UserError: anything the settings name is missing or does not fit the rest, before the long work starts; or
            the loss is not finite.
    """
    job = prepared(settings)
    run = Run(Path(str(settings.out))) if resumed else Run.planned(settings, "train")
    fitting.prepare(settings)
    classes = run.read_json("classes.json")["teacher_classes"] if resumed else _classes(job)
    student = _student(job, classes)
    distiller = _distiller(job, student, classes)
    held_back = _answered(job)
    larq.models.summary(student)
    if not resumed:
        run.begin(settings)
        names = {"names": _names(job, classes), "teacher_names": job.teacher.class_names}
        run.write_json("classes.json", {"teacher_classes": classes, **names})
    entries = _fitted(job, run, distiller, held_back)
    student = _in_float32(job, student, classes)
    run.save_model(student, "student.keras")
    run.save_model(job.teacher.model, "teacher.keras")
    save_curves(entries, run.folder / "curves.png")
    result = _result(job, student, classes, entries)
    run.write_json("result.json", result)
    _show(result, run)
    return run


def prepared(settings: TrainSettings) -> Job:
    """Returns the job that the settings describe, every part of it loaded and checked.

    Raises:
        UserError: a part is missing or does not fit the others.
    """
    if not settings.objectives:
        raise UserError("no objective is given: expected at least one, such as --objectives.soft_label.weight 1")
    objectives = {name: objective(name, options) for name, options in settings.objectives.items()}
    teacher = load_classifier(settings.teacher, settings.teacher_range, settings.teacher_classes)
    source = load_source(
        settings.stream or settings.source, settings.data_dir, settings.image_size or _folder_size(settings, teacher)
    )
    teacher = _named(_of_size(teacher, source, settings), source, settings)
    scenario = None
    if settings.scenario is not None:
        scenario = load_scenario(settings.scenario, source.class_names)
    elif settings.classes == "pinned":
        raise UserError("classes are pinned, but by no scenario: give --scenario, or --classes found")
    labels = None if scenario is None else scenario.labels("inlier", source.class_names)
    # The teacher has never seen a user's own photographs: all of them may stream.
    protocol = "shared" if settings.stream else settings.protocol
    stream = Stream(source, settings.part, protocol, labels, None, settings.window, settings.batch_size, settings.seed)
    held_back = dataclasses.replace(stream, part="held_back")
    return Job(settings, teacher, source, scenario, stream, held_back, objectives)


def _folder_size(settings: TrainSettings, teacher: Classifier) -> int | None:
    return teacher.size if settings.stream or Path(settings.source).is_dir() else None


def _of_size(teacher: Classifier, source: Source, settings: TrainSettings) -> Classifier:
    if teacher.size not in (None, source.size):
        raise UserError(
            f"teacher {settings.teacher} takes {teacher.size}x{teacher.size} images, but those of {source.name} are "
            f"{source.size}x{source.size}: give --image_size {teacher.size}, or another --teacher"
        )
    return teacher


def _named(teacher: Classifier, source: Source, settings: TrainSettings) -> Classifier:
    """Returns the teacher with a name for each class: its own, the source's, or a number."""
    if teacher.class_names:
        return teacher
    if len(source.class_names) == teacher.classes:
        return dataclasses.replace(teacher, class_names=source.class_names)
    if source.class_names:
        raise UserError(
            f"teacher {settings.teacher} has {teacher.classes} classes, {source.name} has {len(source.class_names)}: "
            "say what the teacher's are with --teacher_classes FILE"
        )
    return dataclasses.replace(teacher, class_names=tuple(f"class_{i}" for i in range(teacher.classes)))


def _classes(job: Job) -> list[int]:
    """Returns the teacher's class of each of the student's."""
    if job.settings.classes == "all":
        classes = list(range(job.teacher.classes))
    elif job.settings.classes == "pinned" and job.scenario is not None:
        classes = [_teacher_class(job, name) for name in job.scenario.inlier]
    else:
        classes = _found_classes(job)
    if len(classes) < 2:
        raise UserError(
            f"the teacher predicts {len(classes)} class(es) often enough: expected at least 2; "
            "give a lower --min_share, or check that the stream shows what the teacher knows"
        )
    names = ", ".join(_names(job, classes))
    _CONSOLE.print(f"the student learns {len(classes)} of {job.teacher.classes} classes: {names}", soft_wrap=True)
    return classes


def _names(job: Job, classes: list[int]) -> list[str]:
    return [job.teacher.class_names[i] for i in classes]


def _teacher_class(job: Job, name: str) -> int:
    if name not in job.teacher.class_names:
        raise UserError(
            f"the scenario pins {name}, which the teacher does not know: use a teacher of {job.source.name}"
        )
    return job.teacher.class_names.index(name)


def _found_classes(job: Job) -> list[int]:
    window = job.stream.batches(Augmentation()).take(job.stream.batches_a_window)
    predictions = [
        np.argmax(job.teacher.model(images, training=False), axis=-1)
        for images in fitting.track(window, "looking for frequent classes", job.stream.batches_a_window)
    ]
    if not predictions:
        raise UserError(f"{job.source.name} gives no image to stream: check the folder, the scenario and the protocol")
    found = frequent_classes(np.concatenate(predictions), job.settings.coverage, job.settings.min_share)
    return [int(label) for label in found]


def _student(job: Job, classes: list[int]) -> tf.keras.Model:
    student = _new_student(job, len(classes))
    init = job.settings.student_init
    if init == "scratch":
        return student
    if init == "generic":
        if job.settings.twin or job.settings.teacher not in shipped_names("student"):
            what = "twin" if job.settings.twin else f"student of {job.settings.teacher}"
            raise UserError(f"no generic {what} is shipped: give --student_init scratch or the path of a student.keras")
        generic = shipped_network(job.settings.teacher, "student")
    else:
        generic = load_network(Path(init), shipped_names("student"))
    with_classes(student, generic, classes)
    return student


def _new_student(job: Job, classes: int) -> tf.keras.Model:
    settings = job.settings
    return residual_student(job.size, classes, settings.widths, settings.blocks, binary=not settings.twin)


def _in_float32(job: Job, student: tf.keras.Model, classes: list[int]) -> tf.keras.Model:
    if job.settings.precision == "float32":
        return student
    tf.keras.mixed_precision.set_global_policy("float32")
    final = _new_student(job, len(classes))
    final.set_weights(student.get_weights())
    return final


def _distiller(job: Job, student: tf.keras.Model, classes: list[int]) -> Distiller:
    settings = job.settings
    return compiled(
        Distiller(student, job.teacher.model, classes, job.objectives),
        binary_rate=fitting.cosine_rate(settings, settings.learning_rate * settings.binary_rate),
        float_rate=fitting.cosine_rate(settings, settings.learning_rate),
    )


def _fitted(job: Job, run: Run, distiller: Distiller, held_back: tf.data.Dataset) -> list[dict[str, Any]]:
    settings = job.settings
    recorder = fitting.Recorder(run, distiller)
    first = recorder.restore()
    callbacks = [recorder]
    if settings.tensorboard:
        callbacks.append(tf.keras.callbacks.TensorBoard(run.folder / "tensorboard", write_graph=False))
    with fitting.ProgressBar(settings.windows, job.stream.batches_a_window, first) as bar:
        distiller.fit(
            job.stream.batches(Augmentation(settings.flip, settings.shift, settings.cutout), first),
            validation_data=held_back,
            steps_per_epoch=job.stream.batches_a_window,
            initial_epoch=first,
            epochs=settings.windows,
            callbacks=[*callbacks, bar],
            verbose=0,
        )
    return recorder.entries


def _answered(job: Job) -> tf.data.Dataset:
    """Returns the held-back images in batches, with the teacher's logits beside them."""
    batches = -(-job.settings.held_back // job.settings.batch_size)
    images = job.held_back.images().take(batches)
    about = "the teacher answers held-back images"
    logits = [job.teacher.model(batch, training=False) for batch in fitting.track(images, about)]
    if not logits:
        raise UserError(f"{job.source.name} has no held-back image: expected some dozens; give a larger stream")
    answers = tf.data.Dataset.from_tensor_slices(np.concatenate(logits)).batch(job.settings.batch_size)
    return tf.data.Dataset.zip((images.cache(), answers)).prefetch(2)


def _result(job: Job, student: tf.keras.Model, classes: list[int], entries: list[dict[str, Any]]) -> dict[str, Any]:
    settings = job.settings
    seconds = sum(entry["seconds"] for entry in entries)
    steps = fitting.steps(settings)
    return {
        "agreement": entries[-1]["val_agreement"],
        **_accuracies(job, student, classes),
        "images_per_second": steps * settings.batch_size / seconds,
        "steps": steps,
        "seconds": seconds,
        "architecture": {
            "network": "residual_student",
            "size": job.size,
            "classes": len(classes),
            "widths": list(settings.widths),
            "blocks": list(settings.blocks),
            "binary": not settings.twin,
        },
        "parameters": student.count_params(),
        "class_names": _names(job, classes),
        "teacher_classes": classes,
        "settings": dataclasses.asdict(settings),
        **provenance(),
    }


def _accuracies(job: Job, student: tf.keras.Model, classes: list[int]) -> dict[str, float]:
    """Returns the accuracy of student and teacher on the inlier test images; nothing where there are no labels.

    Both answer in the teacher's classes: a class that the student did not learn counts against it.
    """
    if not job.source.class_names:
        return {}
    own = {name: index for index, name in enumerate(job.teacher.class_names)}
    teacher_class = tf.constant([own.get(name, -1) for name in job.source.class_names], tf.int64)
    hits = {"accuracy_student": tf.keras.metrics.Mean(), "accuracy_teacher": tf.keras.metrics.Mean()}
    examples = job.source.examples("test", job.inliers).batch(256).prefetch(2)
    for batch in fitting.track(examples, "testing"):
        truth = tf.gather(teacher_class, batch["label"])
        student_answer = tf.gather(
            tf.constant(classes, tf.int64), tf.argmax(student(batch["image"], training=False), -1)
        )
        teacher_answer = tf.argmax(job.teacher.model(batch["image"], training=False), -1)
        hits["accuracy_student"].update_state(student_answer == truth)
        hits["accuracy_teacher"].update_state(teacher_answer == truth)
    return {name: float(mean.result()) for name, mean in hits.items()}


def _show(result: dict[str, Any], run: Run) -> None:
    table = Table(title=str(run.folder), show_header=False)
    table.add_row("agreement on held-back stream images", f"{100 * result['agreement']:.1f} %")
    for name in ("student", "teacher"):
        if f"accuracy_{name}" in result:
            table.add_row(f"accuracy of the {name} on inlier test images", f"{100 * result[f'accuracy_{name}']:.1f} %")
    table.add_row("time for training", f"{result['seconds']:.0f} s, {result['images_per_second']:.0f} images/s")
    _CONSOLE.print(table)
    _CONSOLE.print(f"next: tensorboard --logdir {run.folder / 'tensorboard'}", soft_wrap=True)
