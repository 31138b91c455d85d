"""Knowledge distillation, against SciPy and its limit at a high temperature."""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from scipy.special import rel_entr, softmax

from envise_tf.distillation.objectives import Evidence
from envise_tf.distillation.objectives.soft_label import SoftLabel, soft_label
from envise_tf.errors import UserError

RANDOM = np.random.default_rng(4)
STUDENT, TEACHER = RANDOM.normal(scale=3, size=(2, 5, 6))


def reference(temperature):
    p, q = softmax(TEACHER / temperature, axis=1), softmax(STUDENT / temperature, axis=1)
    return temperature**2 * rel_entr(p, q).sum(axis=1)


def gradient(temperature):
    logits = tf.constant(STUDENT)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = tf.reduce_sum(soft_label(logits, tf.constant(TEACHER), temperature))
    return tape.gradient(loss, logits).numpy()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 20.0])
def test_it_is_the_relative_entropy_of_softened_probabilities(temperature):
    losses = soft_label(tf.constant(STUDENT), tf.constant(TEACHER), temperature)
    np.testing.assert_allclose(losses, reference(temperature), rtol=1e-9)


@pytest.mark.parametrize("temperature", [0.5, 4.0])
def test_its_gradient_is_the_difference_of_softened_probabilities(temperature):
    expected = temperature * (softmax(STUDENT / temperature, axis=1) - softmax(TEACHER / temperature, axis=1))
    np.testing.assert_allclose(gradient(temperature), expected, rtol=1e-9, atol=1e-12)


def test_at_a_high_temperature_its_gradient_is_the_difference_of_centred_logits():
    difference = STUDENT - TEACHER
    expected = (difference - difference.mean(axis=1, keepdims=True)) / STUDENT.shape[1]
    np.testing.assert_allclose(gradient(1e5), expected, atol=1e-3)


def test_logits_that_agree_up_to_a_constant_have_no_loss():
    logits = tf.constant(TEACHER, tf.float32)
    np.testing.assert_allclose(soft_label(logits + 7.0, logits, 2.0), np.zeros(5), atol=1e-5)


def test_probabilities_that_underflow_give_a_finite_loss():
    loss = soft_label(tf.constant([[500.0, -500.0]]), tf.constant([[-500.0, 500.0]]), 1.0)
    np.testing.assert_allclose(loss, [1000.0], rtol=1e-6)


def test_the_loss_is_the_mean_of_the_known_images():
    known = np.array([True, False, False, True, True])
    student = SimpleNamespace(logits=tf.constant(STUDENT))
    evidence = Evidence(student, None, tf.range(6), tf.constant(TEACHER), tf.zeros(5, tf.int64), tf.constant(known))
    loss, figures = SoftLabel(temperature=3.0)(evidence)
    assert float(loss) == pytest.approx(reference(3.0)[known].mean())
    assert figures == {}


@pytest.mark.parametrize("temperature", [0.0, -1.0])
def test_a_temperature_that_is_not_positive_is_refused(temperature):
    with pytest.raises(UserError, match=f"temperature {temperature}, expected more than 0"):
        SoftLabel(temperature=temperature)
