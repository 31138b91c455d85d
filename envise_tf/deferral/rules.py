"""What a deferral threshold promises: the rules accuracy, risk, recall and rate.

The student answers an image when its score reaches the threshold (of the class that it predicts); otherwise the image
is deferred to the teacher. A rule states what the threshold promises of further images of the same stream, with
confidence 1 - delta:

- accuracy: the cascade's answers are right at most a share epsilon of all images less often than the teacher's;
- risk: among the images that the student answers, it disagrees with the teacher on at most a share epsilon;
- recall: the student answers at least a share r of the inliers, that is, of the images that the teacher puts in one
  of the student's classes;
- rate: at most a share q of all images is deferred.

The confidence is over the draw of the held-back images: of 100 thresholds chosen afresh, about 100 delta at most break
their promise. All images are taken to be drawn independently from one law. Once the stream's classes or its share of
outliers have changed, nothing is promised until a threshold is chosen again.

The held-back images come in two parts. The choosing part is for everything that is chosen: when a training stops, which
trial of a sweep wins, what a score is fitted on, and here the candidates. The promising part is looked at once, for the
promise itself, by a test that would not hold on images that anything has been chosen by.

A rule that cannot make its promise, for want of images or of agreement, defers everything and says why. For accuracy
and risk there is no other choice. For recall and rate, answering everything would keep the letter of the promise but
let every outlier through; deferring costs time, never accuracy (our choice).
"""

from __future__ import annotations

import abc
import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from scipy import special

from envise_tf.deferral.bounds import BOUNDS
from envise_tf.deferral.held_back import HeldBack
from envise_tf.deferral.regret import accuracy_threshold
from envise_tf.errors import UserError, nearest_names

CANDIDATES = 50
"""Candidates for risk are this many quantiles, evenly spaced (our choice): one for every 2 % of coverage. More of them
reach no further, as each is one more chance to stop the walk by bad luck."""

_PSEUDO_DEPTH = 4
"""The pseudo-disagreement is among the answered images with chance c^4 at coverage c (our choice)."""

_LEAST_COVERAGE = 0.1
"""Where no promise about accuracy can be made, the advice is for one that lets the student answer this share of the
images (our choice): less saves nothing that is worth having."""

_MOST_TRIALS = 10_000
"""A promise that takes more images than this is called out of reach."""


@dataclass(frozen=True)
class Rule(abc.ABC):
    """What a threshold promises, and how it is chosen so that the promise holds.

    Responsible for one threshold over the images it is given. Does not know of classes.

    Args:
        confidence: 1 - delta, in (0, 1).

    Raises:
        UserError: an option that is a share is no number above 0 and below 1.
    """

    figure: ClassVar[str]
    """What the promise bounds, for reports."""
    is_upper_bound: ClassVar[bool]
    """Whether the figure is promised to be at most the bound; otherwise at least."""
    supposition: ClassVar[str | None] = None
    """What the promise supposes beside images like the stream's, as the end of a sentence."""

    confidence: float = 0.95

    def __post_init__(self) -> None:
        for option in (field.name for field in dataclasses.fields(self) if field.type == "float"):
            value = getattr(self, option)
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
    def terms(self, held_back: HeldBack, answered: np.ndarray) -> np.ndarray:
        """Returns what the figure is the mean of, bool or float (m,), 0..1: one for each image that it is about.

        Args:
            held_back: n images.
            answered: bool (n,), whether the student answers.
        """

    @abc.abstractmethod
    def threshold(self, choosing: HeldBack, promising: HeldBack, delta: float) -> tuple[float, str | None]:
        """Returns the threshold and None, or +inf and why no threshold can make the promise.

        Args:
            choosing: images that anything may have been chosen by.
            promising: images that nothing has been chosen by.
            delta: largest chance of breaking the promise, here in place of 1 - confidence.
        """

    @abc.abstractmethod
    def images_needed(self, choosing: HeldBack, promising: HeldBack, delta: float) -> int | None:
        """Returns about how many promising images would make the promise, were they like these; None: no number would.

        Args:
            choosing: as in `threshold`, like the next two.
            promising: at least one.
            delta: largest chance of breaking the promise.
        """


