"""Thresholds by hand, and their promises over thousands of draws from laws whose true risk is known."""

import dataclasses
import json

import numpy as np
import pytest
from scipy import stats

from envise_tf.deferral.cascade import is_deferred
from envise_tf.deferral.rules import CANDIDATES, HeldBack, binomial_tail, deferral_rule
from envise_tf.deferral.threshold import Kept, Threshold, chosen_threshold, kept
from envise_tf.errors import UserError

EPSILON = DELTA = 0.05
DRAWS = 1500


def held_back(score, agrees=True, student_class=0, is_inlier=True):
    shape = np.shape(score)
    agrees, is_inlier = np.broadcast_to(agrees, shape), np.broadcast_to(is_inlier, shape)
    return HeldBack(score, np.broadcast_to(student_class, shape), agrees, is_inlier)


EMPTY = held_back([])


class Law:
    """Scores uniform in 0..1; from the top, a share `shares[i]` of the images disagrees with chance `chances[i]`."""

    def __init__(self, shares, chances):
        self.edges, self.chances = np.concatenate([[0], np.cumsum(shares)]), np.array(chances)

    def drawn(self, random, n):
        score = random.random(n).astype(np.float32)
        band = np.minimum(np.searchsorted(self.edges, 1 - score, side="right") - 1, len(self.chances) - 1)
        return held_back(score, random.random(n) >= self.chances[band])

    def risk(self, threshold):
        """True disagreement among images that score at least `threshold`."""
        coverage = 1 - min(max(float(threshold), 0.0), 1 - 1e-9)
        lengths = np.diff(np.minimum(self.edges, coverage))
        return lengths @ self.chances / coverage


STEADY = Law([0.6, 0.4], [0.0, 0.2])
"""Disagreement 0.2 (c - 0.6) / c at coverage c: it reaches 5 % at 80 %."""
HUMP = Law([0.1, 0.4, 0.1, 0.4], [0.1, 0.0, 0.3, 0.0])
"""Disagreement 10 % at the very top, 2 % at half, 6.7 % at 60 % and 4 % at all."""


def naive_threshold(calibration, epsilon):
    """The largest coverage whose disagreement on the calibration part itself is at most epsilon."""
    order = np.argsort(-calibration.score)
    share = np.cumsum(~calibration.agrees[order]) / np.arange(1, len(order) + 1)
    within = np.flatnonzero(share <= epsilon)
    return calibration.score[order][within[-1]] if len(within) else np.inf


def most_violations(draws, chance=DELTA):
    """The count that is exceeded by chance once in 10,000 runs of a simulation."""
    return stats.binom.ppf(1 - 1e-4, draws, chance)


# Risk


@pytest.mark.parametrize(("law", "least_coverage"), [(STEADY, 0.7), (HUMP, 0.4)])
def test_risk_breaks_its_promise_no_more_often_than_allowed(law, least_coverage):
    random = np.random.default_rng(1)
    values = []
    for _ in range(DRAWS):
        fitting, calibration = law.drawn(random, 800), law.drawn(random, 800)
        values.append(chosen_threshold("risk", fitting, calibration, 1).values[0])
    broken = [np.isfinite(value) and law.risk(value) > EPSILON for value in values]
    assert np.sum(broken) <= most_violations(DRAWS)
    assert np.mean([np.isfinite(value) * (1 - min(value, 1)) for value in values]) > least_coverage


def test_the_naive_rule_breaks_its_promise_far_more_often():
    random = np.random.default_rng(1)
    broken = [STEADY.risk(naive_threshold(STEADY.drawn(random, 800), EPSILON)) > EPSILON for _ in range(DRAWS)]
    assert np.mean(broken) > 0.4


def test_at_the_edge_risk_breaks_its_promise_just_as_often_as_allowed():
    # Half of the images score 1 and agree; with those that score 0 the disagreement is a hair above epsilon. So the
    # promise is broken exactly when the test of answering everything errs, with a chance known in closed form.
    random, n = np.random.default_rng(3), 1000
    most = np.flatnonzero(stats.binom.cdf(np.arange(n), n, EPSILON) <= DELTA)[-1]
    chance = stats.binom.cdf(most, n, EPSILON * (1 + 1e-9))
    assert 0.04 < chance <= DELTA

    def drawn():
        score = (random.random(n) < 0.5).astype(np.float32)
        return held_back(score, (score == 1) | (random.random(n) >= 2 * EPSILON * (1 + 1e-9)))

    values = np.array([chosen_threshold("risk", drawn(), drawn(), 1).values[0] for _ in range(2 * DRAWS)])
    assert set(values) == {0.0, 1.0}
    low, high = stats.binom.ppf([1e-4, 1 - 1e-4], 2 * DRAWS, chance)
    assert low <= np.sum(values == 0) <= high


