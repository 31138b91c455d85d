"""The deferral threshold and its guarantee, chosen on held-back stream images without labels.

The student answers an image when its score reaches the threshold (of the class it predicts); else the image is
deferred to the teacher. A rule says what the threshold promises of further images of the same stream, with confidence
1 - delta:

- risk: among the images that the student answers, it disagrees with the teacher on at most a share epsilon;
- recall: the student answers at least a share r of the inliers, that is of the images which the teacher puts in one
  of the student's classes;
- rate: at most a share q of all images is deferred.

The confidence is over the draw of the held-back images: of 100 thresholds chosen afresh, about 100 delta at most break
the promise. It supposes that all images are drawn independently and from one law. After the stream's classes or its
share of outliers have changed, nothing is promised until a threshold is chosen again.

Recall and rate. With the m scores in question (of the inliers, or of all) ascending, the threshold is the k-th, s_(k).
Whatever the law of the scores, the share of further images that score below it is at most U_(k), the k-th of m uniform
numbers (and equal to it where there are no ties), and U_(k) ~ Beta(k, m - k + 1), so

    P(share below s_(k) <= q) >= P(U_(k) <= q) = P(Bin(m, q) >= k)

(Wilks 1941; q = 1 - r for recall). k is the largest for which this is at least 1 - delta: a one-sided tolerance limit.
Such a threshold looks at no agreement, so the fitting part below has no say in it.

Risk. Fixed-sequence testing (Angelopoulos et al. 2021, "Learn then Test"; selective prediction after Geifman and
El-Yaniv 2017). The held-back images come in two parts. The fitting part, on which a score that needs fitting is fitted,
gives the candidates: quantiles of its scores. The calibration part tests them. For a candidate t with m answered
calibration images and k disagreements among them, "the disagreement R(t) is above epsilon" is rejected when

    P(Bin(m, epsilon) <= k) <= delta

The tests begin at the candidate that looks most certain on the fitting part (smallest tail there, with m and k scaled
to the number of calibration images) and walk to larger coverage, up to the first that is not rejected. The last
rejected one is the threshold.

Why the promise holds for it: a candidate is fixed before the calibration images are looked at, so given m, k is the
number of events in m independent draws of chance R(t), and a candidate with R(t) > epsilon is rejected with chance at
most delta. Take the first such candidate of the walk. The walk ends before it or has to pass it, so no threshold with
R > epsilon is chosen unless this very one is rejected. Hence the chance of that is at most delta in all, for any number
of candidates, and R need not rise with coverage.

Why the calibration part's own order statistics would not do as candidates: they move with the images that test them.
Which candidate is the first bad one then depends on those images, the image at the threshold is always among the
answered, and k given m is no longer binomial. The same goes for a start chosen where the calibration part looks best.

Scores of the fitting part may look better than they are, as a score that is trained to predict agreement has seen
these images. The start is then too bold and may fail where a more careful one had passed: that costs coverage, never
the promise.

A rule that cannot make its promise, for want of images or of agreement, defers everything and says why. For risk that
is the only choice. For recall and rate, answering everything would keep the letter of the promise, but it would let
every outlier through; deferring costs time, never accuracy (our choice).
"""

from __future__ import annotations

import abc
import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy import special, stats

from envise_tf.errors import UserError, nearest_names

CANDIDATES = 50
"""Candidates for risk are this many quantiles, evenly spaced (our choice): one for every 2 % of coverage. More of them
reach no further, as each is one more chance to stop the walk by bad luck."""


@dataclass(frozen=True)
class HeldBack:
    """What student and teacher say of n images that neither was trained on. No label is among it.

    Attributes:
        score: float32 (n,), finite, larger = more inlier.
        student_class: int64 (n,), what the student predicts, in its own numbering.
        agrees: bool (n,), whether that is the class the teacher predicts.
        is_inlier: bool (n,), whether the teacher predicts one of the student's classes.

    Raises:
        UserError: the lengths differ, a score is not finite, or an image agrees and is no inlier.
    """

    score: np.ndarray
    student_class: np.ndarray
    agrees: np.ndarray
    is_inlier: np.ndarray

    def __post_init__(self) -> None:
        for name, kind in (("score", np.float32), ("student_class", np.int64), ("agrees", bool), ("is_inlier", bool)):
            object.__setattr__(self, name, np.asarray(getattr(self, name), kind))
        shapes = [getattr(self, field.name).shape for field in dataclasses.fields(self)]
        if len(set(shapes)) > 1 or len(shapes[0]) != 1:
            raise UserError(f"score, student_class, agrees and is_inlier have shapes {shapes}: expected (n,) each")
        if not np.isfinite(self.score).all():
            raise UserError(
                f"{np.sum(~np.isfinite(self.score))} of {len(self)} held-back scores are not finite: expected numbers; "
                "look at the score's input, or leave these images out"
            )
        if (self.agrees & ~self.is_inlier).any():
            raise UserError(
                "an image agrees but is no inlier: where student and teacher agree, the class is the student's"
            )

    def __len__(self) -> int:
        return len(self.score)

    @classmethod
    def of(cls, score: np.ndarray, student_class: np.ndarray, pseudo_label: np.ndarray) -> HeldBack:
        """Returns the images as the teacher sees them: `pseudo_label` is int64 (n,), -1 for what the student lacks."""
        return cls(score, student_class, student_class == pseudo_label, pseudo_label >= 0)

    def where(self, chosen: np.ndarray) -> HeldBack:
        """Returns the chosen images.

        Args:
            chosen: bool (n,), or integer indices.
        """
        return HeldBack(self.score[chosen], self.student_class[chosen], self.agrees[chosen], self.is_inlier[chosen])


