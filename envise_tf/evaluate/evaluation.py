"""What an evaluation knows of a run, and the figures that follow from it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from envise_tf.deferral.cascade import is_deferred
from envise_tf.deferral.held_back import HeldBack
from envise_tf.deferral.held_back_images import HeldBackImages
from envise_tf.deferral.labelled import LabelledAnswers, true_loss_bound
from envise_tf.deferral.promise import Kept, estimated, kept
from envise_tf.deferral.rules import Rule, as_percent, deferral_rule
from envise_tf.deferral.scores.score import OutlierScore
from envise_tf.deferral.threshold import Threshold
from envise_tf.distillation.distiller import student_class_of
from envise_tf.evaluate.attention import Attention
from envise_tf.evaluate.labelled import weights_on
from envise_tf.evaluate.test_pass import Examination, Examiner
from envise_tf.measures.equal_accuracy import ALLOWED_LOSSES, EqualAccuracy, gie_at_equal_accuracy
from envise_tf.measures.gie import AdaptationWork, break_even, gie, gie_total, speedup
from envise_tf.measures.operating_points import Curve, OperatingPoint, curve, expected_curve, operating_point
from envise_tf.measures.outlier_metrics import outlier_metrics
from envise_tf.measures.separation import scatter_ratio, silhouette
from envise_tf.networks.macs import Macs
from envise_tf.prior.calibration import Reliability, reliability
from envise_tf.runs.finished import FinishedRun

OUTLIER_RATES = (0.01, 0.05, 0.1, 0.2)

REPORTED_RATE = 0.05
"""The outlier rate of figures that show one rate only."""

_SERVED = (10_000, 100_000, 1_000_000)
"""Numbers of served images for which the gain is given with the adaptation charged."""

COMPARED_LOSS = 0.01
"""Scores are compared by the largest GiE that costs no more than this share of accuracy."""


@dataclass(frozen=True)
class Costs:
    """What the networks cost.

    Attributes:
        student: its multiply-accumulates.
        teacher: the teacher's.
        adaptation: how often both ran to make the student.
        milliseconds: per image in batches of 64, by network, measured here with Keras.
    """

    student: Macs
    teacher: Macs
    adaptation: AdaptationWork
    milliseconds: dict[str, float]


@dataclass(frozen=True)
class LabelledPromise:
    """What labelled images of elsewhere promise of a threshold.

    Attributes:
        most_lost: accuracy that the cascade loses on the stream at most, see `deferral.labelled`.
        confidence: in 0..1.
        images: how many there are.
    """

    most_lost: float
    confidence: float
    images: int

    @property
    def statement(self) -> str:
        """The promise in one sentence, with what it supposes."""
        return (
            f"by {self.images:,} labelled images, answers are right at most {100 * self.most_lost:.1f} % less often "
            f"than the teacher's, with confidence {as_percent(self.confidence)}, as far as images of a class look "
            "alike there and on the stream"
        )


@dataclass(frozen=True)
class Evaluation:
    """All that a report shows.

    Attributes:
        finished: the run.
        choosing: the held-back images that scores were fitted on.
        promising: those that the promises were tested on.
        score: the name of the score that decides.
        scores: fitted, by name.
        not_applicable: why a score is missing, by name.
        seen: the choosing and the promising images as each score sees them, by name.
        thresholds: of every score, by the same rule.
        per_class: whether each class has a threshold of its own.
        labelled: answers on labelled images of elsewhere; None where there are none, or the prior is unknown.
        is_by_labels: whether it is these that the chosen score's threshold was chosen by.
        costs: what the networks cost.
        shows_photographs: whether the report may show images.
        examiner: gives test images for pictures; None where there are no labels.
        examination: what is known of the test images; None where there are no labels.
    """

    finished: FinishedRun
    choosing: HeldBackImages
    promising: HeldBackImages
    score: str
    scores: dict[str, OutlierScore]
    not_applicable: dict[str, str]
    seen: dict[str, tuple[HeldBack, HeldBack]]
    thresholds: dict[str, Threshold]
    per_class: bool
    labelled: LabelledAnswers | None
    is_by_labels: bool
    costs: Costs
    shows_photographs: bool
    examiner: Examiner | None
    examination: Examination | None

    @property
    def threshold(self) -> Threshold:
        """The threshold that the cascade serves with."""
        return self.thresholds[self.score]

    def deferred(self, score: str) -> np.ndarray:
        """Returns which test images are deferred by this score and its own threshold, bool (n,)."""
        examination = self._examination()
        return is_deferred(examination.scores[score], examination.own_class, self.thresholds[score].values)

    def point(self, score: str, outlier_rate: float) -> OperatingPoint:
        """Returns what the cascade reaches with this score and its own threshold."""
        predictions = self._examination().predictions
        return operating_point(predictions, self.deferred(score), outlier_rate, *self.flops)

    def curve(self, score: str, outlier_rate: float) -> Curve:
        """Returns what the cascade reaches with every threshold of this score."""
        examination = self._examination()
        return curve(examination.predictions, examination.scores[score], outlier_rate, *self.flops)

    @functools.cached_property
    def equal_accuracy(self) -> dict[float, dict[str, EqualAccuracy]]:
        """What the cascade could save at equal accuracy, by outlier rate and teacher."""
        examination = self._examination()
        predictions, score = examination.predictions, examination.scores[self.score]
        return {
            rate: gie_at_equal_accuracy(predictions, score, examination.teachers, rate, *self.flops)
            for rate in self.rates
        }

    @functools.cached_property
    def reliability(self) -> dict[str, Reliability]:
        """How often each teacher and the student are right where they are so sure, on the inlier test images."""
        examination = self._examination()
        predictions = examination.predictions
        inlier, truth = ~predictions.is_outlier, predictions.truth
        answers = {**examination.teachers, "student": predictions.student_class}
        return {
            name: reliability(examination.confidence[name][inlier], (predicted == truth)[inlier])
            for name, predicted in answers.items()
        }

    @property
    def flops(self) -> tuple[float, float]:
        """FLOPs an image of student and teacher."""
        return self.costs.student.flops, self.costs.teacher.flops

    @property
    def rates(self) -> tuple[float, ...]:
        """The outlier rates of all tables; just 0 where no test image is an outlier."""
        return OUTLIER_RATES if self._examination().predictions.is_outlier.any() else (0.0,)

    @property
    def reported_rate(self) -> float:
        """The outlier rate of figures that show one alone."""
        return REPORTED_RATE if REPORTED_RATE in self.rates else self.rates[0]

    @property
    def served_deferral_rate(self) -> float:
        """Share of the promising images, which are those of the stream, that the cascade would defer."""
        return 1 - self.threshold.coverage

    @property
    def served_gie(self) -> float:
        """Gain in efficiency at that deferral rate."""
        return float(gie(1, self.served_deferral_rate, *self.flops))

    @property
    def rule(self) -> Rule:
        """What the threshold promises."""
        return deferral_rule(self.threshold.rule, self.threshold.options)

    @property
    def class_names(self) -> Sequence[str]:
        """The teacher's."""
        return self.finished.job.teacher.class_names

    @functools.cached_property
    def attention(self) -> Attention:
        """Attention maps of both networks."""
        return Attention(self.finished) if self.examiner is None else self.examiner.attention

    @functools.cached_property
    def promising_deferred(self) -> np.ndarray:
        """Which of the promising images are deferred, bool (n,)."""
        seen = self.seen[self.score][1]
        return is_deferred(seen.score, seen.student_class, self.threshold.values)

    def expected_curve(self, score: str) -> Curve:
        """Returns what the cascade is expected to reach on the stream with every threshold of this score."""
        promising = self.promising
        return expected_curve(promising.confidence, promising.regret, self.seen[score][1].score, *self.flops)

    @functools.cached_property
    def expected_accuracy(self) -> float:
        """The accuracy that the cascade is expected to have on the stream, 0..1, at the chosen threshold."""
        return float((self.promising.confidence - self.promising.regret * ~self.promising_deferred).mean())

    @functools.cached_property
    def promise_estimated(self) -> float | None:
        """The promised figure on the images of the promise, without labels."""
        return estimated(self.threshold, self.seen[self.score][1])

    @functools.cached_property
    def labelled_promise(self) -> LabelledPromise | None:
        """What the labelled images promise of the chosen threshold; None where there are none."""
        adaptation = self.finished.adaptation
        if self.labelled is None or adaptation is None:
            return None
        confidence, values = self.threshold.options["confidence"], self.threshold.values[np.newaxis]
        most = true_loss_bound(values, self.labelled, weights_on(adaptation, self.labelled), 1 - confidence)
        return LabelledPromise(float(most[0]), confidence, len(self.labelled))

    @functools.cached_property
    def promise_kept(self) -> Kept:
        """Whether the promise of the chosen threshold holds on the inlier test images, by their labels."""
        examination = self._examination()
        predictions = examination.predictions
        inlier = ~predictions.is_outlier
        own_class_of = student_class_of(self.finished.teacher_classes, self.finished.job.teacher.classes)
        seen = HeldBack.of(
            examination.scores[self.score], examination.own_class, own_class_of[predictions.teacher_class]
        )
        return kept(self.threshold, seen.where(inlier), predictions.lost[inlier])

    def _examination(self) -> Examination:
        assert self.examination is not None, "figures on test images need labels"
        return self.examination


