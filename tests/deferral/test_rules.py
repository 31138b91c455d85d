"""The rules by hand, and their promises over thousands of draws from laws whose true risk is known."""

import numpy as np
import pytest
import tensorflow as tf
from made_held_back import DELTA, DRAWS, EMPTY, EPSILON, HUMP, STEADY, held_back, most_violations
from scipy import stats

from envise_tf.deferral.held_back import HeldBack
from envise_tf.deferral.rules import CANDIDATES, binomial_tail, deferral_rule, flawless_images, least_images
from envise_tf.deferral.threshold import chosen_threshold
from envise_tf.errors import UserError
from envise_tf.images.halves import is_in_part


def naive_threshold(promising, epsilon):
    """The largest coverage whose disagreement on the promising part itself is at most epsilon."""
    order = np.argsort(-promising.score)
    share = np.cumsum(~promising.agrees[order]) / np.arange(1, len(order) + 1)
    within = np.flatnonzero(share <= epsilon)
    return promising.score[order][within[-1]] if len(within) else np.inf


# Accuracy


def costing(score, regret):
    """Images on which the student contradicts the teacher where it costs something, and nowhere else."""
    costs = np.broadcast_to(np.float32(regret), np.shape(score))
    return HeldBack(score, np.zeros(len(score), int), costs == 0, np.ones(len(score), bool), costs)


def test_accuracy_by_hand():
    # Of 308 images without a cost betting shows at most 1 %, of 307 not.
    promising = costing(np.arange(308.0), 0)
    threshold = chosen_threshold("accuracy", EMPTY, promising, 2)
    assert threshold.values.tolist() == [0.0, 0.0]
    assert threshold.promise == (
        "answers are right at most 1 % less often than the teacher's, with confidence 95 %, as far as the teacher's "
        "probabilities are right"
    )
    assert threshold.options == {"epsilon": 0.01, "confidence": 0.95, "bound": "betting"}
    assert (threshold.coverage, threshold.disagreement, threshold.why_all_deferred) == (1.0, 0.0, None)

    short = chosen_threshold("accuracy", EMPTY, promising.where(np.arange(307)), 2)
    assert short.values.tolist() == [np.inf, np.inf]
    assert short.why_all_deferred == (
        "answering the 31 of 307 promising images with the highest scores is expected to lose 0 % of accuracy, which "
        "does not show at most 1 % with confidence 95 %; about 308 such images would: hold back more, or allow a "
        "larger loss"
    )


def test_the_bound_of_accuracy_is_an_option():
    # 299 = log(0.05) / log(0.99), rounded up, as of the binomial test.
    for images, value in ((299, 0.0), (298, np.inf)):
        part = costing(np.arange(float(images)), 0)
        assert chosen_threshold("accuracy", EMPTY, part, 1, bound="hoeffding_bentkus").values == [value]


def test_accuracy_counts_what_an_answer_costs_over_all_images():
    # The upper half costs nothing; each of the lower half costs 3 %, which makes 1.5 % of all.
    promising = costing(np.repeat([1.0, 0.0], 1500), np.repeat([0.0, 0.03], 1500))
    assert chosen_threshold("accuracy", EMPTY, promising, 1).values == [1.0]
    assert chosen_threshold("accuracy", EMPTY, promising, 1, epsilon=0.02).values == [0.0]
    rule = deferral_rule("accuracy", {})
    assert rule.terms(promising, np.ones(3000, bool)).mean() == pytest.approx(0.015)
    assert rule.terms(promising, promising.score >= 1).mean() == 0


def test_accuracy_does_not_mind_that_images_come_class_by_class():
    random = np.random.default_rng(2)
    score = random.random(2000).astype(np.float32)
    regret = np.where(random.random(2000) < 0.2 * (1 - score), random.uniform(0, 0.3, 2000), 0)
    shuffled, in_order = costing(score, regret), np.argsort(regret)
    coverage = [chosen_threshold("accuracy", EMPTY, shuffled.where(order), 1).coverage for order in (..., in_order)]
    assert 0.3 < coverage[0] < 0.95
    assert coverage[1] == pytest.approx(coverage[0], abs=0.1)


