"""A student that serves: with its classes, its outlier score and its threshold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from scipy import special, stats

from envise_tf.deferral.cascade import is_deferred
from envise_tf.deferral.held_back import HeldBack
from envise_tf.deferral.labelled import LabelledAnswers, ShiftWeights
from envise_tf.deferral.promise import kept
from envise_tf.deferral.regret import regret
from envise_tf.deferral.scores import OutlierScore, fitted_default_score, outlier_score
from envise_tf.deferral.scores.outputs import Observer, Outputs
from envise_tf.deferral.threshold import Threshold, chosen_threshold, threshold_by_labels
from envise_tf.distillation.distiller import student_class_of
from envise_tf.networks.tracing import traced_function
from envise_tf.prior.adaptation import Adaptation

Build = Callable[[int], tf.keras.Model]
"""Number of classes -> a new student."""

_BATCH = 256
_MOST_REFERENCES = 1000
_FITS = 0.01
"""An earlier student does not fit a stream where its coverage would come with less than this chance if it did."""


class Shown(NamedTuple):
    """Images of a stream and what the teacher says of them.

    Attributes:
        images: uint8 (n, height, width, 3).
        logits: float32 (n, teacher's classes).
    """

    images: np.ndarray
    logits: np.ndarray

    @property
    def teacher_class(self) -> np.ndarray:
        """What the teacher predicts, int64 (n,)."""
        return self.logits.argmax(axis=-1)

    def where(self, chosen: np.ndarray) -> Shown:
        """Returns the chosen images; bool (n,), or integer indices."""
        return Shown(self.images[chosen], self.logits[chosen])


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


class ScoredStudent:
    """A student and its score: what it says of an image, before anything is promised.

    Args:
        network: uint8 images -> logits; no longer trained.
        classes: int64 (student's classes,), the teacher's class of each of its logits.
        score: fitted.

    Attributes:
        network: as given, like the next two.
        classes: likewise.
        score: likewise.
    """

    def __init__(self, network: tf.keras.Model, classes: np.ndarray, score: OutlierScore) -> None:
        self.network, self.classes, self.score = network, classes, score
        self._observer, self._scored = Observer(network), _traced(score, network)

    @classmethod
    def fitted(cls, network: tf.keras.Model, classes: np.ndarray, choosing: Shown) -> ScoredStudent:
        """Returns a student with the first of the default scores that applies, fitted.

        Args:
            network: trained.
            classes: int64 (student's classes,).
            choosing: images on which the score is fitted, at least one, in random order.
        """
        outputs = _observed(Observer(network), choosing.images)
        pseudo_label = student_class_of(classes.tolist(), choosing.logits.shape[-1])[choosing.teacher_class]
        lost = _regret(choosing.logits, classes[outputs.logits.argmax(axis=-1)])
        return cls(network, classes, fitted_default_score(outputs, pseudo_label, lost))

    def said(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns its classes, int64 (n,) in its own numbering, and scores, float32 (n,), of n > 0 uint8 images."""
        outputs = _observed(self._observer, images)
        return outputs.logits.argmax(axis=-1), self._scored(outputs.logits, outputs.features).numpy()

    def seen(self, shown: Shown) -> HeldBack:
        """Returns the images, at least one, as the choice of a threshold sees them."""
        return self.compared(*self.said(shown.images), shown.logits)

    def compared(self, own_class: np.ndarray, score: np.ndarray, logits: np.ndarray) -> HeldBack:
        """Returns what it has said beside what the teacher says of the same images.

        Args:
            own_class: int64 (n,), of `said`, like the next.
            score: float32 (n,).
            logits: float32 (n, teacher's classes).
        """
        pseudo_label = student_class_of(self.classes.tolist(), logits.shape[-1])[logits.argmax(axis=-1)]
        return HeldBack.of(score, own_class, pseudo_label, _regret(logits, self.classes[own_class]))

    def serving(
        self,
        rule: str,
        options: Mapping[str, Any],
        choosing: HeldBack,
        promising: HeldBack,
        delta: float,
        adaptation: Adaptation,
        labelled: LabelledAnswers | None = None,
    ) -> ServingStudent:
        """Returns it with the threshold that keeps a promise, which may defer everything; see `deferral.rules`.

        Where labelled images can bound the accuracy lost they choose the threshold, and else regret does.

        Args:
            rule: which promise.
            options: of the rule.
            choosing: images that anything about the student may have been chosen by.
            promising: images, at least one, that nothing about it was chosen by.
            delta: largest chance that the promise is wrong on this try, at most 1 - confidence; with labelled images
                each of both ways has half of it.
            adaptation: of the teacher, while the images were shown.
            labelled: what both networks answer on labelled images of elsewhere, for the rule accuracy.
        """
        classes, threshold = len(self.classes), None
        if labelled is not None:
            delta /= 2
            weights = ShiftWeights.of(labelled.label, adaptation.lower, adaptation.upper)
            threshold = threshold_by_labels(choosing, promising, labelled, weights, classes, delta, **options)
        if threshold is None:
            threshold = chosen_threshold(rule, choosing, promising, classes, False, delta, **options)
        references = np.sort(promising.score)
        return ServingStudent(self, threshold, references[:: -(-len(references) // _MOST_REFERENCES)], adaptation)


class ServingStudent:
    """A student and when it answers.

    Responsible for its answers and for whether it fits a stream that it has not served lately. Not for asking the
    teacher, nor for training.

    Args:
        scored: the student and its score.
        threshold: for this score.
        references: float32 (m,), scores of calibration images, ascending.
        adaptation: of its teacher.

    Attributes:
        network: uint8 images -> logits.
        classes: int64 (student's classes,), the teacher's class of each.
        threshold: as given, like the next.
        prior: likewise.
    """

    def __init__(
        self, scored: ScoredStudent, threshold: Threshold, references: np.ndarray, adaptation: Adaptation
    ) -> None:
        self._scored, self.threshold, self._references, self.adaptation = scored, threshold, references, adaptation
        self.network, self.classes = scored.network, scored.classes

    def said(self, images: np.ndarray) -> Said:
        """Returns its classes, scores and decisions for uint8 images (n, height, width, 3), n > 0."""
        own_class, score = self._scored.said(images)
        return Said(own_class, score, is_deferred(score, own_class, self.threshold.values))

    def outscored(self, score: np.ndarray) -> np.ndarray:
        """Returns the share of calibration images with a higher score, float64 (n,) in 0..1."""
        return 1 - np.searchsorted(self._references, score, side="right") / len(self._references)

    def compared(self, said: Said, logits: np.ndarray, chosen: np.ndarray) -> HeldBack:
        """Returns what it said of some images beside what the teacher says of them.

        Args:
            said: of n images.
            logits: float32 (m, teacher's classes), of the chosen ones.
            chosen: bool (n,), m of them.
        """
        return self._scored.compared(said.own_class[chosen], said.score[chosen], logits)

    def fits(self, shown: Shown) -> bool:
        """Returns whether it serves these images as well as those that its threshold was chosen on.

        Our choice: its coverage may not be refuted, by a one-sided exact binomial test at 1 %, to be as large as it was
        on the calibration images; nor may its promise be, see `promise.kept`.

        Args:
            shown: n > 0 images of the stream as it is now.
        """
        held_back = self._scored.seen(shown)
        count = int(np.sum(~is_deferred(held_back.score, held_back.student_class, self.threshold.values)))
        is_covering = stats.binom.cdf(count, len(held_back), self.threshold.coverage) >= _FITS
        return bool(count and is_covering and not kept(self.threshold, held_back).refuted)

    def snapshot(self) -> dict[str, Any]:
        """Returns all that `restored` needs as plain values and arrays, without a network's graph."""
        score = self._scored.score
        return {
            "weights": self.network.get_weights(),
            "classes": self.classes,
            "score": score_snapshot(score),
            "threshold": self.threshold.as_dict(),
            "references": self._references,
            "adaptation": self.adaptation.as_dict(),
        }

    @classmethod
    def restored(cls, snapshot: Mapping[str, Any], build: Build) -> ServingStudent:
        """Returns the student that `snapshot` was taken of."""
        network = build(len(snapshot["classes"]))
        network.set_weights(snapshot["weights"])
        scored = ScoredStudent(network, snapshot["classes"], restored_score(snapshot["score"]))
        threshold, adaptation = Threshold.from_dict(snapshot["threshold"]), Adaptation.from_dict(snapshot["adaptation"])
        return cls(scored, threshold, snapshot["references"], adaptation)


def score_snapshot(score: OutlierScore) -> dict[str, Any]:
    """Returns all that `restored_score` needs as plain values and arrays."""
    return {"name": score.name, "options": score.options, "fitted": score.fitted}


def restored_score(snapshot: Mapping[str, Any]) -> OutlierScore:
    """Returns the fitted score that a snapshot was taken of."""
    score = outlier_score(snapshot["name"], snapshot["options"])
    score.fitted = snapshot["fitted"]
    return score


def _regret(logits: np.ndarray, answer: np.ndarray) -> np.ndarray:
    """Returns the regret of answers, int64 (n,) in the teacher's numbering, under its logits: float32 (n,)."""
    return regret(special.softmax(logits.astype(np.float64), axis=-1), answer).astype(np.float32)


def _observed(observer: Observer, images: np.ndarray) -> Outputs:
    return Outputs.concatenated([observer(images[i : i + _BATCH]) for i in range(0, len(images), _BATCH)])


def _traced(score: OutlierScore, network: tf.keras.Model) -> Callable[[np.ndarray, np.ndarray], tf.Tensor]:
    """Returns a score as a function of logits and features, traced once."""
    return traced_function(lambda *said: score(*said), network.outputs[0], network.layers[-1].input)
