"""How a teacher is adapted to a stream, on streams whose truth is known in closed form."""

import json

import numpy as np
import pytest
from gaussians import Gaussians, zipf_prior
from scipy.special import softmax

from envise_tf.networks.labelled import LabelledLogits
from envise_tf.prior.adaptation import Adaptation, adaptation_to
from envise_tf.prior.calibration import Calibration
from envise_tf.prior.shift import uniform_prior

pytestmark = pytest.mark.slow

CLASSES = 30
SOURCE = uniform_prior(CLASSES)
PRIOR = zipf_prior(CLASSES, 8)
TEACHER = Gaussians.random(CLASSES, spread=0.8)
STREAM, TRUTH = TEACHER.draw(PRIOR, 1500, seed=1)
LABELLED = LabelledLogits(*TEACHER.draw(SOURCE, 3000, seed=2))


def accuracy(logits: np.ndarray) -> float:
    return float((logits.argmax(axis=1) == TRUTH).mean())


def confidence(logits: np.ndarray) -> float:
    return float(softmax(logits, axis=1).max(axis=1).mean())


def test_the_adapted_teacher_is_right_more_often():
    adapted = adaptation_to(STREAM).logits(STREAM)
    best = STREAM + np.log(np.maximum(PRIOR, 1e-12))
    assert accuracy(adapted) > accuracy(STREAM) + 0.05
    assert accuracy(adapted) > accuracy(best) - 0.01


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 3.0])
def test_labelled_images_tell_how_sure_the_adapted_teacher_may_be(sharpness):
    labelled = LabelledLogits(sharpness * LABELLED.logits, LABELLED.labels)
    adaptation = adaptation_to(sharpness * STREAM, labelled)
    adapted = adaptation.logits(sharpness * STREAM)
    assert adaptation.calibration.temperature == pytest.approx(sharpness, rel=0.15)
    assert adaptation.calibration_images == 3000
    assert confidence(adapted) == pytest.approx(accuracy(adapted), abs=0.03)
    # What comes out is the same however sharp the teacher's logits are.
    np.testing.assert_allclose(adaptation.estimate, adaptation_to(STREAM, LABELLED).estimate, atol=0.01)


def test_a_teacher_that_favours_classes_is_adapted_once_labelled_images_say_which():
    favours = np.random.default_rng(4).normal(scale=1.5, size=CLASSES)
    stream = STREAM + favours
    labelled = LabelledLogits(LABELLED.logits + favours, LABELLED.labels)
    alone, told = adaptation_to(stream), adaptation_to(stream, labelled)
    assert np.abs(told.estimate - PRIOR).sum() < 0.2 < np.abs(alone.estimate - PRIOR).sum()
    assert accuracy(told.logits(stream)) > accuracy(adaptation_to(STREAM, LABELLED).logits(STREAM)) - 0.01
    assert accuracy(told.logits(stream)) > accuracy(alone.logits(stream)) + 0.02


def test_classes_that_the_stream_has_not_shown_keep_the_chance_that_they_are_given():
    unseen = np.flatnonzero(PRIOR == 0)
    logits, truth = TEACHER.draw(np.bincount(unseen, minlength=CLASSES) / len(unseen), 500, seed=3)
    kept, alone = adaptation_to(STREAM, outlier_rate=0.05), adaptation_to(STREAM, outlier_rate=0.0)
    assert kept.prior.sum() == pytest.approx(1)
    assert (kept.prior >= 0.05 / CLASSES - 1e-12).all()
    np.testing.assert_array_equal(alone.prior, alone.estimate)
    answered = [np.mean(each.logits(logits).argmax(axis=1) == truth) for each in (kept, alone)]
    assert answered[0] > answered[1] + 0.1
    assert accuracy(kept.logits(STREAM)) > accuracy(alone.logits(STREAM)) - 0.01


def test_without_labelled_images_the_teacher_is_taken_at_its_word():
    for labelled in (None, LabelledLogits.of([], CLASSES)):
        adaptation = adaptation_to(STREAM, labelled)
        assert adaptation.calibration == Calibration.identity(CLASSES)
        assert (adaptation.images, adaptation.calibration_images) == (1500, 0)


def test_labelled_images_without_a_wrong_answer_say_little():
    is_right = LABELLED.logits.argmax(axis=1) == LABELLED.labels
    easy = LabelledLogits(LABELLED.logits[is_right][:51], LABELLED.labels[is_right][:51])
    assert adaptation_to(STREAM, easy).calibration.temperature == 1.0


def test_the_interval_holds_the_estimate():
    adaptation = adaptation_to(STREAM)
    assert (adaptation.lower <= adaptation.estimate + 1e-3).all()
    assert (adaptation.estimate - 1e-3 <= adaptation.upper).all()
    # It is that of the images' draw alone, not of the teacher's errors.
    occurs = PRIOR > 0
    assert np.mean((adaptation.lower <= PRIOR)[occurs] & (adaptation.upper >= PRIOR)[occurs]) > 0.7


def test_the_raw_logits_are_had_back():
    adaptation = adaptation_to(STREAM, LABELLED)
    np.testing.assert_allclose(adaptation.raw_logits(adaptation.logits(STREAM)), STREAM, atol=1e-9)


def test_json_holds_all_of_it():
    adaptation = adaptation_to(STREAM[:300], LABELLED)
    again = Adaptation.from_dict(json.loads(json.dumps(adaptation.as_dict())))
    assert again.as_dict() == adaptation.as_dict()
    np.testing.assert_array_equal(again.logits(STREAM), adaptation.logits(STREAM))