def test_optimistic_scores_of_the_fitting_part_cost_coverage_and_never_the_promise():
    random, values = np.random.default_rng(5), []
    for _ in range(DRAWS):
        fitting = STEADY.drawn(random, 400)
        # As a score would that has learned these images by heart: half of the disagreements sink to the bottom.
        sunk = ~fitting.agrees & (random.random(400) < 0.5)
        fitting = held_back(np.where(sunk, 0.01 * fitting.score, fitting.score), fitting.agrees)
        values.append(chosen_threshold("risk", fitting, STEADY.drawn(random, 400), 1).values[0])
    assert np.sum([np.isfinite(value) and STEADY.risk(value) > EPSILON for value in values]) <= most_violations(DRAWS)
    assert np.isinf(values).any()


def test_per_class_the_promise_holds_for_every_class_at_once():
    laws = [STEADY, HUMP, Law([0.8, 0.2], [0.0, 0.5])]
    random, broken, answered = np.random.default_rng(7), 0, np.zeros(3)

    def drawn():
        parts = [law.drawn(random, n) for law, n in zip(laws, random.multinomial(1500, [0.3, 0.3, 0.4]), strict=True)]
        columns = [[getattr(part, name) for part in parts] for name in ("score", "agrees")]
        return held_back(*map(np.concatenate, columns), np.repeat([0, 1, 2], [len(part) for part in parts]))

    for _ in range(1000):
        values = chosen_threshold("risk", drawn(), drawn(), 3, per_class=True).values
        finite = np.isfinite(values)
        broken += any(law.risk(value) > EPSILON for law, value in zip(laws, values, strict=True) if np.isfinite(value))
        answered += finite
    assert broken <= most_violations(1000)
    assert (answered > 300).all()


def test_risk_by_hand():
    # Of 59 images that all agree, 5 % disagreement is just refuted (0.95^59 = 0.0485); of 58 it is not.
    fitting = held_back(np.arange(100.0), np.arange(100) >= 10)
    calibration = held_back(np.arange(1000.0, 1059.0))
    threshold = chosen_threshold("risk", fitting, calibration, 2)
    assert threshold.values.dtype == np.float32
    assert threshold.values.tolist() == [0.0, 0.0]
    assert (threshold.coverage, threshold.disagreement, threshold.why_all_deferred) == (1.0, 0.0, None)
    assert threshold.promise == (
        "among the images that the student answers it disagrees with the teacher on at most 5 %, with confidence 95 %"
    )
    assert threshold.options == {"epsilon": 0.05, "confidence": 0.95}

    short = chosen_threshold("risk", fitting, calibration.where(np.arange(58)), 2)
    assert short.values.tolist() == [np.inf, np.inf]
    assert (short.coverage, short.disagreement) == (0.0, None)
    assert short.promise == "nothing of the student: every image is deferred to the teacher"
    assert short.why_all_deferred == (
        "at the threshold that looks most certain the student answers 58 of 58 calibration images and disagrees with "
        "the teacher on 0 of them; at most 5 % with confidence 95 % takes at least 59 answered images without any "
        "disagreement, or 59 with 0: hold back more images, train the student longer or allow more disagreement"
    )


def test_the_walk_stops_at_the_first_candidate_that_fails():
    # Candidates 0, 2, ..., 98. From the top 1,000 images agree, then 300 disagree at 41.5, then 100,000 agree at 20.
    fitting = held_back(np.arange(1, 101) - 1.0, np.arange(100) >= 60)
    score = np.repeat([99.5, 41.5, 20.0], [1000, 300, 100_000])
    calibration = held_back(score, score != 41.5)
    threshold = chosen_threshold("risk", fitting, calibration, 1)
    assert threshold.values.tolist() == [43.0]
    assert threshold.coverage == pytest.approx(1000 / 101_300)
    # Answering everything would pass a test of its own: the guarantee does not reach that far.
    assert binomial_tail(300, 101_300, EPSILON) < DELTA


