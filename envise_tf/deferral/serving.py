"""A student that serves: with its classes, its outlier score and its threshold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from scipy import stats

from envise_tf.deferral.cascade import is_deferred
from envise_tf.deferral.held_back import HeldBack
from envise_tf.deferral.scores import OutlierScore, fitted_default_score, outlier_score
from envise_tf.deferral.scores.outputs import Observer, Outputs
from envise_tf.deferral.threshold import Threshold, chosen_threshold
from envise_tf.distillation.distiller import student_class_of
from envise_tf.networks.tracing import traced_function

Build = Callable[[int], tf.keras.Model]
"""Number of classes -> a new student."""

_BATCH = 256
_MOST_REFERENCES = 1000
_FITS = 0.01
"""An earlier student does not fit a stream where its figures would come with less than this chance if it did."""


class Shown(NamedTuple):
    """Images of a stream and what the teacher says of them.

    Attributes:
        images: uint8 (n, height, width, 3).
        teacher_class: int64 (n,).
    """

    images: np.ndarray
    teacher_class: np.ndarray


@dataclass(frozen=True)
class Said:
    """What a serving student says of n images.

    Attributes:
        own_class: int64 (n,), in its own numbering.
        score: float32 (n,).
        deferred: bool (n,).
    """

    own_class: np.ndarray
    score: np.ndarray
    deferred: np.ndarray


class ServingStudent:
    """A student and when it answers.

    Responsible for its answers and for whether it fits a stream that it has not served lately. Not for asking the
    teacher, nor for training.

    Args:
        network: uint8 images -> logits; no longer trained.
        classes: the teacher's class of each of its logits.
        score: fitted.
        threshold: for this score.
        references: float32 (m,), scores of calibration images, ascending.

    Attributes:
        network: as given.
        classes: int64 (student's classes,).
        threshold: as given.
    """

    def __init__(
        self,
        network: tf.keras.Model,
        classes: np.ndarray,
        score: OutlierScore,
        threshold: Threshold,
        references: np.ndarray,
    ) -> None:
        self.network, self.classes, self.threshold = network, classes, threshold
        self._score, self._references = score, references
        self._observer, self._scored = Observer(network), _traced(score, network)

    def said(self, images: np.ndarray) -> Said:
        """Returns its classes, scores and decisions for uint8 images (n, height, width, 3), n > 0."""
        outputs = self._observer(images)
        own_class, score = outputs.logits.argmax(axis=-1), self._scored(outputs.logits, outputs.features).numpy()
        return Said(own_class, score, is_deferred(score, own_class, self.threshold.values))

    def outscored(self, score: np.ndarray) -> np.ndarray:
        """Returns the share of calibration images with a higher score, float64 (n,) in 0..1."""
        return 1 - np.searchsorted(self._references, score, side="right") / len(self._references)

    def fits(self, shown: Shown) -> bool:
        """Returns whether it serves these images as well as those that its threshold was chosen on.

        Our choice: neither of two one-sided exact binomial tests may refute it at 1 %. Its coverage is as large as it
        was on the calibration images; and its disagreement with the teacher, among the images that it answers, is as
        promised.

        Args:
            shown: n > 0 images of the stream as it is now.
        """
        said = self.said(shown.images)
        answered = ~said.deferred
        disagreeing = answered & (self.classes[said.own_class] != shown.teacher_class)
        count = int(answered.sum())
        epsilon = self.threshold.options["epsilon"]
        is_covering = stats.binom.cdf(count, len(answered), self.threshold.coverage) >= _FITS
        is_agreeing = stats.binom.sf(int(disagreeing.sum()) - 1, count, epsilon) >= _FITS
        return bool(count and is_covering and is_agreeing)

    def snapshot(self) -> dict[str, Any]:
        """Returns all that `restored` needs as plain values and arrays, without a network's graph."""
        return {
            "weights": self.network.get_weights(),
            "classes": self.classes,
            "score": {"name": self._score.name, "options": self._score.options, "fitted": self._score.fitted},
            "threshold": self.threshold.as_dict(),
            "references": self._references,
        }

    @classmethod
    def restored(cls, snapshot: Mapping[str, Any], build: Build) -> ServingStudent:
        """Returns the student that `snapshot` was taken of."""
        network = build(len(snapshot["classes"]))
        network.set_weights(snapshot["weights"])
        written = snapshot["score"]
        score = outlier_score(written["name"], written["options"])
        score.fitted = written["fitted"]
        threshold = Threshold.from_dict(snapshot["threshold"])
        return cls(network, snapshot["classes"], score, threshold, snapshot["references"])


def serving_student(
    network: tf.keras.Model,
    classes: np.ndarray,
    choosing: Shown,
    promising: Shown,
    teacher_classes: int,
    epsilon: float,
    confidence: float,
    delta: float,
) -> ServingStudent:
    """Returns a trained student with a score that is fitted and a threshold that is chosen by risk.

    The first of the default scores that applies is taken; see `deferral.rules` for the threshold, which may defer
    everything.

    Args:
        network: trained.
        classes: int64 (student's classes,).
        choosing: images on which the score is fitted, at least one; never trained on, in random order.
        promising: other such images, at least one, on which the threshold is chosen. The promise holds only if nothing
            about the student was chosen on them.
        teacher_classes: number of the teacher's classes.
        epsilon: largest disagreement promised.
        confidence: of the promise.
        delta: largest chance that it is wrong on this try, at most 1 - confidence.
    """
    observer = Observer(network)
    pseudo_labels = student_class_of(classes.tolist(), teacher_classes)
    seen = [(_observed(observer, part.images), pseudo_labels[part.teacher_class]) for part in (choosing, promising)]
    outputs, pseudo_label = seen[0]
    # The teacher's probabilities are unknown here: where the two differ, the regret is the most that it can be.
    score = fitted_default_score(outputs, pseudo_label, (outputs.logits.argmax(axis=-1) != pseudo_label).astype("f"))
    scored = _traced(score, network)
    fitting, calibration = (
        HeldBack.of(scored(outputs.logits, outputs.features).numpy(), outputs.logits.argmax(axis=-1), pseudo_label)
        for outputs, pseudo_label in seen
    )
    threshold = chosen_threshold(
        "risk", fitting, calibration, len(classes), delta=delta, epsilon=epsilon, confidence=confidence
    )
    references = np.sort(calibration.score)
    return ServingStudent(network, classes, score, threshold, references[:: -(-len(references) // _MOST_REFERENCES)])


def _observed(observer: Observer, images: np.ndarray) -> Outputs:
    return Outputs.concatenated([observer(images[i : i + _BATCH]) for i in range(0, len(images), _BATCH)])


def _traced(score: OutlierScore, network: tf.keras.Model) -> Callable[[np.ndarray, np.ndarray], tf.Tensor]:
    """Returns a score as a function of logits and features, traced once."""
    return traced_function(lambda *said: score(*said), network.outputs[0], network.layers[-1].input)