@dataclass(frozen=True)
class Accuracy(Rule):
    """The largest coverage at which the student's answers cost at most epsilon of accuracy, over all images.

    What an answer costs is its regret, by the teacher's probabilities: no label is needed, but the promise is worth as
    much as they are. `regret.accuracy_threshold` says how the threshold is chosen and why the promise holds. The
    choosing part has no say in it.

    The promising images are taken in a random order (by a fixed seed), as the betting bound asks for: a folder may list
    them class by class.

    Args:
        epsilon: in (0, 1).
        bound: upper confidence bound of the mean cost: "betting", the tighter one where most costs are 0, or
            "hoeffding_bentkus".
    """

    figure: ClassVar[str] = "accuracy lost"
    is_upper_bound: ClassVar[bool] = True
    supposition: ClassVar[str | None] = "as far as the teacher's probabilities are right"
    epsilon: float = 0.01
    bound: str = "betting"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.bound not in BOUNDS:
            raise UserError(f"deferral rule: no bound is called {self.bound}: {nearest_names(str(self.bound), BOUNDS)}")

    @property
    def promised(self) -> float:
        return self.epsilon

    @property
    def statement(self) -> str:
        return f"answers are right at most {as_percent(self.epsilon)} less often than the teacher's"

    def terms(self, held_back: HeldBack, answered: np.ndarray) -> np.ndarray:
        return held_back.regret * answered

    def threshold(self, choosing: HeldBack, promising: HeldBack, delta: float) -> tuple[float, str | None]:
        if not len(promising):
            return math.inf, "there is no image in the promising part: hold back more images"
        shuffled = promising.where(np.random.default_rng(0).permutation(len(promising)))
        chosen = accuracy_threshold(shuffled.score, shuffled.regret, self.epsilon, delta, BOUNDS[self.bound])
        return chosen, self._why(choosing, promising, delta) if math.isinf(chosen) else None

    def images_needed(self, choosing: HeldBack, promising: HeldBack, delta: float) -> int | None:
        costs = np.random.default_rng(0).permutation(self.terms(promising, _highest(promising.score)))

        def is_enough(images: int) -> bool:
            return bool(BOUNDS[self.bound](np.resize(costs, images), self.epsilon, delta))

        few, enough = 0, _MOST_TRIALS
        if not is_enough(enough):
            return None
        while enough - few > 1:
            middle = (few + enough) // 2
            few, enough = (few, middle) if is_enough(middle) else (middle, enough)
        return enough

    def _why(self, choosing: HeldBack, promising: HeldBack, delta: float) -> str:
        answered = _highest(promising.score)
        lost = float(self.terms(promising, answered).mean())
        needed = self.images_needed(choosing, promising, delta)
        cure = "no number of such images would: train the student longer, or allow a larger loss"
        if needed is not None:
            cure = f"about {needed:,} such images would: hold back more, or allow a larger loss"
        return (
            f"answering the {answered.sum()} of {len(promising)} promising images with the highest scores is expected "
            f"to lose {100 * lost:.2g} % of accuracy, which does not show at most {as_percent(self.epsilon)} with "
            f"confidence {as_percent(1 - delta)}; {cure}"
        )


