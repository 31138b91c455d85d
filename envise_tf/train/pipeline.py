"""The main job: from settings to a distilled student, its networks, figures and result in a run's folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import larq
import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.table import Table

from envise_tf import progress
from envise_tf.distillation import training
from envise_tf.distillation.answers import answered
from envise_tf.distillation.distiller import Distiller
from envise_tf.distillation.replicas import Replicas
from envise_tf.errors import UserError, as_word, some_of
from envise_tf.evaluate.pipeline import evaluate
from envise_tf.networks.labelled import CALIBRATION_FILE
from envise_tf.prior.adaptation import PRIOR_FILE, Adaptation
from envise_tf.run import Run, provenance
from envise_tf.runs.finished import FinishedRun, stored_adaptation
from envise_tf.runs.fitting import found_replicas, opened_run, student_widths
from envise_tf.runs.job import Job, adapted_job, learned_classes
from envise_tf.runs.jobs import Jobs
from envise_tf.runs.names import uncommon_names
from envise_tf.settings import EvaluateSettings, TrainSettings
from envise_tf.settings.places import NO_TEACHER
from envise_tf.train.curves import save_curves
from envise_tf.train.fit import Fit, begun_student, final_student, student_figures
from envise_tf.train.labelled import labelled_training
from envise_tf.train.outlook import PairOutlook, PromiseOutlook

_CONSOLE = Console()


def distilled_and_evaluated(settings: TrainSettings, resumed: bool) -> Run:
    """Distils a student, evaluates the run, and does the same for its twin, as far as the settings ask for it.

    Where several workers distil, the chief alone evaluates.

    Args:
        settings: of the training.
        resumed: resume the run in settings.out, or its twin's in RUN/twin if that has begun.

    Raises:
        UserError: as in `distil` and `evaluate`.
    """
    if resumed:
        _require_unfinished(settings)
    if settings.teacher == NO_TEACHER:
        return labelled_training(settings, resumed)
    replicas = found_replicas(settings, _told)
    run = _distilled(settings, resumed, replicas).run
    if replicas.is_chief:
        if settings.evaluate:
            with run.resumable("train"):
                evaluate(EvaluateSettings(str(run.folder), settings.data_dir))
        else:
            _CONSOLE.print(f"next: python -m envise_tf.evaluate {as_word(run.folder)}", soft_wrap=True)
    if settings.with_twin:
        twin = Run(Path(settings.out or run.folder) / "twin")
        # No generic twin is shipped: it learns from scratch.
        scratch = dataclasses.replace(settings, student_init="scratch", stages=1)
        asked = dataclasses.replace(scratch, twin=True, with_twin=False, out=str(twin.folder))
        distilled_and_evaluated(asked, twin.settings_file.exists())
    return run


def _require_unfinished(settings: TrainSettings) -> None:
    """Returns if something of the run in settings.out, or of its twin's, is still to be done."""
    runs = [Run(Path(str(settings.out)))]
    if settings.with_twin:
        runs.append(Run(runs[0].folder / "twin"))
    for run in runs:
        if not (run.folder / "result.json").exists():
            return
        is_evaluated = settings.evaluate and settings.teacher != NO_TEACHER
        if is_evaluated and "evaluation" not in run.read_json("result.json"):
            return
    raise UserError(
        f"{settings.out} is finished: there is nothing to resume; to evaluate it again: python -m envise_tf.evaluate "
        f"{settings.out}"
    )


def distil(
    settings: TrainSettings,
    resumed: bool,
    until: int | None = None,
    callbacks: Sequence[tf.keras.callbacks.Callback] = (),
    jobs: Jobs | None = None,
) -> FinishedRun:
    """Distils a student and writes student.keras, teacher.keras, classes.json, result.json and curves.png to its run.

    Args:
        settings: of the training.
        resumed: resume the run in settings.out.
        until: the window after which to pause; rates fall as if the training went on to its end. Resumed without it,
            or with a later window, the training goes on. None is the end.
        callbacks: told of each window, its agreement on held-back images as `val_agreement` among the logs.
        jobs: that of earlier trainings, to find nothing again that they have found.

    Raises:
        UserError: anything the settings name is missing or does not fit the rest, before the long work starts; or
            the loss is not finite.
    """
    return _distilled(settings, resumed, found_replicas(settings, _told), until, callbacks, jobs)


def _distilled(
    settings: TrainSettings,
    resumed: bool,
    replicas: Replicas,
    until: int | None = None,
    callbacks: Sequence[tf.keras.callbacks.Callback] = (),
    jobs: Jobs | None = None,
) -> FinishedRun:
    jobs = jobs or Jobs()
    job = jobs.found(settings)
    with opened_run(settings, "train", resumed, replicas) as run:
        training.prepare(settings.seed, settings.precision)
        adaptation = stored_adaptation(run) if resumed else _found_adaptation(job, jobs)
        classes = run.read_json("classes.json")["teacher_classes"] if resumed else learned_classes(job, adaptation)
        applied = adaptation if settings.adapt else None
        if applied is not None:
            job = adapted_job(job, applied)
        _tell_of_names(job)
        widths = student_widths(settings, job.teacher.model, job.size)
        job = dataclasses.replace(job, settings=dataclasses.replace(settings, widths=widths))
        names = ", ".join(_names(job, classes))
        _CONSOLE.print(f"the student learns {len(classes)} of {job.teacher.classes} classes: {names}", soft_wrap=True)
        student = begun_student(job.settings, job.size, classes, job.teacher.class_names)
        steps, teacher = job.stream.batches_a_window, replicas.copied(job.teacher.model)
        fit = Fit(
            student, lambda each: Distiller(each, teacher, classes, job.objectives), job.settings, steps, replicas
        )
        held_back = _held_back(job)
        _tell_of_outlook(job, student)
        if not resumed:
            run.write_json(
                "classes.json",
                {"teacher_classes": classes, "teacher_names": job.teacher.class_names, "is_named": job.is_named},
            )
            _write_adaptation(run, job, applied)
            run.begin(settings)
        entries = fit.fitted(job.stream.batches, run, held_back, callbacks, until)
        student = final_student(job.settings, student)
        run.save("student.keras", student.save)
        run.save("teacher.keras", job.teacher.model.save)
        save_curves(entries, run.folder / "curves.png")
        result = {**_result(job, student, classes, entries), **_prior_figures(adaptation)}
        run.write_json("result.json", result)
        _show(result, run)
    return FinishedRun(run, job, student, classes, applied)


