"""Whether the promise of a threshold holds on other images, by hand and by simulation."""

import dataclasses

import numpy as np
import pytest
from made_held_back import EPSILON, STEADY, held_back, most_violations
from scipy import stats

from envise_tf.deferral.held_back import HeldBack
from envise_tf.deferral.promise import Kept, estimated, kept
from envise_tf.deferral.rules import deferral_rule
from envise_tf.deferral.threshold import Threshold

pytestmark = pytest.mark.slow


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


def test_kept_accuracy_is_the_mean_regret_of_what_is_answered():
    regret = np.where(np.arange(400) % 4 == 0, 0.04, 0).astype(np.float32)
    test = HeldBack(np.arange(400.0), np.zeros(400, int), regret == 0, np.ones(400, bool), regret)
    result = kept(threshold_at([200], "accuracy"), test)
    assert (result.figure, result.promised, result.images, result.holds) == ("accuracy lost", 0.01, 400, True)
    assert result.measured == pytest.approx(0.005)
    assert 0 <= result.lower < 0.005 < result.upper < 0.03
    assert not result.refuted
    costly = HeldBack(test.score, test.student_class, regret == 0, test.is_inlier, np.where(regret, 0.4, 0))
    assert kept(threshold_at([0], "accuracy"), costly).refuted


def test_with_labels_kept_accuracy_is_the_true_loss():
    # Of 1,000 images the student answers the upper 600; there the teacher alone is right on 9, the student on 3.
    lost = np.zeros(1000, int)
    lost[[*range(500), *range(600, 609)]] = 1
    lost[[*range(700, 703)]] = -1
    test = held_back(np.arange(1000.0), lost == 0)
    result = kept(threshold_at([400], "accuracy"), test.where(np.arange(1000)), lost)
    assert (result.measured, result.images, result.verdict) == (pytest.approx((100 + 6) / 1000), 1000, "refuted")
    result = kept(threshold_at([500], "accuracy"), test, lost)
    assert (result.measured, result.verdict) == (pytest.approx(0.006), "kept")
    assert -0.01 < result.lower < 0.006 < result.upper < 0.025
    tight = kept(threshold_at([500], "accuracy", epsilon=0.005), test, lost)
    assert (tight.holds, tight.refuted, tight.verdict) == (False, False, "not decided")
    # A student that is right more often than the teacher has a loss below zero.
    assert kept(threshold_at([0], "accuracy"), test, -lost).measured == pytest.approx(-0.506)
    # Other promises know no labels.
    assert kept(threshold_at([500], "risk"), test, lost) == kept(threshold_at([500], "risk"), test)


def test_a_true_loss_that_is_as_promised_is_refuted_no_more_often_than_by_chance():
    random, draws = np.random.default_rng(5), 300
    threshold = threshold_at([0], "accuracy", epsilon=0.02)
    refuted, decided = 0, []
    for _ in range(draws):
        lost = random.choice([1, -1, 0], 300, p=[0.06, 0.04, 0.9])
        result = kept(threshold, held_back(np.ones(300), lost == 0), lost)
        refuted += result.refuted
        decided.append(result.lower <= 0.02 <= result.upper)
    assert refuted <= most_violations(draws)
    assert np.mean(decided) >= 0.9 - 4 * np.sqrt(0.09 / draws)


def test_estimated_is_the_promised_figure_on_the_images_of_the_promise():
    part = held_back(np.arange(100.0), np.arange(100) >= 60)
    assert estimated(threshold_at([50], "risk"), part) == pytest.approx(10 / 50)
    assert estimated(threshold_at([50], "accuracy"), part) == pytest.approx(10 / 100)
    assert estimated(threshold_at([np.inf], "risk"), part) is None


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