@dataclass(frozen=True)
class Rule(abc.ABC):
    """What a threshold promises, and how it is chosen so that the promise holds.

    Responsible for one threshold over the images it is given. Does not know of classes.

    Args:
        confidence: 1 - delta, in (0, 1).
    """

    figure: ClassVar[str]
    """What the promise bounds, for reports."""
    is_upper_bound: ClassVar[bool]
    """Whether the figure is promised to be at most so large, or else at least."""

    confidence: float = 0.95

    def __post_init__(self) -> None:
        for option, value in dataclasses.asdict(self).items():
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1:
                raise UserError(f"deferral rule: {option} is {value!r}, expected a share above 0 and below 1")

    @property
    @abc.abstractmethod
    def promised(self) -> float:
        """The bound on the figure, in 0..1."""

    @property
    @abc.abstractmethod
    def statement(self) -> str:
        """The promise in words, without its confidence."""

    @abc.abstractmethod
    def counts(self, held_back: HeldBack, answered: np.ndarray) -> tuple[int, int]:
        """Returns how many images the figure counts and how many it is a share of, given bool (n,) `answered`."""

    @abc.abstractmethod
    def threshold(self, fitting: HeldBack, calibration: HeldBack, delta: float) -> tuple[float, str | None]:
        """Returns the threshold and None, or +inf and why no threshold can make the promise.

        Args:
            fitting: images that a fitted score may have seen.
            calibration: images that it has not.
            delta: largest chance to break the promise, here in place of 1 - confidence.
        """


@dataclass(frozen=True)
class Risk(Rule):
    """The largest coverage for which the disagreement among answered images is at most epsilon.

    Args:
        epsilon: in (0, 1).
    """

    figure: ClassVar[str] = "disagreement"
    is_upper_bound: ClassVar[bool] = True
    epsilon: float = 0.05

    @property
    def promised(self) -> float:
        return self.epsilon

    @property
    def statement(self) -> str:
        return (
            "among the images that the student answers it disagrees with the teacher on at most "
            f"{_percent(self.epsilon)}"
        )

    def counts(self, held_back: HeldBack, answered: np.ndarray) -> tuple[int, int]:
        return int(np.sum(answered & ~held_back.agrees)), int(np.sum(answered))

    def threshold(self, fitting: HeldBack, calibration: HeldBack, delta: float) -> tuple[float, str | None]:
        candidates = _candidates(fitting.score)
        if not len(candidates):
            return math.inf, "there is no image in the fitting part, so there is no candidate threshold"
        candidates = candidates[self._most_certain(fitting, candidates, len(calibration)) :]
        disagreeing, answered = _counts_at(calibration, candidates)
        is_rejected = binomial_tail(disagreeing, answered, self.epsilon) <= delta
        if not is_rejected[0]:
            return math.inf, self._why(int(disagreeing[0]), int(answered[0]), len(calibration), delta)
        return float(candidates[np.logical_and.accumulate(is_rejected).sum() - 1]), None

    def _most_certain(self, fitting: HeldBack, candidates: np.ndarray, images: int) -> int:
        """Returns the index of the candidate that `images` images like the fitting part's would reject most clearly."""
        scale = images / len(fitting)
        disagreeing, answered = _counts_at(fitting, candidates)
        tails = binomial_tail(scale * disagreeing, scale * answered, self.epsilon)
        return int(np.flatnonzero(tails == tails.min())[-1])

    def _why(self, disagreeing: int, answered: int, images: int, delta: float) -> str:
        # The fewest trials among which so few events refute "chance above epsilon": P(trials needed > m) <= delta.
        needed = stats.nbinom.isf(delta, disagreeing + 1, self.epsilon) + disagreeing + 1
        agreeing = math.ceil(math.log(delta) / math.log1p(-self.epsilon))
        return (
            f"at the threshold that looks most certain the student answers {answered} of {images} calibration images "
            f"and disagrees with the teacher on {disagreeing} of them; at most {_percent(self.epsilon)} with "
            f"confidence {_percent(1 - delta)} takes at least {agreeing} answered images without any disagreement, "
            f"or {needed:.0f} with {disagreeing}: hold back more images, train the student longer or allow more "
            "disagreement"
        )


