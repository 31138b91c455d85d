"""The true loss under label shift: by hand, against laws whose loss on the stream is known, and over many draws."""

import math

import numpy as np
import pytest
from made_held_back import most_violations

from envise_tf.deferral.bounds import hoeffding_bentkus
from envise_tf.deferral.labelled import LabelledAnswers, ShiftWeights, labelled_threshold, true_loss_bound
from envise_tf.errors import UserError

DELTA = 0.05
PRIOR = np.array([0.6, 0.3, 0.1])
"""Of the stream; the labelled images have equal shares."""
LOST = np.array([[0.0, 0.01, 0.02, 0.2], [0.0, 0.0, 0.1, 0.1], [0.1, 0.2, 0.3, 0.4]])
"""How often the teacher alone is right, by class and score, from the surest of four equally likely ones on."""
GAINED = np.array([[0.0, 0.0, 0.02, 0.01], [0.0, 0.02, 0.0, 0.0], [0.0, 0.1, 0.0, 0.0]])
"""How often the student alone is right."""
LOSS_AT = np.cumsum(PRIOR @ (LOST - GAINED) / 4)
"""Accuracy lost on the stream when the scores down to each are answered."""


def drawn(random, images):
    """Labelled images with scores 3 to 0; the student says its own class, whatever is right."""
    label, level, luck = random.integers(0, 3, images), random.integers(0, 4, images), random.random(images)
    lost = (luck < LOST[label, level]).astype(int) - (luck > 1 - GAINED[label, level])
    return LabelledAnswers(3.0 - level, np.zeros(images, int), lost, label)


def test_weights_by_hand():
    label = np.array([0, 0, 0, 1])
    weights = ShiftWeights.of(label, np.array([0.5, 0.1, 0.0]), np.array([0.6, 0.3, 0.2]))
    np.testing.assert_allclose(weights.loss, [0.6 / 0.75, 0.3 / 0.25, 0])
    np.testing.assert_allclose(weights.gain, [0.5 / 0.75, 0.1 / 0.25, 0])
    assert weights.unseen == pytest.approx(0.2)
    # What is seen surely leaves no more than this for the rest.
    assert ShiftWeights.of(label, np.array([0.5, 0.4, 0.0]), np.ones(3)).unseen == pytest.approx(0.1)
    for wrong in (np.zeros(0, int), np.array([3]), np.array([-1])):
        with pytest.raises(UserError, match="labels 0 to 2"):
            ShiftWeights.of(wrong, np.zeros(3), np.ones(3))


def test_what_is_lost_by_hand():
    classes = np.array([4, 7])
    answers = LabelledAnswers.of(
        score=np.arange(4.0),
        student_class=np.array([0, 1, 0, 1]),
        classes=classes,
        teacher_class=np.array([4, 4, 7, 1]),
        label=np.array([4, 4, 4, 1]),
    )
    # both right, the teacher alone, the student alone, the teacher alone about a class that the student lacks
    assert answers.lost.tolist() == [0, 1, -1, 1]
    assert answers.student_class.tolist() == [0, 1, 0, 1]


def test_the_bound_comes_down_to_the_loss_on_the_stream():
    labelled = drawn(np.random.default_rng(1), 20_000)
    weights = ShiftWeights.of(labelled.label, PRIOR, PRIOR)
    bounds = true_loss_bound(np.array([3.0, 2.0, 1.0, 0.0, np.inf]), labelled, weights, DELTA)
    np.testing.assert_allclose(bounds[:4], LOSS_AT, atol=0.014)
    assert (bounds[:4] > LOSS_AT).all()
    assert 0 < bounds[4] < 0.003  # nothing is answered
    # Of the labelled images themselves, which have another prior, far more is lost.
    elsewhere = ShiftWeights.of(labelled.label, np.full(3, 1 / 3), np.full(3, 1 / 3))
    assert true_loss_bound(np.zeros(1), labelled, elsewhere, DELTA)[0] > LOSS_AT[3] + 0.03
    wider = true_loss_bound(np.array([2.0]), labelled, weights, DELTA, hoeffding_bentkus)
    assert wider[0] > bounds[1]


def test_an_uncertain_prior_and_unseen_classes_raise_the_bound():
    labelled = drawn(np.random.default_rng(2), 3000)
    exact = ShiftWeights.of(labelled.label, PRIOR, PRIOR)
    wide = ShiftWeights.of(labelled.label, 0.9 * PRIOR, 1.1 * PRIOR)
    found = [true_loss_bound(np.array([1.0]), labelled, weights, DELTA)[0] for weights in (exact, wide)]
    assert found[0] < found[1] < found[0] + 0.02
    more = ShiftWeights.of(labelled.label, np.append(PRIOR, 0), np.append(PRIOR, 0.05))
    assert more.unseen == pytest.approx(0)  # the shares seen add up to all
    less = ShiftWeights.of(labelled.label, np.append(0.97 * PRIOR, 0), np.append(PRIOR, 0.05))
    assert less.unseen == pytest.approx(0.03)
    known = ShiftWeights.of(labelled.label, 0.97 * PRIOR, PRIOR)
    raised, level = (true_loss_bound(np.array([1.0]), labelled, each, DELTA)[0] for each in (less, known))
    assert raised - level == pytest.approx(less.unseen - known.unseen)


def test_classes_may_have_thresholds_of_their_own():
    labelled = drawn(np.random.default_rng(3), 2000)
    other = LabelledAnswers(labelled.score, labelled.label, labelled.lost, labelled.label)
    weights = ShiftWeights.of(labelled.label, PRIOR, PRIOR)
    together, apart, one_class = true_loss_bound(
        np.array([[1.0] * 3, [1.0, 1.0, np.inf], [np.inf, np.inf, 1.0]]), other, weights, DELTA
    )
    assert together == pytest.approx(true_loss_bound(np.array([1.0]), labelled, weights, DELTA)[0])
    assert apart < together
    assert one_class < together


def test_the_promise_is_broken_no_more_often_than_allowed():
    """Epsilon lies just below what the third score would cost."""
    random, draws, epsilon = np.random.default_rng(5), 120, LOSS_AT[2] * 0.99
    chosen = []
    for _ in range(draws):
        labelled = drawn(random, 1500)
        weights = ShiftWeights.of(labelled.label, PRIOR, PRIOR)
        chosen.append(labelled_threshold(np.arange(4.0), labelled, weights, epsilon, DELTA))
    assert np.sum([value <= 1 for value in chosen]) <= most_violations(draws)
    assert np.mean(np.isfinite(chosen)) > 0.5


def test_too_few_images_promise_nothing():
    labelled = drawn(np.random.default_rng(6), 40)
    weights = ShiftWeights.of(labelled.label, PRIOR, PRIOR)
    assert labelled_threshold(np.arange(4.0), labelled, weights, 0.02, DELTA) == math.inf
