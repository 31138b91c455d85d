"""A serving student: when an earlier one fits a stream, and that it comes back from a snapshot as it was."""

import pickle

import numpy as np
import pytest
import tensorflow as tf

from envise_tf.deferral.serving import ServingStudent, serving_student
from envise_tf.images.digits import Digits
from envise_tf.networks.shipped import shipped_network

KNOWN = np.array([0, 1, 2, 3, 4])


@pytest.fixture(scope="module")
def digits() -> dict[str, np.ndarray]:
    examples = Digits().examples("train").batch(2000).get_single_element()
    return {name: values.numpy() for name, values in examples.items()}


@pytest.fixture(scope="module")
def network():
    """A student as good as the teacher, with a head for the first five digits."""
    teacher = shipped_network("digits-disjoint", "teacher")
    last = teacher.layers[-1]
    head = tf.keras.layers.Dense(len(KNOWN))
    student = tf.keras.Model(teacher.inputs, head(last.input))
    head.set_weights([weight[..., : len(KNOWN)] for weight in last.get_weights()])
    return student


@pytest.fixture(scope="module")
def student(network, digits) -> ServingStudent:
    """Its threshold was chosen on a stream of the first five digits, and a few others."""
    images, labels = shown(digits, [0, 1, 2, 3, 4] * 8 + [7], 900, seed=0)
    return serving_student(network, KNOWN, images, labels, 10, epsilon=0.05, confidence=0.95)


def shown(digits, classes: list[int], count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images of these classes, by their number in the list; the label stands for what a teacher says."""
    random = np.random.default_rng(seed)
    wanted = random.choice(classes, count)
    rows = [random.choice(np.flatnonzero(digits["label"] == label)) for label in wanted]
    return digits["image"][rows], digits["label"][rows]


def test_its_threshold_answers_what_it_knows(student, digits):
    images, labels = shown(digits, [0, 1, 2, 3, 4], 300, seed=1)
    said = student.said(images)
    assert said.deferred.mean() < 0.1
    assert (student.classes[said.own_class] == labels).mean() > 0.97
    foreign, _ = shown(digits, [5, 6, 8, 9], 300, seed=2)
    assert student.said(foreign).deferred.mean() > 2 * said.deferred.mean()


def test_it_fits_the_stream_that_it_was_made_for_and_no_other(student, digits):
    fits = [student.fits(*shown(digits, [0, 1, 2, 3, 4] * 8 + [7], 128, seed)) for seed in range(20)]
    assert np.mean(fits) >= 0.9
    assert not any(student.fits(*shown(digits, [5, 6, 7, 8, 9], 128, seed)) for seed in range(20))
    assert not any(student.fits(*shown(digits, [0, 1, 7, 8], 128, seed)) for seed in range(20))


def test_calibration_images_are_outscored_by_half_of_them(student, digits):
    images, _ = shown(digits, [0, 1, 2, 3, 4] * 8 + [7], 600, seed=3)
    share = student.outscored(student.said(images).score)
    assert 0 <= share.min() <= share.max() <= 1
    assert share.mean() == pytest.approx(0.5, abs=0.08)
    assert student.outscored(np.array([-np.inf, np.inf], np.float32)).tolist() == [1, 0]


def test_it_comes_back_from_a_snapshot(student, network, digits):
    snapshot = pickle.loads(pickle.dumps(student.snapshot()))
    copy = ServingStudent.restored(snapshot, lambda classes: tf.keras.models.clone_model(network))
    images, labels = shown(digits, list(range(10)), 100, seed=4)
    for one, other in zip(vars(student.said(images)).values(), vars(copy.said(images)).values(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert copy.fits(images, labels) == student.fits(images, labels)
