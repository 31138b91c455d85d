"""Operating points by hand, and the curve over all thresholds against every threshold tried by itself."""

import numpy as np
import pytest

from envise_tf.errors import UserError
from envise_tf.measures.operating_points import Predictions, curve, expected_curve, operating_point

STUDENT, TEACHER = 1.0, 10.0

# Four inliers, two outliers; the student never knows an outlier.
PREDICTIONS = Predictions(
    truth=np.array([0, 0, 1, 1, 2, 2]),
    teacher_class=np.array([0, 1, 1, 1, 2, 0]),
    student_class=np.array([0, 0, 1, 0, 0, 1]),
    is_outlier=np.array([False, False, False, False, True, True]),
)


def test_an_operating_point_by_hand():
    deferred = np.array([False, False, False, True, True, False])
    point = operating_point(PREDICTIONS, deferred, 0.2, STUDENT, TEACHER)
    assert point.accuracy_student == pytest.approx(0.8 * 3 / 4)
    assert point.accuracy_teacher == pytest.approx(0.8 * 3 / 4 + 0.2 * 1 / 2)
    assert point.accuracy_cascade == pytest.approx(0.8 * 1 + 0.2 * 1 / 2)
    assert point.loss == pytest.approx(-0.2)
    assert point.false_alarms == pytest.approx(0.8 / 4)
    assert point.outliers_caught == pytest.approx(0.2 / 2)
    assert point.deferral_rate == pytest.approx(0.3)
    assert point.gie == pytest.approx(1 - (1 + 0.3 * 10) / 10)
    assert point.speedup == pytest.approx(10 / 4)
    # The loss is 0 or -1 among inliers (one in four), 0 among outliers: variance 3/16 over four images.
    assert point.loss_standard_error == pytest.approx(0.8 * np.sqrt(3 / 16 / 4))


@pytest.mark.parametrize("rate", [0.0, 0.01, 0.2, 1.0])
def test_deferring_all_is_the_teacher_and_nothing_is_the_student(rate):
    nothing = operating_point(PREDICTIONS, np.zeros(6, bool), rate, STUDENT, TEACHER)
    everything = operating_point(PREDICTIONS, np.ones(6, bool), rate, STUDENT, TEACHER)
    assert nothing.accuracy_cascade == pytest.approx(nothing.accuracy_student)
    assert nothing.gie == pytest.approx(1 - STUDENT / TEACHER)
    assert everything.accuracy_cascade == pytest.approx(everything.accuracy_teacher)
    assert everything.loss == everything.loss_standard_error == 0
    assert everything.gie == pytest.approx(-STUDENT / TEACHER)


def test_without_outliers_the_rate_means_nothing():
    inliers = Predictions(*(field[:4] for field in vars(PREDICTIONS).values()))
    point = operating_point(inliers, np.array([True, False, False, False]), 0.2, STUDENT, TEACHER)
    assert point.deferral_rate == pytest.approx(1 / 4)
    assert point.outliers_caught == 0


@pytest.mark.parametrize("side", [slice(0, 4), slice(4, 6)], ids=["inliers alone", "outliers alone"])
@pytest.mark.parametrize("rate", [0.0, 0.2, 1.0])
def test_where_one_side_is_empty_the_standard_error_is_that_of_the_other(side, rate):
    alone = Predictions(*(field[side] for field in vars(PREDICTIONS).values()))
    count = len(alone.truth)
    deferred = np.zeros(count, bool)
    lost = (alone.teacher_class == alone.truth).astype(float) - (alone.student_class == alone.truth)
    point = operating_point(alone, deferred, rate, STUDENT, TEACHER)
    assert point.loss == pytest.approx(lost.mean())
    assert lost.std() > 0
    assert point.loss_standard_error == pytest.approx(lost.std() / np.sqrt(count))


@pytest.mark.parametrize("rate", [-0.01, 1.5, float("nan")])
def test_an_outlier_rate_that_is_no_share_is_refused(rate):
    with pytest.raises(UserError, match=r"outlier rate \S+: expected a share in 0\.\.1"):
        operating_point(PREDICTIONS, np.zeros(6, bool), rate, STUDENT, TEACHER)
    with pytest.raises(UserError, match=r"expected a share in 0\.\.1"):
        curve(PREDICTIONS, np.arange(6.0), rate, STUDENT, TEACHER)


def test_the_curve_holds_every_threshold_that_makes_a_difference():
    random = np.random.default_rng(3)
    n = 60
    predictions = Predictions(*random.integers(0, 3, (3, n)), is_outlier=random.random(n) < 0.3)
    score = random.integers(0, 12, n).astype(np.float32)  # with ties
    every = curve(predictions, score, 0.1, STUDENT, TEACHER)
    assert every.threshold.tolist() == [-np.inf, *np.unique(score)[1:], np.inf]
    for i, threshold in enumerate(every.threshold):
        point = operating_point(predictions, ~(score >= threshold), 0.1, STUDENT, TEACHER)
        assert every.accuracy[i] == pytest.approx(point.accuracy_cascade)
        assert every.deferral_rate[i] == pytest.approx(point.deferral_rate)
        assert every.gie[i] == pytest.approx(point.gie)


def test_the_best_gie_at_an_accuracy_falls_back_on_the_teacher():
    every = curve(PREDICTIONS, np.arange(6, dtype=np.float32), 0.2, STUDENT, TEACHER)
    assert every.best_gie(0.0) == pytest.approx(1 - STUDENT / TEACHER)
    assert every.best_gie(every.accuracy.max()) == pytest.approx(every.gie[np.argmax(every.accuracy)])
    assert every.best_gie(1.1) == pytest.approx(-STUDENT / TEACHER)


def test_the_expected_curve_is_the_mean_of_the_probabilities_at_every_threshold_by_itself():
    random = np.random.default_rng(4)
    confidence = random.uniform(0.3, 1, 40)
    regret = random.choice([0, 0.5, 1], 40) * confidence
    score = random.integers(0, 12, 40) / 4  # some are equal
    found = expected_curve(confidence, regret, score, STUDENT, TEACHER)
    assert len(found.threshold) == len(np.unique(score)) + 1
    for threshold, deferral_rate, accuracy, gain in zip(*vars(found).values(), strict=True):
        answered = score >= threshold
        assert deferral_rate == pytest.approx(1 - answered.mean())
        assert accuracy == pytest.approx(np.where(answered, confidence - regret, confidence).mean())
        assert gain == pytest.approx(answered.mean() - STUDENT / TEACHER)


def test_where_the_teacher_is_certain_and_right_the_expected_curve_is_the_true_one():
    sure = Predictions(PREDICTIONS.truth, PREDICTIONS.truth, PREDICTIONS.student_class, np.zeros(6, bool))
    score = np.array([3, 1, 4, 1, 5, 9], np.float32)
    expected = expected_curve(np.ones(6), np.maximum(sure.lost, 0), score, STUDENT, TEACHER)
    true = curve(sure, score, 0.0, STUDENT, TEACHER)
    for name, values in vars(true).items():
        np.testing.assert_allclose(getattr(expected, name), values, atol=1e-12)