def test_the_start_is_where_the_fitting_part_is_most_certain():
    # The student is surely wrong at the very top, so the walk must not begin there.
    fitting = held_back(np.arange(100.0), np.abs(np.arange(100) - 55) < 40)
    calibration = held_back(np.tile(np.arange(100.0), 20), np.tile(fitting.agrees, 20))
    threshold = chosen_threshold("risk", fitting, calibration, 1, epsilon=0.2)
    # From 16 on, 5 of 84 disagree; with the 16 below, 21 of 100.
    assert threshold.values.tolist() == [5.0]
    assert threshold.disagreement == pytest.approx(16 / 95)


def test_equal_scores_go_together():
    assert chosen_threshold("risk", held_back(np.full(9, 2.0)), held_back(np.full(70, 2.0)), 1).values == [2.0]
    agrees = np.arange(70) >= 20
    threshold = chosen_threshold("risk", held_back(np.full(9, 2.0)), held_back(np.full(70, 2.0), agrees), 1)
    assert threshold.values == [np.inf]
    assert "answers 70 of 70 calibration images and disagrees with the teacher on 20" in threshold.why_all_deferred


def test_none_agrees():
    part = held_back(np.arange(50.0), agrees=False)
    threshold = chosen_threshold("risk", part, part, 1)
    assert threshold.values == [np.inf]
    assert threshold.coverage == 0


@pytest.mark.parametrize("disagreeing", [0, 1, 2, 7])
def test_the_reason_names_how_many_images_would_do(disagreeing):
    agrees = np.arange(20) >= disagreeing
    why = chosen_threshold("risk", held_back(np.ones(20)), held_back(np.ones(20), agrees), 1).why_all_deferred
    needed = int(why.split(", or ")[1].split(" with ")[0])
    assert stats.binom.cdf(disagreeing, needed, EPSILON) <= DELTA < stats.binom.cdf(disagreeing, needed - 1, EPSILON)


@pytest.mark.parametrize(
    ("fitting", "calibration", "reason"),
    [
        (EMPTY, held_back(np.ones(100)), "there is no image in the fitting part"),
        (held_back(np.ones(100)), EMPTY, "the student answers 0 of 0 calibration images"),
        (EMPTY, EMPTY, "there is no image in the fitting part"),
    ],
)
def test_without_images_everything_is_deferred(fitting, calibration, reason):
    threshold = chosen_threshold("risk", fitting, calibration, 3)
    assert threshold.values.tolist() == [np.inf] * 3
    assert reason in threshold.why_all_deferred
    assert (threshold.coverage, threshold.disagreement) == (0.0, None)


def test_a_looser_promise_is_never_met_with_less_coverage():
    random = np.random.default_rng(9)
    fitting, calibration = STEADY.drawn(random, 500), STEADY.drawn(random, 500)
    for option, values in (("epsilon", [0.02, 0.05, 0.1, 0.3]), ("confidence", [0.999, 0.95, 0.8, 0.5])):
        coverage = [chosen_threshold("risk", fitting, calibration, 1, **{option: v}).coverage for v in values]
        assert coverage == sorted(coverage)
        assert coverage[0] < coverage[-1]


def test_candidates_come_from_the_fitting_part_alone():
    random = np.random.default_rng(9)
    fitting = STEADY.drawn(random, 300)
    values = {float(chosen_threshold("risk", fitting, STEADY.drawn(random, 900), 1).values[0]) for _ in range(50)}
    assert 3 < len(values) <= CANDIDATES
    assert values <= set(fitting.score.tolist()) | {np.inf}


def test_the_order_of_images_does_not_matter():
    random = np.random.default_rng(9)
    fitting, calibration = STEADY.drawn(random, 300), STEADY.drawn(random, 300)
    shuffled = [part.where(random.permutation(300)) for part in (fitting, calibration)]
    for rule in ("risk", "recall", "rate"):
        assert (
            chosen_threshold(rule, fitting, calibration, 1).as_dict() == chosen_threshold(rule, *shuffled, 1).as_dict()
        )


