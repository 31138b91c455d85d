"""What both networks say of held-back images, and the cascade of two networks, against the networks themselves."""

import numpy as np
import pytest
import tensorflow as tf

from envise_tf.deferral.held_back_images import answers_on
from envise_tf.deferral.keras_cascade import keras_cascade
from envise_tf.deferral.scores import outlier_score
from envise_tf.deferral.scores.outputs import Observer
from envise_tf.deferral.threshold import Threshold
from envise_tf.errors import UserError
from envise_tf.networks.loading import Classifier

CLASSES = [4, 0, 2]
"""The teacher's class of each of the student's three."""


def linear(classes: int, seed: int) -> tf.keras.Model:
    pixels = tf.keras.Input((2, 2, 3), dtype=tf.uint8)
    scaled = tf.keras.layers.Flatten()(tf.keras.layers.Rescaling(1 / 255)(pixels))
    kernel = tf.keras.initializers.RandomNormal(stddev=3.0, seed=seed)
    return tf.keras.Model(pixels, tf.keras.layers.Dense(classes, kernel_initializer=kernel)(scaled))


STUDENT, TEACHER = linear(3, seed=1), Classifier(linear(5, seed=2), tuple("abcde"))
IMAGES = np.random.default_rng(0).integers(0, 256, (50, 2, 2, 3), np.uint8)


@pytest.mark.parametrize("batches", [[IMAGES[:20], IMAGES[20:]], tf.data.Dataset.from_tensor_slices(IMAGES).batch(7)])
def test_both_networks_look_at_every_image(batches):
    said = answers_on(batches, Observer(STUDENT), TEACHER, CLASSES)
    np.testing.assert_array_equal(said.outputs.images, IMAGES)
    np.testing.assert_array_equal(said.own_class, STUDENT(IMAGES).numpy().argmax(axis=-1))
    labels = TEACHER.model(IMAGES).numpy().argmax(axis=-1)
    known = {label: own for own, label in enumerate(CLASSES)}
    assert set(CLASSES) <= set(labels) != set(CLASSES)
    np.testing.assert_array_equal(said.pseudo_label, [known.get(label, -1) for label in labels])
    np.testing.assert_array_equal(said.teacher_class, labels)
    odds = np.exp(TEACHER.model(IMAGES).numpy().astype(float))
    np.testing.assert_allclose(said.confidence, odds.max(axis=1) / odds.sum(axis=1), rtol=1e-5)


def test_the_regret_is_what_the_teacher_thinks_its_own_answer_better_by():
    said = answers_on([IMAGES], Observer(STUDENT), TEACHER, CLASSES)
    odds = np.exp(TEACHER.model(IMAGES).numpy().astype(float))
    of_student = odds[np.arange(len(IMAGES)), np.take(CLASSES, said.own_class)]
    np.testing.assert_allclose(said.regret, (odds.max(axis=1) - of_student) / odds.sum(axis=1), atol=1e-7)
    assert (said.seen_by(outlier_score("msp")).regret > 0).any()


def test_a_score_is_fitted_on_all_images_of_its_part():
    said = answers_on([IMAGES], Observer(STUDENT), TEACHER, CLASSES)
    score, by_hand = said.fitted(outlier_score("knn")), outlier_score("knn")
    by_hand.fit(said.outputs, said.pseudo_label, said.regret)
    assert score.fitted.keys() == by_hand.fitted.keys() != set()
    for name, values in by_hand.fitted.items():
        np.testing.assert_array_equal(score.fitted[name], values)
    np.testing.assert_array_equal(said.seen_by(score).score, score.score(said.outputs))


def test_no_held_back_image_is_a_user_error():
    with pytest.raises(UserError, match="too few images to hold any back"):
        answers_on([], Observer(STUDENT), TEACHER, CLASSES)


def test_the_cascade_answers_as_the_student_above_the_threshold_and_as_the_teacher_below():
    logits = STUDENT(IMAGES).numpy()
    middle = float(np.median(logits.max(axis=-1)))
    threshold = Threshold(np.full(3, middle, np.float32), "risk", {}, "made for the test", 0.5, None, None)
    cascade = keras_cascade(Observer(STUDENT), outlier_score("max_logit"), TEACHER, threshold, CLASSES)
    answers = cascade.classify_batch(IMAGES)
    by_student = logits.max(axis=-1) >= middle
    assert 0 < by_student.sum() < len(IMAGES)
    np.testing.assert_array_equal(answers.by_student, by_student)
    own, teachers = logits.argmax(axis=-1), TEACHER.model(IMAGES).numpy().argmax(axis=-1)
    np.testing.assert_array_equal(answers.label, np.where(by_student, np.take(CLASSES, own), teachers))
    assert cascade.classify(IMAGES[0]).label == "abcde"[answers.label[0]]
