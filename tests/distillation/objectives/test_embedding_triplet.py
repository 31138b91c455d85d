"""Embedding triplet: the furthest positive and the nearest negative found by loops, gradients, images left out."""

import numpy as np
import pytest
import tensorflow as tf
from gradients import assert_finite, assert_gradient_is_the_slope

from envise_tf.distillation.objectives import Shapes
from envise_tf.distillation.objectives.embedding_triplet import EmbeddingTriplet, embedding_triplet
from envise_tf.errors import UserError

RANDOM = np.random.default_rng(4)
STUDENT, TEACHER = RANDOM.normal(size=(6, 3)), RANDOM.normal(size=(6, 3))
LABEL, KNOWN = np.array([0, 1, 0, 2, 1, 0]), np.array([True, True, True, True, True, False])
MARGIN = 0.8


def losses(student, label=LABEL, is_known=KNOWN):
    return embedding_triplet(student, tf.cast(TEACHER, student.dtype), label, is_known, MARGIN)


def test_it_is_what_loops_find():
    student, teacher = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (STUDENT, TEACHER))
    expected = np.zeros(6)
    for i in range(5):
        positive = max(np.linalg.norm(student[i] - teacher[j]) for j in range(5) if LABEL[j] == LABEL[i])
        negative = min(np.linalg.norm(student[i] - student[j]) for j in range(5) if LABEL[j] != LABEL[i])
        expected[i] = max(0, positive - negative + MARGIN)
    assert (expected > 0).sum() >= 3
    np.testing.assert_allclose(losses(tf.constant(STUDENT)), expected, rtol=1e-9)


def test_the_gradient_is_the_slope():
    assert_gradient_is_the_slope(losses, STUDENT)


def test_equal_and_extreme_embeddings():
    assert_finite(losses, STUDENT, (0.0, 1e-30, 1.0, 1e37))
    assert_finite(losses, TEACHER, (1.0,))
    assert_finite(losses, np.ones_like(STUDENT), (1.0,))


def test_a_batch_of_one_class_adds_nothing():
    np.testing.assert_array_equal(losses(tf.constant(STUDENT), np.zeros(6, int), np.ones(6, bool)), np.zeros(6))


def test_the_adaptation_leads_to_the_teachers_width():
    adaptation = EmbeddingTriplet().companion(Shapes(3, embedding=4), Shapes(5, embedding=9))
    assert [weight.shape for weight in adaptation.get_weights()] == [(4, 9)]
    with pytest.raises(UserError, match=r"margin -0.1, expected at least 0"):
        EmbeddingTriplet(margin=-0.1)
