"""The deferral threshold: one value for each class of the student, chosen on held-back stream images by a rule."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from envise_tf.deferral.bounds import BOUNDS
from envise_tf.deferral.cascade import is_deferred
from envise_tf.deferral.held_back import HeldBack
from envise_tf.deferral.labelled import LabelledAnswers, ShiftWeights, labelled_threshold
from envise_tf.deferral.rules import Accuracy, Rule, as_percent, candidate_thresholds, deferral_rule
from envise_tf.errors import UserError
from envise_tf.images.holding_back import CHOOSING_EVERY


@dataclass(frozen=True)
class Threshold:
    """A threshold, what it promises, and what it did on the images it was chosen on.

    Attributes:
        values: float32 (classes,), one for each class that the student predicts; +inf where that class is always
            deferred. All equal unless chosen per class.
        rule: the name of its rule.
        options: the rule's options.
        promise: the promise in one sentence.
        coverage: share of the promising images that the student answers; a little hopeful, like the next.
        disagreement: share of these on which it disagrees with the teacher; None where it answers none.
        why_all_deferred: why every image is deferred, where that is so.
    """

    values: np.ndarray
    rule: str
    options: dict[str, Any]
    promise: str
    coverage: float
    disagreement: float | None
    why_all_deferred: str | None

    def as_dict(self) -> dict[str, Any]:
        """Returns plain values for JSON, which has no infinity: null stands for a class that is always deferred."""
        values = [float(value) if np.isfinite(value) else None for value in self.values]
        return {**vars(self), "values": values, "options": dict(self.options)}

    @classmethod
    def from_dict(cls, written: Mapping[str, Any]) -> Threshold:
        """Returns the threshold that `as_dict` has written.

        Raises:
            UserError: a key is missing or unknown, or a value is none that `as_dict` writes.
        """
        keys = [field.name for field in dataclasses.fields(cls)]
        if set(written) != set(keys):
            raise UserError(f"a threshold with the keys {', '.join(written)}: expected {', '.join(keys)}")
        deferral_rule(written["rule"], written["options"])
        try:
            values = np.array([math.inf if value is None else value for value in written["values"]], np.float32)
        except (TypeError, ValueError) as error:
            raise UserError(f"threshold values {written['values']!r}: expected a list of numbers and null") from error
        return cls(**{**written, "values": values, "options": dict(written["options"])})


def chosen_threshold(
    rule: str,
    choosing: HeldBack,
    promising: HeldBack,
    classes: int,
    per_class: bool = False,
    delta: float | None = None,
    **options: Any,
) -> Threshold:
    """Returns the threshold that makes the rule's promise; takes milliseconds.

    Args:
        rule: "accuracy", "risk", "recall" or "rate".
        choosing: held-back images that anything may have been chosen by, such as the score's fit.
        promising: held-back images that nothing has been chosen by; look at them once.
        classes: number of the student's classes, at least 1.
        per_class: a threshold for each class that the student predicts, each with confidence 1 - delta / classes
            (Bonferroni), so that the promise holds for all of them at once. It takes many images of every class: for
            risk at least log(delta / classes) / log(1 - epsilon), 117 for 20 classes and the defaults.
        delta: largest chance of breaking the promise here, where it is tried more than once and all tries together are
            to keep its confidence; None for 1 - confidence.
        options: of the rule: epsilon and bound (accuracy), epsilon (risk), recall (recall), rate (rate); confidence.
            See `Accuracy`, `Risk`, `Recall`, `Rate`.

    Raises:
        UserError: unknown rule or option, a value out of its range, or a class that the student does not have.
    """
    kind = deferral_rule(rule, options)
    if classes < 1:
        raise UserError(f"a student of {classes} classes: expected at least 1")
    for part in (choosing, promising):
        check_classes(part, classes)
    delta = 1 - kind.confidence if delta is None else delta
    if not 0 < delta <= 1 - kind.confidence + 1e-12:
        raise UserError(f"delta {delta}: expected more than 0 and at most 1 - confidence, {1 - kind.confidence:.6g}")
    if per_class:
        chosen = [
            kind.threshold(_of_class(choosing, student_class), _of_class(promising, student_class), delta / classes)
            for student_class in range(classes)
        ]
    else:
        chosen = [kind.threshold(choosing, promising, delta)] * classes
    values = np.array([value for value, _ in chosen], np.float32)
    why = _why_all_deferred(values, [why for _, why in chosen], per_class)
    return _threshold(rule, kind, values, promising, _promise(kind, values, per_class), why)


def threshold_by_labels(
    choosing: HeldBack,
    promising: HeldBack,
    labelled: LabelledAnswers,
    weights: ShiftWeights,
    classes: int,
    delta: float,
    **options: Any,
) -> Threshold | None:
    """Returns the threshold whose true loss labelled images bound, by the rule accuracy; None where they bound none.

    Nothing is supposed of the teacher's probabilities. See `labelled_threshold` for why the promise holds.

    Args:
        choosing: held-back images, whose scores give the candidates.
        promising: held-back images, for how much is answered; they have no say in the threshold.
        labelled: of n > 0 images of elsewhere.
        weights: `ShiftWeights.of` their labels.
        classes: number of the student's classes.
        delta: largest chance of breaking the promise.
        options: of `Accuracy`.

    Raises:
        UserError: an option unknown or out of its range.
    """
    kind = deferral_rule("accuracy", options)
    assert isinstance(kind, Accuracy)
    candidates, bound = candidate_thresholds(choosing.score), BOUNDS[kind.bound]
    value = labelled_threshold(candidates, labelled, weights, kind.epsilon, delta, bound)
    if math.isinf(value):
        return None
    values = np.full(classes, value, np.float32)
    promise = (
        f"{kind.statement}, with confidence {as_percent(kind.confidence)}, by {len(labelled):,} labelled images, as "
        "far as images of a class look alike there and on the stream"
    )
    return _threshold("accuracy", kind, values, promising, promise, None)


def threshold_on(held_back: HeldBack, rule: str, classes: int, per_class: bool = False, **options: Any) -> Threshold:
    """Returns the threshold that `chosen_threshold` chooses on held-back images that are not parted yet.

    Every third image is for choosing, the others are for the promise.

    Args:
        held_back: all of them, in random order.
        rule: as in `chosen_threshold`, like the next three.
        classes: number of the student's classes.
        per_class: a threshold for each class that the student predicts.
        options: of the rule.

    Raises:
        UserError: as in `chosen_threshold`.
    """
    is_choosing = np.arange(len(held_back)) % CHOOSING_EVERY == 0
    return chosen_threshold(
        rule, held_back.where(is_choosing), held_back.where(~is_choosing), classes, per_class, **options
    )


def _threshold(
    rule: str, kind: Rule, values: np.ndarray, promising: HeldBack, promise: str, why_all_deferred: str | None
) -> Threshold:
    """Returns a threshold with what it does on the promising images."""
    answered = ~is_deferred(promising.score, promising.student_class, values)
    disagreeing, count = int(np.sum(answered & ~promising.agrees)), int(np.sum(answered))
    return Threshold(
        values=values,
        rule=rule,
        options=dataclasses.asdict(kind),
        promise=promise,
        coverage=count / max(len(promising), 1),
        disagreement=disagreeing / count if count else None,
        why_all_deferred=why_all_deferred,
    )


def _of_class(held_back: HeldBack, student_class: int) -> HeldBack:
    return held_back.where(held_back.student_class == student_class)


def check_classes(held_back: HeldBack, classes: int) -> None:
    """Raises a UserError where the student predicts a class outside 0 to classes - 1."""
    outside = held_back.student_class[(held_back.student_class < 0) | (held_back.student_class >= classes)]
    if len(outside):
        raise UserError(f"the student predicts class {outside[0]}, expected 0 to {classes - 1}: its own numbering")


def _promise(rule: Rule, values: np.ndarray, per_class: bool) -> str:
    kept_classes = np.isfinite(values).sum()
    if not kept_classes:
        return "nothing of the student: every image is deferred to the teacher"
    scope = ""
    if per_class:
        scope = f", in each of the {kept_classes} classes that it may answer ({len(values)} in all), all at once"
    promise = f"{rule.statement}{scope}, with confidence {as_percent(rule.confidence)}"
    return promise if rule.supposition is None else f"{promise}, {rule.supposition}"


def _why_all_deferred(values: np.ndarray, reasons: list[str | None], per_class: bool) -> str | None:
    if np.isfinite(values).any():
        return None
    return (
        f"no class of {len(values)} can have a threshold; class 0, for example: {reasons[0]}"
        if per_class
        else reasons[0]
    )
