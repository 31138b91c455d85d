"""Whether the promise of a threshold holds on other images than those it was chosen on."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from envise_tf.deferral.bounds import upper_bound
from envise_tf.deferral.cascade import is_deferred
from envise_tf.deferral.held_back import HeldBack
from envise_tf.deferral.rules import Accuracy, deferral_rule
from envise_tf.deferral.threshold import Threshold, check_classes


@dataclass(frozen=True)
class Kept:
    """Whether a promise holds on other images, shares in 0..1.

    Attributes:
        figure: what was promised: "accuracy lost", "disagreement", "recall" or "deferral rate".
        promised: its bound; None where everything is deferred, so that nothing is promised.
        is_upper_bound: whether the figure is to be at most `promised`; otherwise at least.
        measured: the figure on these images; None where it counts no image.
        lower: smallest figure that the images do not refute at the threshold's confidence, one-sided: by Clopper and
            Pearson where the figure counts images, by the betting bound of `bounds` where it is a mean; a loss in -1..1
            is brought to 0..1 by (loss + 1) / 2 for it.
        upper: the largest one, likewise.
        images: how many images the figure is a share or a mean of.
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

    @property
    def verdict(self) -> str:
        """The promise is "kept" where it holds, "refuted", or else "not decided"."""
        return "kept" if self.holds else "refuted" if self.refuted else "not decided"

    def as_dict(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "verdict": self.verdict}


def estimated(threshold: Threshold, promising: HeldBack) -> float | None:
    """Returns the promised figure on the images of the promise, a little hopeful; None where it counts no image.

    Args:
        threshold: of `chosen_threshold`.
        promising: the images that it was chosen on.
    """
    terms = deferral_rule(threshold.rule, threshold.options).terms(promising, _answered(threshold, promising))
    return float(terms.mean()) if len(terms) else None


def kept(threshold: Threshold, test: HeldBack, lost: np.ndarray | None = None) -> Kept:
    """Returns whether the threshold's promise holds on other images of the same stream.

    "The same stream" includes its share of outliers: images with more of them refute a promise that was never made.
    A promise per class implies the pooled one checked here; for a single class give its images alone, and expect
    by chance one class in 20 refuted at confidence 95 %. Classes that are always deferred are left out.

    Args:
        threshold: of `chosen_threshold`.
        test: n images that had no part in choosing it.
        lost: float (n,), -1..1, 1{teacher right} - 1{student right} of labelled images: what the rule accuracy is held
            against, which otherwise is the regret, and as good as the teacher's probabilities. Other rules have no use
            for it.

    Raises:
        UserError: a class that the threshold does not have.
    """
    rule = deferral_rule(threshold.rule, threshold.options)
    check_classes(test, len(threshold.values))
    has_promise = np.isfinite(threshold.values)
    is_meant = has_promise[test.student_class]
    test = test.where(is_meant)
    answered = _answered(threshold, test)
    if isinstance(rule, Accuracy) and lost is not None:
        terms = np.asarray(lost, np.float64)[is_meant] * answered
        lower, upper = (2 * side - 1 for side in _one_sided_bounds((terms + 1) / 2, 1 - rule.confidence))
    else:
        terms = rule.terms(test, answered)
        lower, upper = _one_sided_bounds(terms, 1 - rule.confidence)
    measured = float(terms.mean()) if len(terms) else None
    within = measured is None or (measured <= rule.promised if rule.is_upper_bound else measured >= rule.promised)
    return Kept(
        figure=rule.figure,
        promised=rule.promised if has_promise.any() else None,
        is_upper_bound=rule.is_upper_bound,
        measured=measured,
        lower=lower,
        upper=upper,
        images=len(terms),
        holds=within,
        refuted=lower > rule.promised if rule.is_upper_bound else upper < rule.promised,
    )


def _answered(threshold: Threshold, held_back: HeldBack) -> np.ndarray:
    return ~is_deferred(held_back.score, held_back.student_class, threshold.values)


def _one_sided_bounds(terms: np.ndarray, delta: float) -> tuple[float, float]:
    """Returns a lower and an upper bound for the mean of terms, bool or float (n,) in 0..1."""
    if not len(terms):
        return 0.0, 1.0
    if terms.dtype == bool:
        sides = (stats.binomtest(int(terms.sum()), len(terms), alternative=side) for side in ("greater", "less"))
        low, high = (side.proportion_ci(1 - delta, "exact") for side in sides)
        return float(low.low), float(high.high)
    # The betting bound asks for a random order.
    shuffled = np.random.default_rng(0).permutation(terms)
    return 1 - float(upper_bound(1 - shuffled, delta)), float(upper_bound(shuffled, delta))