def test_the_tail_against_scipy():
    events, trials = (grid.ravel() for grid in np.meshgrid(np.arange(30), [29, 60, 1000]))
    np.testing.assert_allclose(
        binomial_tail(events, trials, 0.07), stats.binom.cdf(events, trials, 0.07), rtol=1e-9, atol=1e-15
    )
    assert binomial_tail(np.array([0]), np.array([0]), 0.07) == 1
    # Between whole numbers it rises with the events and falls with the trials.
    assert binomial_tail(2, 60, 0.07) < binomial_tail(2.5, 60, 0.07) < binomial_tail(3, 60, 0.07)
    assert binomial_tail(2, 61, 0.07) < binomial_tail(2, 60.5, 0.07) < binomial_tail(2, 60, 0.07)


# Recall and rate


@pytest.mark.parametrize(("rule", "share"), [("recall", 0.05), ("rate", 0.2)])
def test_recall_and_rate_break_their_promise_just_as_often_as_allowed(rule, share):
    # The true share below a threshold t is t: scores of the images in question are uniform.
    random, n = np.random.default_rng(13), 1000
    is_inlier = np.arange(2 * n) < n
    about = n if rule == "recall" else 2 * n
    rank = np.sum(stats.binom.cdf(np.arange(about), about, share) <= DELTA)
    chance = stats.beta.sf(share, rank, about - rank + 1)
    assert 0.035 < chance <= DELTA
    below = []
    for _ in range(2 * DRAWS):
        score = random.random(2 * n)
        if rule == "recall":
            score[~is_inlier] **= 3  # outliers score lower, and shall not matter
        calibration = held_back(score, is_inlier, is_inlier=is_inlier)
        below.append(chosen_threshold(rule, EMPTY, calibration, 1).values[0])
    low, high = stats.binom.ppf([1e-4, 1 - 1e-4], 2 * DRAWS, chance)
    assert low <= np.sum(np.array(below) > share) <= high


@pytest.mark.parametrize("rule", ["recall", "rate"])
def test_ties_make_recall_and_rate_safer(rule):
    random = np.random.default_rng(13)
    share = {"recall": 0.05, "rate": 0.2}[rule]
    values = [chosen_threshold(rule, EMPTY, held_back(random.integers(0, 11, 300)), 1).values[0] for _ in range(DRAWS)]
    # Scores 0 to 10 are equally likely, so a share t / 11 lies below t.
    assert np.sum(np.array(values) / 11 > share) <= most_violations(DRAWS)
    assert len(set(values)) == (1 if rule == "recall" else 2)


@pytest.mark.parametrize(("images", "rank"), [(59, 1), (92, 1), (93, 2), (123, 2), (124, 3)])
def test_recall_takes_the_order_statistics_of_wilks(images, rank):
    score = np.random.default_rng(1).permutation(images) + 1.0
    calibration = held_back(np.concatenate([score, np.zeros(500)]), False, is_inlier=np.arange(images + 500) < images)
    threshold = chosen_threshold("recall", EMPTY, calibration, 2)
    assert threshold.values.tolist() == [rank, rank]
    assert threshold.coverage == pytest.approx((images - rank + 1) / (images + 500))
    assert threshold.promise == "the student answers at least 95 % of the inlier images, with confidence 95 %"


def test_too_few_images_for_recall_or_rate_defer_everything():
    calibration = held_back(np.arange(58.0))
    recall = chosen_threshold("recall", EMPTY, calibration, 1)
    assert recall.values == [np.inf]
    assert recall.why_all_deferred == (
        "there are 58 inlier images in the calibration part; this promise with confidence 95 % takes at least 59: "
        "hold back more images"
    )
    assert np.isfinite(chosen_threshold("recall", EMPTY, calibration, 1, recall=0.9).values).all()
    rate = chosen_threshold("rate", EMPTY, calibration.where(np.arange(13)), 1)
    assert "there are 13 images in the calibration part" in rate.why_all_deferred
    assert "at least 14" in rate.why_all_deferred
    assert chosen_threshold("rate", EMPTY, calibration.where(np.arange(14)), 1).values == [0.0]


def test_a_class_without_images_is_always_deferred():
    student_class = np.repeat([0, 2], 200)
    part = held_back(np.arange(400.0), student_class=student_class)
    threshold = chosen_threshold("risk", part, part, 3, per_class=True)
    assert threshold.values.tolist() == [0.0, np.inf, 200.0]
    assert threshold.why_all_deferred is None
    assert threshold.promise.endswith(
        "at most 5 %, in each of the 2 classes that it may answer (3 in all), all at once, with confidence 95 %"
    )
    rate = chosen_threshold("rate", part, part, 3, per_class=True, rate=0.3)
    assert np.isinf(rate.values).tolist() == [False, True, False]
    assert rate.values[2] - rate.values[0] == 200