def figures(evaluation: Evaluation) -> dict[str, Any]:
    """Returns what result.json holds of an evaluation; plain values, null for what does not exist."""
    promise = evaluation.labelled_promise
    values: dict[str, Any] = {
        "score": evaluation.score,
        "held_back": {"choosing": len(evaluation.choosing), "promising": len(evaluation.promising)},
        "agreement": {
            "all": evaluation.promising.agreement,
            "of_its_classes": evaluation.promising.agreement_of_its_classes,
        },
        "threshold": evaluation.threshold.as_dict(),
        "estimated": evaluation.promise_estimated,
        "labelled": None if promise is None else dataclasses.asdict(promise),
        "is_by_labels": evaluation.is_by_labels,
        "work": _work_figures(evaluation),
        "not_applicable": evaluation.not_applicable,
    }
    if evaluation.examination is not None:
        values |= _tested_figures(evaluation, evaluation.examination)
    return values


def _work_figures(evaluation: Evaluation) -> dict[str, Any]:
    costs = evaluation.costs
    student, teacher = evaluation.flops
    deferral_rate, gain = evaluation.served_deferral_rate, evaluation.served_gie
    adaptation = costs.adaptation.flops(costs.student, costs.teacher)
    return {
        **{
            name: {
                "float_macs": macs.float_macs,
                "binary_macs": macs.binary_macs,
                "flops": macs.flops,
                "uncounted": list(macs.uncounted),
                "milliseconds": costs.milliseconds[name],
            }
            for name, macs in (("student", costs.student), ("teacher", costs.teacher))
        },
        "stream": {
            "deferral_rate": deferral_rate,
            "gie": gain,
            "speedup": float(speedup(gain)),
            "gie_measured_in_keras": float(gie(1, deferral_rate, *costs.milliseconds.values())),
        },
        "adaptation": {
            **dataclasses.asdict(costs.adaptation),
            "flops": adaptation,
            "break_even_images": _finite(float(break_even(gain, teacher, adaptation))),
            "gie_total_after": {
                str(n): float(gie_total(n, deferral_rate * n, student, teacher, adaptation)) for n in _SERVED
            },
        },
    }


