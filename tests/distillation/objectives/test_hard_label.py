"""Cross-entropy with the pseudo-label, against SciPy."""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from scipy.special import log_softmax, softmax

from envise_tf.distillation.objectives import Evidence
from envise_tf.distillation.objectives.hard_label import HardLabel, hard_label

LOGITS = np.array([[2.0, -1.0, 0.5], [0.0, 0.0, 0.0], [30.0, -90.0, 4.0]])
LABELS = np.array([0, 2, 1])


def evidence(is_known):
    student = SimpleNamespace(logits=tf.constant(LOGITS))
    return Evidence(student, None, tf.range(3), tf.zeros((3, 3)), tf.constant(LABELS), tf.constant(is_known))


def test_it_is_the_negative_log_probability_of_the_pseudo_label():
    expected = -log_softmax(LOGITS, axis=1)[np.arange(3), LABELS]
    assert expected[1] == pytest.approx(np.log(3))
    np.testing.assert_allclose(hard_label(tf.constant(LOGITS), LABELS), expected, rtol=1e-12)


def test_its_gradient_is_the_probabilities_less_the_label():
    logits = tf.constant(LOGITS)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = tf.reduce_sum(hard_label(logits, LABELS))
    np.testing.assert_allclose(tape.gradient(loss, logits), softmax(LOGITS, axis=1) - np.eye(3)[LABELS], atol=1e-12)


def test_the_loss_is_the_mean_of_the_known_images():
    losses = -log_softmax(LOGITS, axis=1)[np.arange(3), LABELS]
    loss, figures = HardLabel()(evidence([True, False, True]))
    assert float(loss) == pytest.approx((losses[0] + losses[2]) / 2)
    assert figures == {}


def test_a_batch_without_a_known_image_has_no_loss():
    assert float(HardLabel()(evidence([False] * 3))[0]) == 0