def test_per_class_splits_delta():
    # 0.95^80 = 0.0165 <= 0.05 / 3 < 0.95^79: each of three classes takes 80 images.
    part = held_back(np.ones(79 + 80 + 81), student_class=np.repeat([0, 1, 2], [79, 80, 81]))
    values = chosen_threshold("risk", part, part, 3, per_class=True).values
    assert values.tolist() == [np.inf, 1.0, 1.0]


def test_per_class_says_why_no_class_is_answered():
    part = held_back(np.ones(40), student_class=np.arange(40) % 2)
    threshold = chosen_threshold("risk", part, part, 2, per_class=True)
    assert threshold.why_all_deferred.startswith(
        "no class of 2 can have a threshold; class 0, for example: at the threshold that looks most certain the "
        "student answers 20 of 20 calibration images"
    )
    assert "with confidence 97.5 % takes at least 72 answered" in threshold.why_all_deferred


# The threshold as a value


@pytest.mark.parametrize("rule", ["risk", "recall", "rate"])
@pytest.mark.parametrize("images", [0, 20, 500])
def test_a_threshold_survives_json(rule, images):
    random = np.random.default_rng(images)
    parts = [STEADY.drawn(random, images) for _ in range(2)]
    threshold = chosen_threshold(rule, *parts, 2, per_class=True)
    written = json.dumps(threshold.as_dict(), allow_nan=False)
    read = Threshold.from_dict(json.loads(written))
    assert read.values.dtype == np.float32
    np.testing.assert_array_equal(read.values, threshold.values)
    assert json.dumps(read.as_dict(), allow_nan=False) == written
    assert json.loads(written)["values"][1] is None


def written_threshold(**changes):
    part = held_back(np.ones(100))
    return {**chosen_threshold("risk", part, part, 1).as_dict(), **changes}


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({"rule": "risk"}, "a threshold with the keys rule: expected values, rule, options, promise"),
        (written_threshold(values=["much"]), r"threshold values \['much'\]: expected a list of numbers and null"),
        (written_threshold(values=None), "threshold values None"),
        (written_threshold(rule="luck"), "no deferral rule is called luck"),
    ],
)
def test_what_is_no_threshold_is_refused(written, message):
    with pytest.raises(UserError, match=message):
        Threshold.from_dict(written)


@pytest.mark.parametrize(
    ("rule", "options", "message"),
    [
        ("rsik", {}, "no deferral rule is called rsik: nearest: risk"),
        ("risk", {"epsilom": 0.1}, "deferral rule risk has no option epsilom: nearest: epsilon"),
        ("recall", {"epsilon": 0.1}, "deferral rule recall has no option epsilon"),
        ("risk", {"epsilon": 0.0}, "epsilon is 0.0, expected a share above 0 and below 1"),
        ("recall", {"recall": 1.0}, "recall is 1.0"),
        ("rate", {"rate": 20}, "rate is 20,"),
        ("rate", {"confidence": "high"}, "confidence is 'high'"),
        ("risk", {"confidence": float("nan")}, "confidence is nan"),
    ],
)
def test_rules_and_options_that_make_no_sense_are_refused(rule, options, message):
    with pytest.raises(UserError, match=message):
        deferral_rule(rule, options)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (([1.0, np.nan], [0, 0], [True, True], [True, True]), "1 of 2 held-back scores are not finite"),
        (([np.inf], [0], [True], [True]), "1 of 1 held-back scores are not finite"),
        (([1.0], [0, 1], [True], [True]), r"have shapes \[\(1,\), \(2,\), \(1,\), \(1,\)\]: expected \(n,\) each"),
        (([[1.0]], [[0]], [[True]], [[True]]), r"expected \(n,\) each"),
        (([1.0], [0], [True], [False]), "an image agrees but is no inlier"),
    ],
)
def test_held_back_images_that_make_no_sense_are_refused(columns, message):
    with pytest.raises(UserError, match=message):
        HeldBack(*columns)


