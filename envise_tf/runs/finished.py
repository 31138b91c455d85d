"""A finished run of train, opened again: its job, its networks and, once it is evaluated, its cascade."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from envise_tf.deferral.cascade import Cascade, Teacher
from envise_tf.deferral.keras_cascade import keras_cascade
from envise_tf.deferral.scores import load_score
from envise_tf.deferral.scores.outputs import Observer
from envise_tf.deferral.threshold import Threshold
from envise_tf.distillation.distiller import student_class_of
from envise_tf.errors import UserError, as_word
from envise_tf.networks.code import load_keras
from envise_tf.networks.loading import Classifier
from envise_tf.prior.adaptation import PRIOR_FILE, Adaptation
from envise_tf.prior.adapted import PriorShift
from envise_tf.run import Run
from envise_tf.runs.job import Job, found_job
from envise_tf.settings import TrainSettings, settings_of_run

SCORE_FILE = "score.npz"
THRESHOLD_FILE = "threshold.json"

_SAME_LOGIT = 1e-3


@dataclass(frozen=True)
class FinishedRun:
    """A run that has ended.

    Attributes:
        run: its folder.
        job: what it was trained on; the teacher is the run's own copy, adapted if the run's was.
        student: the distilled network.
        teacher_classes: the teacher's class of each of the student's.
        adaptation: of the teacher; None where it is as it came.
    """

    run: Run
    job: Job
    student: tf.keras.Model
    teacher_classes: list[int]
    adaptation: Adaptation | None


@dataclass(frozen=True)
class Networks:
    """Both networks of a run, ready to be asked.

    Attributes:
        student: looks at uint8 images.
        teacher: uint8 images -> logits or probabilities.
        teacher_classes: int64 (student's classes,), the teacher's class of each of the student's.
        student_classes: int64 (teacher's classes,), the student's class of each of the teacher's, -1 where it has none.
    """

    student: Observer
    teacher: Teacher
    teacher_classes: np.ndarray
    student_classes: np.ndarray


def networks_of(finished: FinishedRun) -> Networks:
    """Returns both networks of a finished run."""
    classes, teacher = finished.teacher_classes, finished.job.teacher
    return Networks(Observer(finished.student), teacher, np.array(classes), student_class_of(classes, teacher.classes))


def load_run(folder: str, data_dir: str | None = None) -> FinishedRun:
    """Returns the run in a folder, its images found again.

    Args:
        folder: of the run.
        data_dir: where data sets are prepared; None takes the run's own setting.

    Raises:
        UserError: the folder holds no finished run, its images are gone, its teacher is adapted otherwise than its
            prior.json says, or lacks a class of its student.
    """
    run = Run(Path(folder))
    _require_finished(run)
    settings = settings_of_run(TrainSettings, folder)
    settings = dataclasses.replace(
        settings, teacher=folder, teacher_classes=None, calibrate=None, data_dir=data_dir or settings.data_dir
    )
    job, adaptation = found_job(settings), stored_adaptation(run)
    _require_same_adaptation(run, job.teacher.model.layers[-1], adaptation)
    classes = run.read_json("classes.json")["teacher_classes"]
    if max(classes) >= job.teacher.classes:
        raise UserError(
            f"{run.folder / 'classes.json'} has class {max(classes)} of the teacher, which has {job.teacher.classes}: "
            "expected the file that the training wrote; train the run again"
        )
    student = load_keras(run.folder / "student.keras")
    return FinishedRun(run, job, student, classes, adaptation)


def _require_same_adaptation(run: Run, last: tf.keras.layers.Layer, adaptation: Adaptation | None) -> None:
    """Returns if the last layer of the run's teacher adds what its file says."""
    if isinstance(last, PriorShift) != (adaptation is not None):
        missing = PRIOR_FILE if adaptation is None else "layer that adapts it"
        raise UserError(f"the teacher of {run.folder} is adapted, but there is no {missing}: train the run again")
    if adaptation is None:
        return
    said = np.append(adaptation.log_ratio + adaptation.calibration.bias, adaptation.calibration.temperature)
    does = np.append(last.bias.numpy() + last.log_ratio.numpy(), last.temperature.numpy())
    if said.shape != does.shape or not np.allclose(said, does, atol=_SAME_LOGIT):
        raise UserError(
            f"{run.folder / PRIOR_FILE} has another temperature, bias or prior than {run.folder / 'teacher.keras'}: "
            "expected both of one training; train the run again"
        )


def stored_adaptation(run: Run) -> Adaptation | None:
    """Returns how a run's teacher is adapted; None where it is as it came."""
    return Adaptation.from_dict(run.read_json(PRIOR_FILE)) if (run.folder / PRIOR_FILE).exists() else None


def load_cascade(folder: str) -> Cascade:
    """Returns the cascade of an evaluated run, run by Keras.

    Args:
        folder: of the run; neither its images nor the network's are needed.

    Raises:
        UserError: the folder holds no finished run, or it has not been evaluated.
    """
    run = Run(Path(folder))
    _require_finished(run)
    threshold = saved_threshold(run)
    student = load_keras(run.folder / "student.keras")
    teacher = load_keras(run.folder / "teacher.keras")
    classes = run.read_json("classes.json")
    return keras_cascade(
        Observer(student),
        load_score(run.folder / SCORE_FILE),
        Classifier(teacher, tuple(classes["teacher_names"])),
        threshold,
        classes["teacher_classes"],
    )


def saved_threshold(run: Run) -> Threshold:
    """Returns the threshold that was chosen for a run.

    Raises:
        UserError: it has not been evaluated.
    """
    if not (run.folder / THRESHOLD_FILE).exists():
        raise UserError(
            f"{run.folder} has no threshold yet: choose one by python -m envise_tf.evaluate {as_word(run.folder)}"
        )
    return Threshold.from_dict(run.read_json(THRESHOLD_FILE))


def _require_finished(run: Run) -> None:
    if not run.settings_file.exists() or not (run.folder / "classes.json").exists():
        raise UserError(f"{run.folder} holds no run of train: expected the folder of a finished one")
    if not (run.folder / "student.keras").exists() or not (run.folder / "result.json").exists():
        raise UserError(
            f"{run.folder} is not finished: resume it with python -m envise_tf.train --resume {as_word(run.folder)}"
        )