def _found_adaptation(job: Job, jobs: Jobs) -> Adaptation | None:
    """Returns the stream's prior and what it does to the teacher, where either is asked for."""
    if not job.settings.adapt and job.settings.classes != "found":
        return None
    adaptation = jobs.adaptation(job)
    told = f"the stream's class shares are estimated on {adaptation.images:,} images"
    if job.settings.adapt and adaptation.calibration_images:
        temperature, images = adaptation.calibration.temperature, adaptation.calibration_images
        told += f"; the adapted teacher's temperature is {temperature:.2f}, from {images:,} labelled images"
    elif job.settings.adapt:
        told += (
            "; the teacher's confidence is taken as it comes: to correct it, give labelled images, --calibrate FOLDER"
        )
    _told(told)
    return adaptation


def _tell_of_names(job: Job) -> None:
    """Says which names are missing, or which one side has and the other has not."""
    if not job.is_named:
        _told(
            f"teacher {job.settings.teacher} has no names for its classes: they are called 0 to "
            f"{job.teacher.classes - 1}, and no label is compared with them; to change that, give --teacher_classes "
            "FILE, one name per line in the order of the teacher's outputs"
        )
    elif job.tested is not None:
        unseen, foreign = uncommon_names(job.teacher, job.tested)
        if unseen:
            _told(f"{job.tested.name} has no images of {some_of(unseen)}, which the teacher knows")
        if foreign:
            _told(f"the teacher does not know {some_of(foreign)}, of which {job.tested.name} has images")


def _tell_of_outlook(job: Job, student: tf.keras.Model) -> None:
    """Says what the pair costs and can save, and what its promise takes."""
    if job.settings.verbose:
        larq.models.summary(student)
    stream, settings = job.stream, job.settings
    images = stream.source.count("train")
    if stream.labels is not None:
        images = images * len(stream.labels) // len(stream.source.class_names)
    promise = PromiseOutlook.of(images, stream.protocol, settings.held_back, settings.epsilon)
    for line in (*PairOutlook.of(student, job.teacher.model).lines(), *promise.lines()):
        _told(line)


def _write_adaptation(run: Run, job: Job, adaptation: Adaptation | None) -> None:
    if adaptation is None:
        return
    run.write_json(PRIOR_FILE, adaptation.as_dict())
    if job.teacher.labelled is not None:
        run.save(CALIBRATION_FILE, job.teacher.labelled.save)


def _prior_figures(adaptation: Adaptation | None) -> dict[str, Any]:
    """Returns what result.json says of the prior; nothing where none was estimated."""
    if adaptation is None:
        return {}
    shares = adaptation.estimate[adaptation.estimate > 0]
    figures = {
        "images": adaptation.images,
        "temperature": adaptation.calibration.temperature,
        "calibration_images": adaptation.calibration_images,
        # How many equally frequent classes would be as hard to guess.
        "effective_classes": float(np.exp(-(shares * np.log(shares)).sum())),
    }
    return {"prior": figures}


def _told(line: str) -> None:
    _CONSOLE.print(line, soft_wrap=True, highlight=False)


def _names(job: Job, classes: list[int]) -> list[str]:
    return [job.teacher.class_names[i] for i in classes]


def _held_back(job: Job) -> tf.data.Dataset:
    """Returns the choosing part of the held-back images in batches, with the teacher's logits beside them."""
    images = job.choosing_images(job.settings.batch_size)
    about = "the teacher answers held-back images"
    return answered(images, job.teacher, lambda batches: progress.track(batches, about))


def _result(job: Job, student: tf.keras.Model, classes: list[int], entries: list[dict[str, Any]]) -> dict[str, Any]:
    settings = job.settings
    return {
        "agreement": entries[-1]["val_agreement"],
        "agreement_is_over": "the choosing part of the held-back stream images, those of the student's classes",
        **student_figures(settings, student, entries, job.stream.batches_a_window),
        "unreadable_files": len(job.stream.source.unreadable),
        "class_names": _names(job, classes),
        "teacher_classes": classes,
        "settings": dataclasses.asdict(settings),
        **provenance(),
    }


def _show(result: dict[str, Any], run: Run) -> None:
    table = Table(title=str(run.folder), show_header=False)
    table.add_row("agreement on held-back stream images", f"{100 * result['agreement']:.1f} %")
    table.add_row("time for training", f"{result['seconds']:.0f} s, {result['images_per_second']:.0f} images/s")
    if result["unreadable_files"]:
        table.add_row("unreadable files, skipped", str(result["unreadable_files"]))
    _CONSOLE.print(table)