def test_accuracy_says_how_many_images_the_surest_tenth_takes():
    # Its costs as they are, repeated: so many images of the same kind make the promise.
    score = np.arange(200.0)
    promising = costing(score, np.where(score % 50 == 49, 0.1, 0))  # 2 costs of 10 % among the 20 of highest score
    rule = deferral_rule("accuracy", {})
    needed = rule.images_needed(EMPTY, promising, DELTA)
    assert 308 < needed < 1000
    assert np.isinf(chosen_threshold("accuracy", EMPTY, promising, 1).values).all()
    more = costing(np.tile(score, 2 * needed // 200), np.tile(promising.regret, 2 * needed // 200))
    assert chosen_threshold("accuracy", EMPTY, more, 1).coverage >= 0.1
    hopeless = costing(score, 0.2)
    assert rule.images_needed(EMPTY, hopeless, DELTA) is None
    assert "lose 2 % of accuracy" in chosen_threshold("accuracy", EMPTY, hopeless, 1).why_all_deferred
    assert "no number of such images would" in chosen_threshold("accuracy", EMPTY, hopeless, 1).why_all_deferred


def test_accuracy_without_images_defers_everything():
    threshold = chosen_threshold("accuracy", EMPTY, EMPTY, 3)
    assert threshold.values.tolist() == [np.inf] * 3
    assert threshold.why_all_deferred == "there is no image in the promising part: hold back more images"


# Risk


@pytest.mark.slow
@pytest.mark.parametrize(("law", "least_coverage"), [(STEADY, 0.7), (HUMP, 0.4)])
def test_risk_breaks_its_promise_no_more_often_than_allowed(law, least_coverage):
    random = np.random.default_rng(1)
    values = []
    for _ in range(DRAWS):
        choosing, promising = law.drawn(random, 800), law.drawn(random, 800)
        values.append(chosen_threshold("risk", choosing, promising, 1).values[0])
    broken = [np.isfinite(value) and law.risk(value) > EPSILON for value in values]
    assert np.sum(broken) <= most_violations(DRAWS)
    assert np.mean([np.isfinite(value) * (1 - min(value, 1)) for value in values]) > least_coverage


def test_the_naive_rule_breaks_its_promise_far_more_often():
    random = np.random.default_rng(1)
    broken = [STEADY.risk(naive_threshold(STEADY.drawn(random, 800), EPSILON)) > EPSILON for _ in range(DRAWS)]
    assert np.mean(broken) > 0.4


@pytest.mark.slow
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


def test_optimistic_scores_of_the_choosing_part_cost_coverage_and_never_the_promise():
    random, values = np.random.default_rng(5), []
    for _ in range(DRAWS):
        choosing = STEADY.drawn(random, 400)
        # As a score would that has learned these images by heart: half of the disagreements sink to the bottom.
        sunk = ~choosing.agrees & (random.random(400) < 0.5)
        choosing = held_back(np.where(sunk, 0.01 * choosing.score, choosing.score), choosing.agrees)
        values.append(chosen_threshold("risk", choosing, STEADY.drawn(random, 400), 1).values[0])
    assert np.sum([np.isfinite(value) and STEADY.risk(value) > EPSILON for value in values]) <= most_violations(DRAWS)
    assert np.isinf(values).any()


def test_risk_by_hand():
    # Of 59 images that all agree, 5 % disagreement is just refuted (0.95^59 = 0.0485); of 58 it is not.
    choosing = held_back(np.arange(100.0), np.arange(100) >= 10)
    promising = held_back(np.arange(1000.0, 1059.0))
    threshold = chosen_threshold("risk", choosing, promising, 2)
    assert threshold.values.dtype == np.float32
    assert threshold.values.tolist() == [0.0, 0.0]
    assert (threshold.coverage, threshold.disagreement, threshold.why_all_deferred) == (1.0, 0.0, None)
    assert threshold.promise == (
        "among the images that the student answers it disagrees with the teacher on at most 5 %, with confidence 95 %"
    )
    assert threshold.options == {"epsilon": 0.05, "confidence": 0.95}

    short = chosen_threshold("risk", choosing, promising.where(np.arange(58)), 2)
    assert short.values.tolist() == [np.inf, np.inf]
    assert (short.coverage, short.disagreement) == (0.0, None)
    assert short.promise == "nothing of the student: every image is deferred to the teacher"
    assert short.why_all_deferred == (
        "at the threshold that looks most certain the student answers 58 of 58 promising images and disagrees with "
        "the teacher on 0 of them, which does not show at most 5 % with confidence 95 %; about 59 such images would: "
        "hold back more, or allow more disagreement"
    )


def test_the_walk_stops_at_the_first_candidate_that_fails():
    # Candidates 0, 2, ..., 98. From the top 1,000 images agree, then 300 disagree at 41.5, then 100,000 agree at 20.
    choosing = held_back(np.arange(1, 101) - 1.0, np.arange(100) >= 60)
    score = np.repeat([99.5, 41.5, 20.0], [1000, 300, 100_000])
    promising = held_back(score, score != 41.5)
    threshold = chosen_threshold("risk", choosing, promising, 1)
    assert threshold.values.tolist() == [43.0]
    assert threshold.coverage == pytest.approx(1000 / 101_300)
    # Answering everything would pass a test of its own: the guarantee does not reach that far.
    assert binomial_tail(300, 101_300, EPSILON) < DELTA


def test_the_start_is_where_the_choosing_part_is_most_certain():
    # The student is surely wrong at the very top, so the walk must not begin there.
    choosing = held_back(np.arange(100.0), np.abs(np.arange(100) - 55) < 40)
    promising = held_back(np.tile(np.arange(100.0), 20), np.tile(choosing.agrees, 20))
    threshold = chosen_threshold("risk", choosing, promising, 1, epsilon=0.2)
    # From 16 on, 5 of 84 disagree; with the 16 below, 21 of 100.
    assert threshold.values.tolist() == [5.0]
    assert threshold.disagreement == pytest.approx(16 / 95)


def test_equal_scores_go_together():
    assert chosen_threshold("risk", held_back(np.full(9, 2.0)), held_back(np.full(70, 2.0)), 1).values == [2.0]
    agrees = np.arange(70) >= 20
    threshold = chosen_threshold("risk", held_back(np.full(9, 2.0)), held_back(np.full(70, 2.0), agrees), 1)
    assert threshold.values == [np.inf]
    assert "answers 70 of 70 promising images and disagrees with the teacher on 20" in threshold.why_all_deferred


def test_none_agrees():
    part = held_back(np.arange(50.0), agrees=False)
    threshold = chosen_threshold("risk", part, part, 1)
    assert threshold.values == [np.inf]
    assert threshold.coverage == 0


@pytest.mark.parametrize(("disagreeing", "images"), [(0, 20), (1, 40), (4, 100), (7, 200)])
def test_the_reason_names_how_many_images_would_do(disagreeing, images):
    agrees = np.arange(images) >= disagreeing
    choosing, promising = held_back(np.ones(20)), held_back(np.ones(images), agrees)
    needed = deferral_rule("risk", {}).images_needed(choosing, promising, DELTA)
    assert f"about {needed:,} such images would" in chosen_threshold("risk", choosing, promising, 1).why_all_deferred
    # With the same share of disagreements so many images make the promise, and a tenth fewer do not.
    share = disagreeing / images
    for count, is_enough in ((needed, True), (round(0.9 * needed) - 1, False)):
        tail = stats.beta.sf(EPSILON, share * count + 1, count - share * count)  # P(Bin(m, epsilon) <= k)
        assert (tail <= DELTA) == is_enough


def test_where_more_images_would_not_help_the_reason_says_so():
    choosing, promising = held_back(np.ones(40)), held_back(np.ones(100), np.arange(100) >= 6)
    assert deferral_rule("risk", {}).images_needed(choosing, promising, DELTA) is None
    why = chosen_threshold("risk", choosing, promising, 1).why_all_deferred
    assert why.endswith("no number of such images would: train the student longer, or allow more disagreement")


def test_the_reason_tells_disagreements_from_classes_that_the_student_lacks():
    promising = held_back(np.ones(100), np.arange(100) >= 8, is_inlier=np.arange(100) >= 3)
    why = chosen_threshold("risk", held_back(np.ones(40)), promising, 1).why_all_deferred
    assert "disagrees with the teacher on 8 of them (3 of a class that it has not learned)" in why


@pytest.mark.parametrize(("rule", "share", "images"), [("recall", 0.05, 59), ("rate", 0.2, 14)])
def test_recall_and_rate_need_the_images_that_refute_the_share_without_an_event(rule, share, images):
    assert least_images(share, DELTA) == images
    assert (1 - share) ** images <= DELTA < (1 - share) ** (images - 1)
    promising = held_back(np.arange(8.0), is_inlier=np.arange(8) % 2 == 0, agrees=False)
    needed = deferral_rule(rule, {}).images_needed(EMPTY, promising, DELTA)
    assert needed == (2 * images if rule == "recall" else images)  # half of them are inliers


def photographs(random, images):
    """Parts of a stream of photographs as their fingerprints give them: sizes of the choosing and the promising one."""
    prints = tf.constant(random.integers(0, 2**62, images))
    return [int(is_in_part(prints, part, "shared").numpy().sum()) for part in ("choosing", "promising")]


@pytest.mark.parametrize(("epsilon", "least"), [(0.1, 0.99), (0.05, 0.85)])
def test_600_photographs_on_which_both_always_agree_make_the_promise(epsilon, least):
    random, made = np.random.default_rng(23), []
    for _ in range(200):
        parts = [held_back(random.random(count)) for count in photographs(random, 600)]
        made.append(np.isfinite(chosen_threshold("risk", *parts, 1, epsilon=epsilon).values[0]))
    assert np.mean(made) >= least


def test_agreement_on_all_of_a_small_choosing_part_is_no_reason_to_begin_with_everything():
    # 40 images agree; of the 80 that promise, the 5 of lowest score do not. Begun with everything, the walk would end
    # at once: P(Bin(80, 5 %) <= 5) is far above 5 %.
    choosing = held_back(np.arange(40.0))
    promising = held_back(np.arange(80.0) / 2, np.arange(80) >= 5)
    threshold = chosen_threshold("risk", choosing, promising, 1)
    assert 0 < threshold.values[0] < 12
    assert threshold.disagreement == 0


@pytest.mark.slow
def test_the_start_makes_the_promise_of_few_images_likelier():
    # Disagreement 8 % u^3 at depth u, 2 % in all: the lower the score, the likelier.
    random, made, before = np.random.default_rng(29), 0, 0

    def drawn(images):
        score = random.random(images)
        return held_back(score, random.random(images) >= 0.08 * (1 - score) ** 3)

    def counts(part, threshold):
        return np.sum((part.score >= threshold) & ~part.agrees), np.sum(part.score >= threshold)

    for _ in range(400):
        choosing, promising = drawn(40), drawn(80)
        made += np.isfinite(chosen_threshold("risk", choosing, promising, 1).values[0])
        # As it was: the start has the smallest tail on the choosing part as it is.
        tails = [binomial_tail(*np.multiply(2, counts(choosing, score)), EPSILON) for score in choosing.score]
        start = choosing.score[np.argmin(tails)]
        before += binomial_tail(*counts(promising, start), EPSILON) <= DELTA
    assert made > 1.2 * before


@pytest.mark.parametrize(
    ("choosing", "promising", "reason"),
    [
        (EMPTY, held_back(np.ones(100)), "there is no image in the choosing part"),
        (held_back(np.ones(100)), EMPTY, "the student answers 0 of 0 promising images"),
        (EMPTY, EMPTY, "there is no image in the choosing part"),
    ],
)
def test_without_images_everything_is_deferred(choosing, promising, reason):
    threshold = chosen_threshold("risk", choosing, promising, 3)
    assert threshold.values.tolist() == [np.inf] * 3
    assert reason in threshold.why_all_deferred
    assert (threshold.coverage, threshold.disagreement) == (0.0, None)


def test_a_looser_promise_is_never_met_with_less_coverage():
    random = np.random.default_rng(9)
    choosing, promising = STEADY.drawn(random, 500), STEADY.drawn(random, 500)
    for option, values in (("epsilon", [0.02, 0.05, 0.1, 0.3]), ("confidence", [0.999, 0.95, 0.8, 0.5])):
        coverage = [chosen_threshold("risk", choosing, promising, 1, **{option: v}).coverage for v in values]
        assert coverage == sorted(coverage)
        assert coverage[0] < coverage[-1]


def test_candidates_come_from_the_choosing_part_alone():
    random = np.random.default_rng(9)
    choosing = STEADY.drawn(random, 300)
    values = {float(chosen_threshold("risk", choosing, STEADY.drawn(random, 900), 1).values[0]) for _ in range(50)}
    assert 3 < len(values) <= CANDIDATES
    assert values <= set(choosing.score.tolist()) | {np.inf}


def test_the_order_of_images_does_not_matter():
    random = np.random.default_rng(9)
    choosing, promising = STEADY.drawn(random, 300), STEADY.drawn(random, 300)
    shuffled = [part.where(random.permutation(300)) for part in (choosing, promising)]
    for rule in ("risk", "recall", "rate"):
        assert (
            chosen_threshold(rule, choosing, promising, 1).as_dict() == chosen_threshold(rule, *shuffled, 1).as_dict()
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


@pytest.mark.slow
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
        promising = held_back(score, is_inlier, is_inlier=is_inlier)
        below.append(chosen_threshold(rule, EMPTY, promising, 1).values[0])
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
    promising = held_back(np.concatenate([score, np.zeros(500)]), False, is_inlier=np.arange(images + 500) < images)
    threshold = chosen_threshold("recall", EMPTY, promising, 2)
    assert threshold.values.tolist() == [rank, rank]
    assert threshold.coverage == pytest.approx((images - rank + 1) / (images + 500))
    assert threshold.promise == "the student answers at least 95 % of the inlier images, with confidence 95 %"


def test_too_few_images_for_recall_or_rate_defer_everything():
    promising = held_back(np.arange(58.0))
    recall = chosen_threshold("recall", EMPTY, promising, 1)
    assert recall.values == [np.inf]
    assert recall.why_all_deferred == (
        "there are 58 inlier images in the promising part; this promise with confidence 95 % takes at least 59: "
        "hold back more images"
    )
    assert np.isfinite(chosen_threshold("recall", EMPTY, promising, 1, recall=0.9).values).all()
    rate = chosen_threshold("rate", EMPTY, promising.where(np.arange(13)), 1)
    assert "there are 13 images in the promising part" in rate.why_all_deferred
    assert "at least 14" in rate.why_all_deferred
    assert chosen_threshold("rate", EMPTY, promising.where(np.arange(14)), 1).values == [0.0]


@pytest.mark.parametrize(
    ("rule", "options", "message"),
    [
        ("accuracy", {"bound": "beting"}, "deferral rule: no bound is called beting: nearest: betting"),
        ("accuracy", {"epsilon": 1.0}, "epsilon is 1.0, expected a share above 0 and below 1"),
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


@pytest.mark.parametrize(("epsilon", "delta", "needed"), [(0.05, 0.05, 59), (0.1, 0.05, 29), (0.1, 0.025, 36)])
def test_images_needed_without_any_mistake(epsilon, delta, needed):
    assert flawless_images("risk", {"epsilon": epsilon, "confidence": 0.95}, delta) == needed
    assert stats.binom.pmf(0, needed, epsilon) <= delta < stats.binom.pmf(0, needed - 1, epsilon)


def test_a_promise_that_no_number_of_images_makes_is_refused():
    with pytest.raises(UserError, match="--epsilon 1e-09 given: no number of images shows so little"):
        flawless_images("accuracy", {"epsilon": 1e-9, "confidence": 0.95}, 0.05)
