"""The pass over test images, on a fixed run of digits, with boxes added to the source where boxes are asked for."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from envise_tf.deferral.scores import outlier_score
from envise_tf.errors import UserError
from envise_tf.evaluate.test_pass import Examiner
from envise_tf.images.digits import Digits
from envise_tf.measures.localisation import localisation
from envise_tf.networks.grad_cam import grad_cam
from envise_tf.runs.finished import load_run, networks_of

UPPER_LEFT = np.array([0, 0, 0.5, 0.5], np.float32)


class BoxedDigits(Digits):
    """Digits that are all said to be in the upper left quarter."""

    has_boxes = True

    def examples(self, split, labels=None):
        return super().examples(split, labels).map(lambda example: {**example, "box": tf.constant(UPPER_LEFT)})


@pytest.fixture(scope="module")
def finished(digits_run):
    return load_run(str(digits_run))


@pytest.fixture(scope="module")
def examined(finished):
    """Examines the run's test images in batches of a size, with changes to its job."""
    networks, scores = networks_of(finished), {name: outlier_score(name) for name in ("msp", "energy")}

    def found(batch_size, **changes):
        changed = dataclasses.replace(finished, job=dataclasses.replace(finished.job, **changes))
        return Examiner(changed, networks, scores).examination(batch_size)

    return found


def test_batches_of_any_size_give_the_same_examination(examined):
    one, other = examined(50), examined(1000)
    for field in ("truth", "teacher_class", "student_class", "is_outlier"):
        np.testing.assert_array_equal(getattr(one.predictions, field), getattr(other.predictions, field))
    np.testing.assert_array_equal(one.own_class, other.own_class)
    np.testing.assert_array_equal(one.feature_rows, other.feature_rows)
    for name in one.scores:
        # Where kernels depend on the batch, a sum next to zero may have another sign in an image or two of 360.
        assert np.mean(np.isclose(one.scores[name], other.scores[name], rtol=1e-4, atol=1e-5)) >= 0.99


def test_outliers_are_those_of_the_scenario_and_absent_classes_do_not_come(examined, finished):
    predictions = examined(1000).predictions
    np.testing.assert_array_equal(predictions.is_outlier, predictions.truth >= 7)
    narrowed = dataclasses.replace(finished.job.scenario, outlier=("nine",), absent=("seven", "eight"))
    predictions = examined(1000, scenario=narrowed).predictions
    assert set(predictions.truth) == {0, 1, 2, 3, 4, 5, 6, 9}


def test_without_a_scenario_every_class_is_an_inlier(examined):
    predictions = examined(1000, scenario=None).predictions
    assert set(predictions.truth) == set(range(10))
    assert not predictions.is_outlier.any()


def test_attention_is_held_against_boxes_where_the_source_has_them(examined, finished):
    assert examined(1000).localisation == {}
    found = examined(100, tested=BoxedDigits()).localisation
    images = Digits().examples("test").batch(1000).get_single_element()["image"]
    teacher_class = tf.argmax(finished.job.teacher.model(images, training=False), -1)
    known = teacher_class < 7  # the student's classes are the teacher's first seven
    images, classes = images[known], teacher_class[known][:, tf.newaxis]
    for name, model in (("teacher", finished.job.teacher.model), ("student", finished.student)):
        maps = grad_cam(model, images, classes)[:, 0].numpy()
        expected = localisation(maps, np.tile(UPPER_LEFT, (len(maps), 1)))
        assert found[name].images == expected.images
        assert found[name].share_inside == pytest.approx(expected.share_inside, rel=1e-3)
        assert found[name].pointing == pytest.approx(expected.pointing, abs=0.02)
        assert found[name].chance == pytest.approx(0.25)


def test_labels_are_needed(examined):
    with pytest.raises(UserError, match="has no labelled images"):
        examined(100, tested=None)


def test_memory_holds_features_of_2000_images_at_most(examined, monkeypatch):
    monkeypatch.setattr("envise_tf.evaluate.test_pass._MOST_FEATURES", 50)
    examination = examined(64)
    assert len(examination.features) == len(examination.feature_rows) <= 50
    every = examination.feature_rows[1]
    np.testing.assert_array_equal(examination.feature_rows, np.arange(0, len(examination.own_class), every))