@pytest.mark.parametrize("student_class", [-1, 3])
def test_a_class_that_the_student_does_not_have_is_refused(student_class):
    part = held_back(np.ones(100))
    strange = held_back(np.ones(2), student_class=[0, student_class])
    message = f"the student predicts class {student_class}, expected 0 to 2"
    for fitting, calibration in ((part, strange), (strange, part)):
        with pytest.raises(UserError, match=message):
            chosen_threshold("risk", fitting, calibration, 3)
    with pytest.raises(UserError, match=message):
        kept(chosen_threshold("risk", part, part, 3), strange)


# Whether the promise is kept


def threshold_at(values, rule, **options):
    filled = dataclasses.asdict(deferral_rule(rule, options))
    return Threshold(np.array(values, np.float32), rule, filled, "", 1.0, 0.0, None)


def test_kept_risk_by_hand():
    test = held_back(np.arange(100.0), ~np.isin(np.arange(100), [3, 60, 70, 80]))
    result = kept(threshold_at([50], "risk"), test)
    assert result == Kept(
        figure="disagreement",
        promised=0.05,
        is_upper_bound=True,
        measured=3 / 50,
        lower=pytest.approx(stats.beta.ppf(0.05, 3, 48)),
        upper=pytest.approx(stats.beta.ppf(0.95, 4, 47)),
        images=50,
        holds=False,
        refuted=False,
    )
    assert kept(threshold_at([0], "risk"), test).holds
    refuted = kept(threshold_at([50], "risk", epsilon=0.01), test)
    assert refuted.refuted
    assert not refuted.holds


def test_kept_bounds_have_closed_forms_at_the_ends():
    all_agree = kept(threshold_at([0], "risk"), held_back(np.ones(40)))
    assert (all_agree.lower, all_agree.upper) == (0, pytest.approx(1 - 0.05 ** (1 / 40)))
    none_agrees = kept(threshold_at([0], "risk"), held_back(np.ones(40), False))
    assert (none_agrees.lower, none_agrees.upper) == (pytest.approx(0.05 ** (1 / 40)), 1)
    assert none_agrees.refuted


def test_kept_recall_counts_inliers_and_kept_rate_all():
    test = held_back(np.arange(100.0), False, is_inlier=np.arange(100) >= 40)
    recall = kept(threshold_at([43], "recall"), test)
    assert (recall.figure, recall.measured, recall.images, recall.holds) == ("recall", 57 / 60, 60, True)
    assert kept(threshold_at([44], "recall"), test).measured == 56 / 60
    assert not kept(threshold_at([44], "recall"), test).holds
    assert not kept(threshold_at([44], "recall"), test).refuted
    assert kept(threshold_at([60], "recall"), test).refuted

    rate = kept(threshold_at([20], "rate"), test)
    assert (rate.figure, rate.measured, rate.images, rate.holds) == ("deferral rate", 0.2, 100, True)
    assert not kept(threshold_at([21], "rate"), test).holds
    assert kept(threshold_at([40], "rate"), test).refuted


def test_kept_leaves_out_classes_that_always_defer():
    test = held_back(np.arange(100.0), student_class=np.arange(100) % 2)
    rate = kept(threshold_at([20, np.inf], "rate"), test)
    assert (rate.measured, rate.images) == (0.2, 50)
    nothing = kept(threshold_at([np.inf, np.inf], "recall"), test)
    assert (nothing.promised, nothing.measured, nothing.images) == (None, None, 0)
    assert (nothing.lower, nothing.upper, nothing.holds, nothing.refuted) == (0, 1, True, False)


def test_a_promise_that_holds_is_refuted_no_more_often_than_by_chance():
    random = np.random.default_rng(17)
    threshold = threshold_at([0.2], "risk")  # exactly at epsilon
    assert STEADY.risk(0.2) == pytest.approx(EPSILON)
    refuted = [kept(threshold, STEADY.drawn(random, 800)).refuted for _ in range(400)]
    assert 0 < np.sum(refuted) <= most_violations(400)


def test_coverage_and_disagreement_are_those_of_the_cascade():
    random = np.random.default_rng(19)
    fitting, calibration = STEADY.drawn(random, 600), STEADY.drawn(random, 600)
    threshold = chosen_threshold("risk", fitting, calibration, 1)
    answered = ~is_deferred(calibration.score, calibration.student_class, threshold.values)
    assert threshold.coverage == pytest.approx(answered.mean())
    assert threshold.disagreement == pytest.approx(1 - calibration.agrees[answered].mean())
    assert 0 < threshold.disagreement < EPSILON
