"""GiE at equal accuracy by hand and against every threshold by itself; its standard errors against fresh draws."""

import numpy as np
import pytest

from envise_tf.measures.equal_accuracy import ALLOWED_LOSSES, gie_at_equal_accuracy
from envise_tf.measures.operating_points import Predictions, operating_point

STUDENT, TEACHER = 1.0, 10.0


def drawn(random, n):
    """Two classes and outliers of a third; the student is the likelier right the higher the score."""
    is_outlier = np.arange(n) < n // 5
    truth = np.where(is_outlier, 2, random.integers(0, 2, n))
    score = (random.random(n) * np.where(is_outlier, 0.6, 1)).astype(np.float32)
    teacher = np.where(random.random(n) < 0.9, truth, (truth + 1) % 3)
    student = np.where(random.random(n) < 0.5 + 0.5 * np.sqrt(score), truth, 1 - truth) % 2
    return Predictions(truth, teacher, student, is_outlier), score


def raw_of(random, predictions):
    """Another teacher, right on fewer images."""
    return np.where(random.random(len(predictions.truth)) < 0.85, predictions.teacher_class, 0)


def test_by_hand():
    # Ten inliers. The teacher errs on the last two, the student on the four of lowest score and on none else.
    teacher_class = np.array([0] * 8 + [1] * 2)
    student_class = np.array([0] * 6 + [1] * 4)
    predictions = Predictions(np.zeros(10, int), teacher_class, student_class, np.zeros(10, bool))
    score = np.arange(10.0, 0, -1).astype(np.float32)
    better, worse = np.zeros(10, int), np.array([0] * 5 + [1] * 5)
    found = gie_at_equal_accuracy(
        predictions, score, {"own": teacher_class, "better": better, "worse": worse}, 0.05, STUDENT, TEACHER
    )
    assert [found[name].accuracy for name in ("own", "better", "worse")] == pytest.approx([0.8, 1.0, 0.5])
    # The lowest scores go first: 80 % is reached once the four are deferred. Nothing reaches 100 %.
    np.testing.assert_allclose(found["own"].gie, 1 - 0.1 - 0.4)
    assert np.isnan(found["better"].gie).all()
    np.testing.assert_allclose(found["worse"].gie, 1 - 0.1)


@pytest.mark.parametrize("rate", [0.0, 0.2])
def test_it_is_the_best_of_all_thresholds(rate):
    random = np.random.default_rng(1)
    predictions, score = drawn(random, 300)
    score = score.round(1)
    raw = raw_of(random, predictions)
    teachers = {"raw": raw, "adapted": predictions.teacher_class}
    found = gie_at_equal_accuracy(predictions, score, teachers, rate, STUDENT, TEACHER)
    points = [
        operating_point(predictions, score < threshold, rate, STUDENT, TEACHER)
        for threshold in [*np.unique(score), np.inf]
    ]
    for name, answer in teachers.items():
        accuracy = predictions.weights(rate) @ (answer == predictions.truth)
        assert found[name].accuracy == pytest.approx(accuracy)
        for loss, gie in zip(ALLOWED_LOSSES, found[name].gie, strict=True):
            reaching = [point.gie for point in points if point.accuracy_cascade >= accuracy - loss - 1e-9]
            assert gie == pytest.approx(max(reaching))
    assert (found["raw"].gie >= found["adapted"].gie).all()
    assert (np.diff(found["adapted"].gie) >= 0).all()


def test_standard_errors_are_the_spread_of_fresh_draws():
    random, fresh = np.random.default_rng(2), []
    for _ in range(7):
        predictions, score = drawn(random, 1500)
        fresh.append(
            gie_at_equal_accuracy(
                predictions, score, {"own": predictions.teacher_class}, 0.2, STUDENT, TEACHER, seed=len(fresh)
            )["own"]
        )
    # Inliers 0.8 and outliers 0.2 of the weight, 1,200 and 300 images: as if all were drawn alike.
    closed = np.sqrt(0.9 * 0.1 / 1500)
    assert np.mean([one.accuracy_standard_error for one in fresh]) == pytest.approx(closed, rel=0.12)
    spread = np.std([one.gie for one in fresh], axis=0, ddof=1)
    errors = np.mean([one.gie_standard_error for one in fresh], axis=0)
    # Six degrees of freedom: the spread lies within a factor of 2.5 of the truth but for once in some hundreds.
    assert (errors < 2.5 * spread).all()
    assert (errors > spread / 2.5).all()