@dataclass(frozen=True)
class Risk(Rule):
    """The largest coverage at which the disagreement among answered images is at most epsilon.

    Fixed-sequence testing (Angelopoulos et al. 2021, "Learn then Test"; selective prediction after Geifman and
    El-Yaniv 2017). The choosing part gives the candidates: quantiles of its scores. The promising part tests them. For
    a candidate t with m answered promising images and k disagreements among them, "the disagreement R(t) is above
    epsilon" is rejected when

        P(Bin(m, epsilon) <= k) <= delta

    The tests begin at the candidate that looks most certain on the choosing part and walk to larger coverage, up to the
    first that is not rejected. The last rejected one is the threshold.

    The start (our choice) has the smallest tail there, with m and k scaled to the number of promising images and one
    pseudo-disagreement added, which is the likelier among the answered ones the larger the coverage c: c^4 is added to
    k. Without it a choosing part in which both networks always agree, as a small one may by luck, would have the walk
    begin at the largest coverage of all. A start that answers too few images would fail for that alone, so candidates
    are left out whose expected m, less two standard deviations, could not be accepted without any disagreement; if that
    leaves none, the walk begins at the largest coverage. In simulations with 80 promising images and epsilon 5 % the
    promise was made a third more often than without; from some 300 on there was no difference.

    Why its promise holds: a candidate is fixed before the promising images are looked at, so given m, k is the number
    of events in m independent draws of chance R(t), and a candidate with R(t) > epsilon is rejected with chance at most
    delta. Take the first such candidate of the walk. The walk ends before it or has to pass it, so no threshold with
    R > epsilon is chosen unless this very one is rejected. Hence the chance of that is at most delta in all, for any
    number of candidates, and R need not rise with coverage.

    Why the promising part's own order statistics would not do as candidates: they move with the images that test them.
    Which candidate is the first bad one then depends on those images, the image at the threshold is always among the
    answered, and k given m is no longer binomial. The same goes for a start chosen where the promising part looks best.

    Scores of the choosing part may look better than they are, since a score that is trained to predict agreement has
    seen these images. The start is then too bold and may fail where a more careful one would have passed: that costs
    coverage, never the promise.

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
            f"{as_percent(self.epsilon)}"
        )

    def terms(self, held_back: HeldBack, answered: np.ndarray) -> np.ndarray:
        return ~held_back.agrees[answered]

    def threshold(self, choosing: HeldBack, promising: HeldBack, delta: float) -> tuple[float, str | None]:
        candidates = self._walk(choosing, len(promising), delta)
        if not len(candidates):
            return math.inf, "there is no image in the choosing part, so there is no candidate threshold"
        disagreeing, answered = _counts_at(promising, candidates)
        is_rejected = binomial_tail(disagreeing, answered, self.epsilon) <= delta
        if not is_rejected[0]:
            return math.inf, self._why(choosing, promising, delta)
        return float(candidates[np.logical_and.accumulate(is_rejected).sum() - 1]), None

    def images_needed(self, choosing: HeldBack, promising: HeldBack, delta: float) -> int | None:
        start = self._walk(choosing, len(promising), delta)[:1]
        if not len(start):
            return None
        disagreeing, answered = (int(count[0]) for count in _counts_at(promising, start))
        if not answered:
            return None
        trials = np.arange(1, _MOST_TRIALS + 1)
        enough = np.flatnonzero(binomial_tail(disagreeing / answered * trials, trials, self.epsilon) <= delta)
        return math.ceil(trials[enough[0]] * len(promising) / answered) if len(enough) else None

    def _walk(self, choosing: HeldBack, images: int, delta: float) -> np.ndarray:
        """Returns the candidates in the order in which `images` promising images test them."""
        candidates = candidate_thresholds(choosing.score)
        return candidates[self._most_certain(choosing, candidates, images, delta) :] if len(candidates) else candidates

    def _most_certain(self, choosing: HeldBack, candidates: np.ndarray, images: int, delta: float) -> int:
        """Returns the index of the candidate that `images` images like the choosing part's would most surely accept.

        Our choice; see the class.
        """
        scale = images / len(choosing)
        disagreeing, answered = _counts_at(choosing, candidates)
        share, trials = answered / len(choosing), scale * answered
        pseudo = share**_PSEUDO_DEPTH
        tails = binomial_tail(np.minimum(scale * disagreeing + pseudo, trials), trials, self.epsilon)
        # Both parts are samples, so the number of answered images has the variance of a difference of two shares.
        deviation = np.sqrt(trials * (1 - share) * (1 + scale))
        has_enough = trials - 2 * deviation >= least_images(self.epsilon, delta)
        return int(np.argmin(np.where(has_enough, tails, math.inf))) if has_enough.any() else len(candidates) - 1

    def _why(self, choosing: HeldBack, promising: HeldBack, delta: float) -> str:
        start = self._walk(choosing, len(promising), delta)[0]
        answered = promising.score >= start
        disagreeing, count = int(self.terms(promising, answered).sum()), int(answered.sum())
        foreign = int(np.sum(answered & ~promising.is_inlier))
        needed = self.images_needed(choosing, promising, delta)
        cure = "no number of such images would: train the student longer, or allow more disagreement"
        if needed is not None:
            cure = f"about {needed:,} such images would: hold back more, or allow more disagreement"
        not_learned = f" ({foreign} of a class that it has not learned)" if foreign else ""
        return (
            f"at the threshold that looks most certain the student answers {count} of {len(promising)} promising "
            f"images and disagrees with the teacher on {disagreeing} of them{not_learned}, which does not show at most "
            f"{as_percent(self.epsilon)} with confidence {as_percent(1 - delta)}; {cure}"
        )


@dataclass(frozen=True)
class Recall(Rule):
    """The largest threshold at which at least a share `recall` of the inliers is answered; see `_tolerance_limit`.

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
        return f"the student answers at least {as_percent(self.recall)} of the inlier images"

    def terms(self, held_back: HeldBack, answered: np.ndarray) -> np.ndarray:
        return answered[held_back.is_inlier]

    def threshold(self, choosing: HeldBack, promising: HeldBack, delta: float) -> tuple[float, str | None]:
        return _tolerance_limit(promising.score[promising.is_inlier], 1 - self.recall, delta, "inlier images")

    def images_needed(self, choosing: HeldBack, promising: HeldBack, delta: float) -> int | None:
        inliers = int(promising.is_inlier.sum())
        return math.ceil(least_images(1 - self.recall, delta) * len(promising) / inliers) if inliers else None