@dataclass(frozen=True)
class Recall(Rule):
    """The largest threshold at which at least a share `recall` of the inliers is answered.

    Args:
        recall: in (0, 1).
    """

    figure: ClassVar[str] = "recall"
    is_upper_bound: ClassVar[bool] = False
    recall: float = 0.95

    @property
    def promised(self) -> float:
        return self.recall

    @property
    def statement(self) -> str:
        return f"the student answers at least {_percent(self.recall)} of the inlier images"

    def counts(self, held_back: HeldBack, answered: np.ndarray) -> tuple[int, int]:
        return int(np.sum(answered & held_back.is_inlier)), int(np.sum(held_back.is_inlier))

    def threshold(self, fitting: HeldBack, calibration: HeldBack, delta: float) -> tuple[float, str | None]:
        return _tolerance_limit(calibration.score[calibration.is_inlier], 1 - self.recall, delta, "inlier images")


@dataclass(frozen=True)
class Rate(Rule):
    """The largest threshold at which at most a share `rate` of all images is deferred.

    Args:
        rate: in (0, 1).
    """

    figure: ClassVar[str] = "deferral rate"
    is_upper_bound: ClassVar[bool] = True
    rate: float = 0.2

    @property
    def promised(self) -> float:
        return self.rate

    @property
    def statement(self) -> str:
        return f"at most {_percent(self.rate)} of the images are deferred to the teacher"

    def counts(self, held_back: HeldBack, answered: np.ndarray) -> tuple[int, int]:
        return int(np.sum(~answered)), len(held_back)

    def threshold(self, fitting: HeldBack, calibration: HeldBack, delta: float) -> tuple[float, str | None]:
        return _tolerance_limit(calibration.score, self.rate, delta, "images")


RULES: dict[str, type[Rule]] = {"risk": Risk, "recall": Recall, "rate": Rate}


def deferral_rule(name: str, options: Mapping[str, float]) -> Rule:
    """Returns the rule of that name with these options.

    Raises:
        UserError: unknown rule or option, or a value out of its range.
    """
    if name not in RULES:
        raise UserError(f"no deferral rule is called {name}: {nearest_names(name, RULES)}")
    known = [field.name for field in dataclasses.fields(RULES[name])]
    for option in options:
        if option not in known:
            raise UserError(f"deferral rule {name} has no option {option}: {nearest_names(option, known)}")
    return RULES[name](**options)


def binomial_tail(events: np.ndarray, trials: np.ndarray, chance: float) -> np.ndarray:
    """Returns P(Bin(trials, chance) <= events), by the incomplete beta function, which takes fractional counts too.

    Args:
        events: (n,) >= 0, at most `trials`.
        trials: (n,) >= 0.
        chance: in (0, 1).
    """
    others = np.asarray(trials, np.float64) - events
    tails = special.betainc(np.where(others > 0, others, 1), np.add(events, 1), 1 - chance)
    return np.where(others > 0, tails, 1.0)


def _candidates(scores: np.ndarray) -> np.ndarray:
    """Returns distinct thresholds, float32 (at most CANDIDATES,), descending and so of ascending coverage.

    The last is the smallest score, not -inf: an image that scores below all that were ever seen is deferred.
    """
    if not len(scores):
        return scores
    return np.unique(np.quantile(scores, np.arange(CANDIDATES) / CANDIDATES, method="inverted_cdf"))[::-1]


def _counts_at(held_back: HeldBack, thresholds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the disagreements and the answered images at each of these thresholds, int64 (thresholds,)."""
    order = np.argsort(held_back.score)
    below = np.searchsorted(held_back.score[order], thresholds)
    disagreements = np.concatenate([[0], np.cumsum(~held_back.agrees[order])])
    return disagreements[-1] - disagreements[below], len(held_back) - below


def _tolerance_limit(scores: np.ndarray, share: float, delta: float, about: str) -> tuple[float, str | None]:
    """Returns the largest order statistic with at most `share` of the law below it, but for a chance delta.

    Or +inf and why there is none.
    """
    # P(Bin(m, share) >= k) >= 1 - delta for k = 1, 2, ... as long as P(Bin(m, share) <= k - 1) <= delta.
    rank = int(np.sum(binomial_tail(np.arange(len(scores)), np.full(len(scores), len(scores)), share) <= delta))
    if rank:
        return float(np.sort(scores)[rank - 1]), None
    needed = math.ceil(math.log(delta) / math.log1p(-share))
    return math.inf, (
        f"there are {len(scores)} {about} in the calibration part; this promise with confidence {_percent(1 - delta)} "
        f"takes at least {needed}: hold back more images"
    )


def _percent(share: float) -> str:
    return f"{100 * share:.6g} %"
