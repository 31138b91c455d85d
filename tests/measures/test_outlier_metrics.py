"""The figures of a score against counts over all thresholds and all pairs, and by hand."""

import numpy as np
import pytest

from envise_tf.errors import UserError
from envise_tf.measures.outlier_metrics import outlier_metrics, roc


def scores(ties=False, inliers=300, outliers=120):
    random = np.random.default_rng(11)
    sides = random.normal(1.0, 1.0, inliers), random.normal(0.0, 1.3, outliers)
    return [np.round(side, 1) if ties else side for side in sides]


def average_precision(positive, negative, positive_weight, negative_weight):
    """Sum over thresholds of precision times the recall gained, larger score = more positive."""
    total, recall = 0.0, 0.0
    for threshold in np.unique(np.concatenate([positive, negative]))[::-1]:
        right, wrong = positive_weight * np.sum(positive >= threshold), negative_weight * np.sum(negative >= threshold)
        reached = np.mean(positive >= threshold)
        total += (reached - recall) * right / (right + wrong)
        recall = reached
    return total


def test_a_case_by_hand():
    metrics = outlier_metrics([4.0, 3.0, 1.0], [2.0, 0.0])
    assert metrics["auroc"] == pytest.approx(5 / 6)
    assert metrics["fpr_at_95_recall"] == pytest.approx(1 / 2)
    assert metrics["aupr_inlier"] == pytest.approx((1 + 1 + 3 / 4) / 3)
    assert metrics["aupr_outlier"] == pytest.approx((1 + 2 / 3) / 2)
    # At threshold 3 a third of the inliers is missed, at 1 half of the outliers passes.
    assert metrics["detection_error"] == pytest.approx(1 / 6)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("rate", [None, 0.01, 0.3])
def test_all_figures_against_brute_force(ties, rate):
    inlier, outlier = scores(ties)
    metrics = outlier_metrics(inlier, outlier, rate)
    pairs = inlier[:, None] - outlier
    assert metrics["auroc"] == pytest.approx(np.mean(pairs > 0) + np.mean(pairs == 0) / 2)

    thresholds = np.concatenate([inlier, outlier, [np.inf]])
    recall = np.mean(inlier >= thresholds[:, None], axis=1)
    passing = np.mean(outlier >= thresholds[:, None], axis=1)
    assert metrics["fpr_at_95_recall"] == pytest.approx(passing[recall >= 0.95].min())
    assert metrics["detection_error"] == pytest.approx(((1 - recall + passing) / 2).min())

    weights = (1.0, 1.0) if rate is None else ((1 - rate) / len(inlier), rate / len(outlier))
    assert metrics["aupr_inlier"] == pytest.approx(average_precision(inlier, outlier, *weights))
    assert metrics["aupr_outlier"] == pytest.approx(average_precision(-outlier, -inlier, *weights[::-1]))


def test_a_rate_equals_that_many_copies_of_the_outliers():
    inlier, outlier = scores()
    repeated = outlier_metrics(inlier, np.repeat(outlier, 5))
    assert outlier_metrics(inlier, outlier, 600 / 900) == pytest.approx(repeated)
    assert outlier_metrics(inlier, outlier, 120 / 420) == pytest.approx(outlier_metrics(inlier, outlier))


def test_only_the_average_precisions_see_the_rate():
    rare, frequent = (outlier_metrics(*scores(), rate) for rate in (0.01, 0.5))
    assert rare["aupr_inlier"] > frequent["aupr_inlier"]
    assert rare["aupr_outlier"] < frequent["aupr_outlier"]
    for name in ("auroc", "fpr_at_95_recall", "detection_error"):
        assert rare[name] == frequent[name]


def test_the_two_ends():
    perfect = outlier_metrics(np.arange(10, 20), np.arange(5))
    assert perfect == pytest.approx(
        {"auroc": 1, "fpr_at_95_recall": 0, "aupr_inlier": 1, "aupr_outlier": 1, "detection_error": 0}
    )
    same = outlier_metrics(np.ones(30), np.ones(10), 0.1)
    assert same == pytest.approx(
        {"auroc": 0.5, "fpr_at_95_recall": 1.0, "aupr_inlier": 0.9, "aupr_outlier": 0.1, "detection_error": 0.5}
    )


def test_exactly_95_percent_of_the_inliers_is_enough():
    inlier = np.arange(20.0)
    assert outlier_metrics(inlier, [0.5])["fpr_at_95_recall"] == 0.0
    assert outlier_metrics(inlier[1:], [1.5])["fpr_at_95_recall"] == 1.0


def test_figures_depend_on_the_order_of_scores_alone():
    inlier, outlier = scores()
    assert outlier_metrics(np.exp(inlier), np.exp(outlier)) == pytest.approx(outlier_metrics(inlier, outlier))
    turned = outlier_metrics(-outlier, -inlier)
    assert turned["auroc"] == pytest.approx(outlier_metrics(inlier, outlier)["auroc"])
    assert turned["aupr_inlier"] == pytest.approx(outlier_metrics(inlier, outlier)["aupr_outlier"])


def test_the_curve_has_a_point_a_score_and_its_area_is_auroc():
    inlier, outlier = scores(ties=True)
    passing, recall = roc(inlier, outlier)
    assert len(passing) == len(recall) == len(np.unique(np.concatenate([inlier, outlier]))) + 1
    assert (passing[0], recall[0], passing[-1], recall[-1]) == (0, 0, 1, 1)
    area = np.sum(np.diff(passing) * (recall[1:] + recall[:-1]) / 2)
    assert area == pytest.approx(outlier_metrics(inlier, outlier)["auroc"])


@pytest.mark.parametrize(
    ("inlier", "outlier", "rate", "message"),
    [
        ([], [1.0], None, r"inlier scores have shape \(0,\), expected \(n,\) with at least one"),
        ([1.0], [], None, r"outlier scores have shape \(0,\)"),
        ([[1.0]], [1.0], None, r"inlier scores have shape \(1, 1\)"),
        ([1.0, np.nan, np.inf], [1.0], None, "2 of 3 inlier scores are not finite"),
        ([1.0], [np.nan], None, "1 of 1 outlier scores are not finite"),
        ([1.0], [1.0], 0.0, "outlier rate 0.0: expected a share above 0 and below 1"),
        ([1.0], [1.0], 1.0, "outlier rate 1.0"),
    ],
)
def test_what_makes_no_sense_is_refused(inlier, outlier, rate, message):
    with pytest.raises(UserError, match=message):
        outlier_metrics(inlier, outlier, rate)