@dataclass(frozen=True)
class Rate(Rule):
    """The largest threshold at which at most a share `rate` of all images is deferred; see `_tolerance_limit`.

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
        return f"at most {as_percent(self.rate)} of the images are deferred to the teacher"

    def terms(self, held_back: HeldBack, answered: np.ndarray) -> np.ndarray:
        return ~answered

    def threshold(self, choosing: HeldBack, promising: HeldBack, delta: float) -> tuple[float, str | None]:
        return _tolerance_limit(promising.score, self.rate, delta, "images")

    def images_needed(self, choosing: HeldBack, promising: HeldBack, delta: float) -> int | None:
        return least_images(self.rate, delta)


RULES: dict[str, type[Rule]] = {"accuracy": Accuracy, "risk": Risk, "recall": Recall, "rate": Rate}


def deferral_rule(name: str, options: Mapping[str, Any]) -> Rule:
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


def flawless_images(rule: str, options: Mapping[str, Any], delta: float) -> int:
    """Returns how many images without any disagreement it takes to make a rule's promise with confidence 1 - delta.

    Raises:
        UserError: more than can be.
    """
    flawless = HeldBack.of(np.zeros(1), np.zeros(1), np.zeros(1))
    needed = deferral_rule(rule, options).images_needed(flawless, flawless, delta)
    if needed is None:
        raise UserError(
            f"--epsilon {options['epsilon']:g} given: no number of images shows so little; give a larger one"
        )
    return needed


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


def least_images(chance: float, delta: float) -> int:
    """Returns the fewest trials without an event that refute a chance as large as this: (1 - chance)^m <= delta.

    Args:
        chance: in (0, 1).
        delta: in (0, 1).
    """
    return math.ceil(math.log(delta) / math.log1p(-chance))


def _highest(scores: np.ndarray) -> np.ndarray:
    """Returns which images have the highest scores, a share `_LEAST_COVERAGE` and those of equal score, bool (n,)."""
    return scores >= np.quantile(scores, 1 - _LEAST_COVERAGE, method="higher")


def candidate_thresholds(scores: np.ndarray) -> np.ndarray:
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

    Or +inf and why there is none. A one-sided tolerance limit (Wilks 1941). With the m scores in question ascending,
    let s_(k) be the k-th. Whatever their law, the share of further images that score below s_(k) is at most U_(k), the
    k-th of m uniform numbers (and equal to it where there are no ties), and U_(k) ~ Beta(k, m - k + 1), so

        P(share below s_(k) <= q) >= P(U_(k) <= q) = P(Bin(m, q) >= k)

    k is the largest for which this is at least 1 - delta. Such a threshold looks at no agreement, so the choosing part
    has no say in it.
    """
    # P(Bin(m, share) >= k) >= 1 - delta for k = 1, 2, ... as long as P(Bin(m, share) <= k - 1) <= delta.
    rank = int(np.sum(binomial_tail(np.arange(len(scores)), np.full(len(scores), len(scores)), share) <= delta))
    if rank:
        return float(np.sort(scores)[rank - 1]), None
    return math.inf, (
        f"there are {len(scores)} {about} in the promising part; this promise with confidence {as_percent(1 - delta)} "
        f"takes at least {least_images(share, delta)}: hold back more images"
    )


def as_percent(share: float) -> str:
    """Returns a share in 0..1 as a percentage of at most six digits, such as 97.5 %."""
    return f"{100 * share:.6g} %"
