"""The deferral threshold, chosen on held-back stream images by a rule, and whether its promise is kept elsewhere."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from envise_tf.deferral.cascade import is_deferred
from envise_tf.deferral.rules import HeldBack, Rule, _percent, deferral_rule
from envise_tf.errors import UserError

FITTING_EVERY = 3
"""One held-back image in three fits the scores, the others choose the threshold (our choice: most scores have little
to fit, while the guarantee takes at least 59 images at its defaults)."""


@dataclass(frozen=True)
class Threshold:
    """A threshold, what it promises, and what it did on the images it was chosen on.

    Attributes:
        values: float32 (classes,), one for each class that the student predicts; +inf where that class is always
            deferred. All equal unless chosen per class.
        rule: the name of its rule.
        options: the rule's options.
        promise: the promise in one sentence.
        coverage: share of the calibration images that the student answers; a little hopeful, like the next.
        disagreement: share of these on which it disagrees with the teacher; None where it answers none.
        why_all_deferred: why every image is deferred, where that is so.
    """

    values: np.ndarray
    rule: str
    options: dict[str, float]
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


def fitting_part(images: int) -> np.ndarray:
    """Returns which of `images` held-back images scores are fitted on, bool (images,); the others calibrate."""
    return np.arange(images) % FITTING_EVERY == 0


def chosen_threshold(
    rule: str,
    fitting: HeldBack,
    calibration: HeldBack,
    classes: int,
    per_class: bool = False,
    **options: float,
) -> Threshold:
    """Returns the threshold that makes the rule's promise; takes milliseconds.

    Args:
        rule: "risk", "recall" or "rate".
        fitting: held-back images; those on which a fitted score was fitted.
        calibration: other held-back images.
        classes: number of the student's classes.
        per_class: a threshold for each class that the student predicts, each with confidence 1 - delta / classes
            (Bonferroni), so that the promise holds for all of them at once. It takes many images: of every class
            at least log(delta / classes) / log(1 - epsilon), 117 for 20 classes and the defaults.
        options: of the rule: epsilon (risk), recall (recall), rate (rate); confidence. See `Risk`, `Recall`, `Rate`.

    Raises:
        UserError: unknown rule or option, a value out of its range, or a class that the student does not have.
    """
    kind = deferral_rule(rule, options)
    for part in (fitting, calibration):
        _check_classes(part, classes)
    delta = 1 - kind.confidence
    if per_class:
        chosen = [
            kind.threshold(_of_class(fitting, student_class), _of_class(calibration, student_class), delta / classes)
            for student_class in range(classes)
        ]
    else:
        chosen = [kind.threshold(fitting, calibration, delta)] * classes
    values = np.array([value for value, _ in chosen], np.float32)
    answered = ~is_deferred(calibration.score, calibration.student_class, values)
    disagreeing, count = int(np.sum(answered & ~calibration.agrees)), int(np.sum(answered))
    return Threshold(
        values=values,
        rule=rule,
        options=dataclasses.asdict(kind),
        promise=_promise(kind, values, per_class),
        coverage=count / max(len(calibration), 1),
        disagreement=disagreeing / count if count else None,
        why_all_deferred=_why_all_deferred(values, [why for _, why in chosen], per_class),
    )


def threshold_on(held_back: HeldBack, rule: str, classes: int, per_class: bool = False, **options: float) -> Threshold:
    """Returns the threshold that `chosen_threshold` chooses on held-back images, cut by `fitting_part`.

    Args:
        held_back: all of them, in their order.
        rule: see there, as the next three.
        classes: number of the student's classes.
        per_class: a threshold for each class that the student predicts.
        options: of the rule.

    Raises:
        UserError: see there.
    """
    is_fitting = fitting_part(len(held_back))
    return chosen_threshold(
        rule, held_back.where(is_fitting), held_back.where(~is_fitting), classes, per_class, **options
    )


@dataclass(frozen=True)
class Kept:
    """Whether a promise holds on other images, shares in 0..1.

    Attributes:
        figure: what was promised: "disagreement", "recall" or "deferral rate".
        promised: its bound; None where everything is deferred and so nothing is promised.
        is_upper_bound: whether the figure shall be at most `promised`, or else at least.
        measured: the figure on these images; None where it counts no image.
        lower: least figure that the images do not refute at the threshold's confidence (Clopper-Pearson, one-sided).
        upper: the largest such.
        images: how many images the figure is a share of.
        holds: whether `measured` is within the promise; also true where there is nothing to measure.
        refuted: whether even `lower` (or for a promised least share, `upper`) breaks the promise. A promise that
            neither holds nor is refuted was missed by no more than chance explains.
    """

    figure: str
    promised: float | None
    is_upper_bound: bool
    measured: float | None
    lower: float
    upper: float
    images: int
    holds: bool
    refuted: bool


def kept(threshold: Threshold, test: HeldBack) -> Kept:
    """Returns whether the threshold's promise holds on other images of the same stream.

    "The same stream" includes its share of outliers: images with more of them refute a promise that was never made.
    A promise per class implies the pooled one checked here; for a single class give its images alone, and expect
    by chance one class in 20 refuted at confidence 95 %. Classes that are always deferred are left out.

    Args:
        threshold: of `chosen_threshold`.
        test: images that had no part in choosing it.

    Raises:
        UserError: a class that the threshold does not have.
    """
    rule = deferral_rule(threshold.rule, threshold.options)
    _check_classes(test, len(threshold.values))
    has_promise = np.isfinite(threshold.values)
    test = test.where(has_promise[test.student_class])
    count, images = rule.counts(test, ~is_deferred(test.score, test.student_class, threshold.values))
    lower, upper = _one_sided_bounds(count, images, rule.confidence)
    measured = count / images if images else None
    within = measured is None or (measured <= rule.promised if rule.is_upper_bound else measured >= rule.promised)
    return Kept(
        figure=rule.figure,
        promised=rule.promised if has_promise.any() else None,
        is_upper_bound=rule.is_upper_bound,
        measured=measured,
        lower=lower,
        upper=upper,
        images=images,
        holds=within,
        refuted=lower > rule.promised if rule.is_upper_bound else upper < rule.promised,
    )


def _one_sided_bounds(count: int, images: int, confidence: float) -> tuple[float, float]:
    if not images:
        return 0.0, 1.0
    bounds = [
        stats.binomtest(count, images, alternative=side).proportion_ci(confidence, "exact")
        for side in ("greater", "less")
    ]
    return float(bounds[0].low), float(bounds[1].high)


def _of_class(held_back: HeldBack, student_class: int) -> HeldBack:
    return held_back.where(held_back.student_class == student_class)


def _check_classes(held_back: HeldBack, classes: int) -> None:
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
    return f"{rule.statement}{scope}, with confidence {_percent(rule.confidence)}"


def _why_all_deferred(values: np.ndarray, reasons: list[str | None], per_class: bool) -> str | None:
    if np.isfinite(values).any():
        return None
    return (
        f"no class of {len(values)} can have a threshold; class 0, for example: {reasons[0]}"
        if per_class
        else reasons[0]
    )