def _tested_figures(evaluation: Evaluation, examination: Examination) -> dict[str, Any]:
    predictions = examination.predictions
    inlier = ~predictions.is_outlier
    agrees = predictions.student_class == predictions.teacher_class
    return {
        "test": {
            "inliers": int(inlier.sum()),
            "outliers": int(predictions.is_outlier.sum()),
            "agreement": float(agrees[inlier].mean()),
        },
        "promise": evaluation.promise_kept.as_dict(),
        "calibration": {
            name: {"error": found.calibration_error, "overconfidence": found.overconfidence}
            for name, found in evaluation.reliability.items()
        },
        "equal_accuracy": {str(rate): _equal_figures(found) for rate, found in evaluation.equal_accuracy.items()},
        "rates": [evaluation.point(evaluation.score, rate).as_dict() for rate in evaluation.rates],
        "scores": {name: _score_figures(evaluation, examination, name) for name in evaluation.scores},
        "separation": _separation_figures(examination),
        "localisation": {name: dataclasses.asdict(found) for name, found in examination.localisation.items()},
    }


def _equal_figures(found: Mapping[str, EqualAccuracy]) -> dict[str, Any]:
    """Returns the figures at one outlier rate, by teacher; GiE and its standard error by the loss allowed."""
    return {
        teacher: {
            "accuracy": against.accuracy,
            "accuracy_standard_error": against.accuracy_standard_error,
            "gie": dict(zip(map(str, ALLOWED_LOSSES), map(_finite, against.gie.tolist()), strict=True)),
            "gie_standard_error": dict(
                zip(map(str, ALLOWED_LOSSES), map(_finite, against.gie_standard_error.tolist()), strict=True)
            ),
        }
        for teacher, against in found.items()
    }


def _score_figures(evaluation: Evaluation, examination: Examination, name: str) -> dict[str, Any]:
    """Returns the outlier metrics of a score, its cascade, and the GiE that it reaches at equal accuracy."""
    score, is_outlier = examination.scores[name], examination.predictions.is_outlier
    metrics = {}
    if is_outlier.any() and not is_outlier.all():
        metrics = outlier_metrics(score[~is_outlier], score[is_outlier], REPORTED_RATE)
    points = {rate: evaluation.point(name, rate) for rate in evaluation.rates}
    return {
        **metrics,
        "gie": {str(rate): point.gie for rate, point in points.items()},
        "gie_at_equal_accuracy": {
            str(rate): evaluation.curve(name, rate).best_gie(point.accuracy_teacher - COMPARED_LOSS)
            for rate, point in points.items()
        },
    }


def _separation_figures(examination: Examination) -> dict[str, float | None]:
    """Returns how well the features of the inliers separate, by true class; null where there is only one class."""
    rows = examination.feature_rows
    inlier = ~examination.predictions.is_outlier[rows] & (examination.predictions.truth[rows] >= 0)
    features, truth = examination.features[inlier], examination.predictions.truth[rows][inlier]
    if not 1 < len(np.unique(truth)) < len(truth):
        return {"scatter_ratio": None, "silhouette": None}
    return {"scatter_ratio": scatter_ratio(features, truth), "silhouette": silhouette(features, truth)}


def _finite(number: float) -> float | None:
    """Returns the number, or None for infinity and NaN, which JSON does not have."""
    return number if np.isfinite(number) else None
