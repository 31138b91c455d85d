"""A threshold for one class or for each, and as a value that is written and read."""

import json

import numpy as np
import pytest
from made_held_back import EPSILON, HUMP, STEADY, Law, held_back, most_violations

from envise_tf.deferral.cascade import is_deferred
from envise_tf.deferral.held_back import HeldBack
from envise_tf.deferral.labelled import LabelledAnswers, ShiftWeights
from envise_tf.deferral.promise import kept
from envise_tf.deferral.threshold import Threshold, chosen_threshold, threshold_by_labels
from envise_tf.errors import UserError


@pytest.mark.slow
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


def test_accuracy_per_class_holds_for_every_class_at_once_a_rare_one_among_them():
    # Scores 3 to 0, tied; the student's answers cost 0.5 or nothing, with these chances by class and score.
    chances = np.array([[0.0, 0.02, 0.1, 0.3], [0.0, 0.0, 0.13, 0.2], [0.01, 0.4, 0.5, 0.5]])
    lost = np.cumsum(0.5 * chances / 4, axis=1)  # among the images of a class, answered down to a score
    random, broken, answered = np.random.default_rng(7), 0, np.zeros(3)
    for _ in range(300):
        student_class = random.choice(3, 1500, p=[0.57, 0.4, 0.03])
        level = random.integers(0, 4, 1500)
        regret = 0.5 * (random.random(1500) < chances[student_class, level])
        part = HeldBack(3.0 - level, student_class, regret == 0, np.ones(1500, bool), regret)
        values = chosen_threshold("accuracy", part, part, 3, per_class=True, epsilon=0.016).values
        reached = np.isfinite(values)
        broken += any(lost[c, int(3 - values[c])] > 0.016 for c in np.flatnonzero(reached))
        answered += reached
    assert broken <= most_violations(300)
    assert (answered[:2] > 150).all()
    assert answered[2] == 0  # some 45 images promise nothing


def test_labelled_images_choose_the_lowest_of_the_held_back_scores_that_they_vouch_for():
    # The student is right wherever it scores at least 50, and wrong below, where the teacher is right.
    score = np.arange(100.0)
    none = np.zeros(4000, int)
    labelled = LabelledAnswers(np.tile(score, 40), none, np.tile(score < 50, 40).astype(int), none)
    weights = ShiftWeights.of(labelled.label, np.ones(1), np.ones(1))
    # Regret knows nothing of it: the teacher is as sure of both answers everywhere.
    held = held_back(score)
    chosen = threshold_by_labels(held, held, labelled, weights, 2, delta=0.025, epsilon=0.1)
    assert chosen.rule == "accuracy"
    assert chosen.values.tolist() == [43.0, 43.0]  # of 41, the next of the candidates, 0.09 is lost, too near to 0.1
    assert chosen.coverage == 0.57
    assert "less often than the teacher's, with confidence 95 %, by 4,000 labelled images" in chosen.promise
    assert Threshold.from_dict(json.loads(json.dumps(chosen.as_dict()))).promise == chosen.promise
    lost = LabelledAnswers(labelled.score, labelled.student_class, np.ones(4000, int), labelled.label)
    assert threshold_by_labels(held, held, lost, weights, 2, delta=0.025, epsilon=0.01) is None


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


def test_a_smaller_delta_takes_more_images():
    # 0.95^90 <= 0.01 < 0.95^89.
    part = held_back(np.ones(90))
    assert chosen_threshold("risk", part, part, 1, delta=0.01).values == [1.0]
    assert chosen_threshold("risk", part, part.where(np.arange(89)), 1, delta=0.01).values == [np.inf]


@pytest.mark.parametrize("delta", [0.0, 0.06, float("nan")])
def test_a_delta_that_breaks_the_confidence_is_refused(delta):
    part = held_back(np.ones(90))
    with pytest.raises(UserError, match=r"expected more than 0 and at most 1 - confidence, 0\.05"):
        chosen_threshold("risk", part, part, 1, delta=delta)


def test_a_student_without_classes_is_refused():
    with pytest.raises(UserError, match="a student of 0 classes: expected at least 1"):
        chosen_threshold("risk", held_back([]), held_back([]), 0)


def test_per_class_splits_delta():
    # 0.95^80 = 0.0165 <= 0.05 / 3 < 0.95^79: each of three classes takes 80 images.
    part = held_back(np.ones(79 + 80 + 81), student_class=np.repeat([0, 1, 2], [79, 80, 81]))
    values = chosen_threshold("risk", part, part, 3, per_class=True).values
    assert values.tolist() == [np.inf, 1.0, 1.0]


def test_accuracy_per_class_splits_delta():
    # Without a cost at most 5 % is shown by 63 images at delta 5 %, and by 85 at 5 % / 3.
    part = held_back(np.ones(84 + 85 + 86), student_class=np.repeat([0, 1, 2], [84, 85, 86]))
    threshold = chosen_threshold("accuracy", part, part, 3, per_class=True, epsilon=0.05)
    assert threshold.values.tolist() == [np.inf, 1.0, 1.0]
    assert threshold.promise == (
        "answers are right at most 5 % less often than the teacher's, in each of the 2 classes that it may answer "
        "(3 in all), all at once, with confidence 95 %, as far as the teacher's probabilities are right"
    )


def test_per_class_says_why_no_class_is_answered():
    part = held_back(np.ones(40), student_class=np.arange(40) % 2)
    threshold = chosen_threshold("risk", part, part, 2, per_class=True)
    assert threshold.why_all_deferred.startswith(
        "no class of 2 can have a threshold; class 0, for example: at the threshold that looks most certain the "
        "student answers 20 of 20 promising images"
    )
    assert "with confidence 97.5 %; about 72 such images would" in threshold.why_all_deferred


# The threshold as a value


@pytest.mark.parametrize("rule", ["accuracy", "risk", "recall", "rate"])
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


@pytest.mark.parametrize("student_class", [-1, 3])
def test_a_class_that_the_student_does_not_have_is_refused(student_class):
    part = held_back(np.ones(100))
    strange = held_back(np.ones(2), student_class=[0, student_class])
    message = f"the student predicts class {student_class}, expected 0 to 2"
    for choosing, promising in ((part, strange), (strange, part)):
        with pytest.raises(UserError, match=message):
            chosen_threshold("risk", choosing, promising, 3)
    with pytest.raises(UserError, match=message):
        kept(chosen_threshold("risk", part, part, 3), strange)


def test_coverage_and_disagreement_are_those_of_the_cascade():
    random = np.random.default_rng(19)
    choosing, promising = STEADY.drawn(random, 600), STEADY.drawn(random, 600)
    threshold = chosen_threshold("risk", choosing, promising, 1)
    answered = ~is_deferred(promising.score, promising.student_class, threshold.values)
    assert threshold.coverage == pytest.approx(answered.mean())
    assert threshold.disagreement == pytest.approx(1 - promising.agrees[answered].mean())
    assert 0 < threshold.disagreement < EPSILON
