"""The test images of a run's scenario, once through both networks: what is kept of each image for every later figure.

Memory is bounded by the batch: of an image only its classes and scores remain, and of some its features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from scipy import special

from envise_tf.deferral.scores.score import OutlierScore
from envise_tf.errors import UserError
from envise_tf.evaluate.attention import Attention
from envise_tf.measures.localisation import Localisation, localisation
from envise_tf.measures.operating_points import Predictions
from envise_tf.runs.finished import FinishedRun, Networks

Shown = Callable[[Iterable[Any], int], Iterable[Any]]

_MOST_FEATURES = 2000


@dataclass(frozen=True)
class Examination:
    """What is known of n test images.

    Attributes:
        predictions: their classes, true and predicted.
        own_class: int64 (n,), what the student predicts, in its own numbering.
        teachers: int64 (n,) each, what the teachers predict: "raw", as the teacher came, and "adapted" where the run's
            is adapted to its stream.
        confidence: float32 (n,) each, the probability that each of them, and the "student", gives its class.
        scores: by name, float32 (n,).
        features: float32 (m, d), the student's penultimate features of at most 2,000 images.
        feature_rows: int64 (m,), which images these are.
        localisation: by network, its attention against bounding boxes; empty where the source has none.
    """

    predictions: Predictions
    own_class: np.ndarray
    teachers: dict[str, np.ndarray]
    confidence: dict[str, np.ndarray]
    scores: dict[str, np.ndarray]
    features: np.ndarray
    feature_rows: np.ndarray
    localisation: dict[str, Localisation]


class Examiner:
    """Asks both networks and all scores about test images, a batch at a time.

    Args:
        finished: a run whose source has labels.
        networks: of the run.
        scores: fitted, by name.

    Attributes:
        outliers: labels of the classes that the run's scenario calls outliers; empty without a scenario.
        attention: maps of both networks.

    Raises:
        UserError: the run's source has no labels.
    """

    def __init__(self, finished: FinishedRun, networks: Networks, scores: Mapping[str, OutlierScore]) -> None:
        tested, scenario = finished.job.tested, finished.job.scenario
        if tested is None:
            raise UserError(f"{finished.run.folder} has no labelled images: expected a --source with labels")
        names = {name: index for index, name in enumerate(finished.job.teacher.class_names)}
        self._source = tested
        self._truth = np.array([names.get(name, -1) for name in tested.class_names])
        self.outliers = () if scenario is None else scenario.labels("outlier", tested.class_names)
        inliers = finished.job.inliers
        self._labels = None if inliers is None else sorted([*inliers, *self.outliers])
        self._networks = networks
        self._scores = scores
        self._adaptation = finished.adaptation
        self.attention = Attention(finished)

    def examination(self, batch_size: int, shown: Shown = lambda batches, count: batches) -> Examination:
        """Returns what is said of the scenario's inlier and outlier images of the test split, all of them.

        Args:
            batch_size: images at a time.
            shown: passes on the batches, given how many there are, and may show progress.

        Raises:
            UserError: there is none.
        """
        count = self._source.count("test", self._labels)
        if not count:
            raise UserError(f"{self._source.name} has no test image of the scenario's classes: choose another scenario")
        batches = self.examples().batch(batch_size).prefetch(2)
        parts, rows = [], 0
        for batch in shown(batches, -(-count // batch_size)):
            arrays = {name: values.numpy() for name, values in batch.items()}
            every = -(-count // _MOST_FEATURES)
            parts.append(self._said(arrays, np.arange(rows, rows + len(arrays["label"])) % every == 0))
            rows += len(arrays["label"])
        whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        return self._examination(whole)

    def examples(self) -> tf.data.Dataset:
        """Returns the examples that are examined, in the order of every array of the examination."""
        return self._source.examples("test", self._labels)

    def logits(self, images: np.ndarray) -> np.ndarray:
        """Returns the student's logits, float32 (n, student's classes)."""
        return self._networks.student(images).logits

    def _said(self, batch: dict[str, np.ndarray], has_features: np.ndarray) -> dict[str, np.ndarray]:
        """Returns what is kept of a batch, by name: an array over its images, or over some of them."""
        outputs = self._networks.student(batch["image"])
        teacher_logits = self._networks.teacher(batch["image"])
        teacher_class, adaptation = teacher_logits.argmax(axis=-1), self._adaptation
        raw = teacher_logits if adaptation is None else adaptation.raw_logits(teacher_logits)
        own_class = outputs.logits.argmax(axis=-1)
        said = {
            "truth": self._truth[batch["label"]],
            "teacher_class": teacher_class,
            "raw_class": raw.argmax(axis=-1),
            "confidence.raw": special.softmax(raw, axis=-1).max(axis=-1),
            "confidence.adapted": special.softmax(teacher_logits, axis=-1).max(axis=-1),
            "confidence.student": special.softmax(outputs.logits, axis=-1).max(axis=-1),
            "own_class": own_class,
            "is_outlier": np.isin(batch["label"], self.outliers),
            "has_features": has_features,
            "features": outputs.features[has_features],
            **{f"score.{name}": score.score(outputs) for name, score in self._scores.items()},
        }
        if self._source.has_boxes:
            said |= self._maps(batch, teacher_class)
        return said

    def _maps(self, batch: dict[str, np.ndarray], teacher_class: np.ndarray) -> dict[str, np.ndarray]:
        """Returns both networks' maps for the teacher's class, of the images whose class the student has."""
        own = self._networks.student_classes[teacher_class]
        is_known = own >= 0
        images = batch["image"][is_known]
        return {
            "boxes": batch["box"][is_known],
            "maps.teacher": self.attention.maps("teacher", images, teacher_class[is_known, np.newaxis])[:, 0],
            "maps.student": self.attention.maps("student", images, own[is_known, np.newaxis])[:, 0],
        }

    def _examination(self, whole: dict[str, np.ndarray]) -> Examination:
        student_class = self._networks.teacher_classes[whole["own_class"]]
        predictions = Predictions(whole["truth"], whole["teacher_class"], student_class, whole["is_outlier"])
        adapted = {} if self._adaptation is None else {"adapted": whole["teacher_class"]}
        return Examination(
            predictions=predictions,
            own_class=whole["own_class"],
            teachers={"raw": whole["raw_class"], **adapted},
            confidence={network: whole[f"confidence.{network}"] for network in ("raw", *adapted, "student")},
            scores={name: whole[f"score.{name}"] for name in self._scores},
            features=whole["features"],
            feature_rows=np.flatnonzero(whole["has_features"]),
            localisation={
                network: localisation(whole[f"maps.{network}"], whole["boxes"])
                for network in ("teacher", "student")
                if self._source.has_boxes
            },
        )
