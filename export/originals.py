"""What a bundle is made from: the Keras networks of an evaluated run, and what they say of real images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from envise_tf.deferral.scores import load_score
from envise_tf.deferral.scores.outputs import Observer
from envise_tf.deferral.scores.score import OutlierScore
from envise_tf.deferral.threshold import Threshold
from envise_tf.errors import UserError
from envise_tf.export.bundle import Student
from envise_tf.images.loading import load_source
from envise_tf.images.source import Source
from envise_tf.networks.split import split
from envise_tf.networks.tracing import traced
from envise_tf.prior.adaptation import Adaptation
from envise_tf.prior.adapted import raw_teacher
from envise_tf.runs.finished import SCORE_FILE, FinishedRun, load_run, saved_threshold
from envise_tf.runs.job import Job

_BATCH = 64
_ADAPTATION = ("temperature", "bias", "prior", "source_prior", "images", "calibration_images")


@dataclass(frozen=True)
class Answering:
    """A student, and when it answers.

    Attributes:
        network: uint8 images -> logits.
        score: fitted.
        threshold: for this score.
        per_class: whether the threshold was chosen for each class.
        is_twin: whether the network is real-valued.
    """

    network: tf.keras.Model
    score: OutlierScore
    threshold: Threshold
    per_class: bool
    is_twin: bool

    def said(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Returns what it says of uint8 images (n, size, size, 3), n > 0: "logits" (n, classes) and "score" (n,)."""
        observer = Observer(self.network)
        outputs = [observer(batch) for batch in _batches(images)]
        return {
            "logits": np.concatenate([one.logits for one in outputs]),
            "score": np.concatenate([self.score.score(one) for one in outputs]),
        }


@dataclass(frozen=True)
class EvaluatedRun:
    """A run that a bundle can be made from.

    Attributes:
        finished: the run.
        students: by the file of the bundle that each becomes; "student" is left out for a run of the twin alone.
        adaptation: what the manifest says of the adapted teacher; None where the run's teacher is raw.
    """

    finished: FinishedRun
    students: dict[Student, Answering]
    adaptation: dict[str, Any] | None

    @property
    def raw_teacher(self) -> tf.keras.Model:
        """The teacher without what its adaptation adds: uint8 images -> logits or probabilities."""
        return raw_teacher(self.finished.job.teacher.model)

    def teacher_said(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Returns what the run's teacher says of uint8 images (n, size, size, 3), n > 0: "logits" (n, its classes)."""
        halves = split(self.finished.job.teacher.model)
        trunk, head = traced(halves.trunk), traced(halves.head)
        return {"logits": np.concatenate([head(trunk(batch)) for batch in _batches(images)])}


def evaluated_run(folder: str, data_dir: str | None = None) -> EvaluatedRun:
    """Returns the run in a folder, with its twin where it has one.

    Args:
        folder: of the run.
        data_dir: where data sets are prepared; None takes the run's own setting.

    Raises:
        UserError: the folder holds no finished run, it or its twin has not been evaluated, the two have learned
            different classes, or its images are gone.
    """
    finished = load_run(folder, data_dir)
    adaptation = None if finished.adaptation is None else _manifest_entry(finished.adaptation)
    own = _answering(finished)
    if own.is_twin:
        return EvaluatedRun(finished, {"student_builtin": own}, adaptation)
    twin_folder = finished.run.folder / "twin"
    if not twin_folder.exists():
        return EvaluatedRun(finished, {"student": own, "student_builtin": own}, adaptation)
    twin = load_run(str(twin_folder), data_dir)
    if twin.teacher_classes != finished.teacher_classes:
        raise UserError(
            f"{twin_folder} has learned the teacher's classes {twin.teacher_classes}, {folder} "
            f"{finished.teacher_classes}: expected the same; move {twin_folder} away to go on without a twin"
        )
    return EvaluatedRun(finished, {"student": own, "student_builtin": _answering(twin)}, adaptation)


def real_images(job: Job, source: str | None, data_dir: str | None, count: int) -> np.ndarray:
    """Returns images for a comparison of networks, spread evenly over what there is, uint8 (n, size, size, 3).

    These are test images of the source that is given, or else of the run's inlier and outlier classes; where the run
    has no labels, held-back images of its stream, of those that choose.

    Args:
        job: of the run.
        source: as `load_source` takes it; None takes the run's own.
        data_dir: where data sets are prepared.
        count: most images to return.

    Raises:
        UserError: no such source, or it has no image.
    """
    if source is not None:
        examples = _spread(load_source(source, data_dir, job.size), None, count)
    elif job.tested is not None:
        examples = _spread(job.tested, _tested_labels(job, job.tested), count)
    else:
        examples = job.choosing_images(_BATCH).unbatch().take(count)
    images = list(examples.as_numpy_iterator())
    if not images:
        raise UserError(f"{source or job.stream.source.name} has no test image: give another --source")
    return np.stack(images)


def _answering(finished: FinishedRun) -> Answering:
    run = finished.run
    return Answering(
        network=finished.student,
        score=load_score(run.folder / SCORE_FILE),
        threshold=saved_threshold(run),
        per_class=run.read_json("result.json")["evaluation"]["settings"]["per_class"],
        is_twin=finished.job.settings.twin,
    )


def _manifest_entry(adaptation: Adaptation) -> dict[str, Any]:
    said = adaptation.as_dict()
    return {key: said[key] for key in _ADAPTATION}


def _tested_labels(job: Job, tested: Source) -> tuple[int, ...] | None:
    if job.inliers is None or job.scenario is None:
        return None
    return (*job.inliers, *job.scenario.labels("outlier", tested.class_names))


def _spread(source: Source, labels: tuple[int, ...] | None, count: int) -> tf.data.Dataset:
    every = max(1, source.count("test", labels) // count)
    return source.examples("test", labels).shard(every, 0).take(count).map(lambda example: example["image"])


def _batches(images: np.ndarray) -> list[np.ndarray]:
    return [images[i : i + _BATCH] for i in range(0, len(images), _BATCH)]
