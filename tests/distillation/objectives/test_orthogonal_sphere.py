"""Orthogonal sphere: blocks at known angles, gradients, and embeddings that cannot be cut."""

import numpy as np
import pytest
from gradients import assert_finite, assert_gradient_is_the_slope

from envise_tf.distillation.objectives import Shapes
from envise_tf.distillation.objectives.orthogonal_sphere import OrthogonalSphere, orthogonal_sphere
from envise_tf.errors import UserError

# Two blocks each: at right angles, alike, 3-4-5, one of them zero.
EMBEDDING = np.array([[2.0, 0, 0, 5], [1, 2, 2, 4], [1, 0, 3, 4], [0, 0, 7, 1]])


def test_blocks_at_known_angles():
    np.testing.assert_allclose(orthogonal_sphere(EMBEDDING, 2), [0, 2, 2 * 0.6**2, 1], atol=1e-9)


def test_the_gradient_is_the_slope():
    assert_gradient_is_the_slope(lambda embedding: orthogonal_sphere(embedding, 2), EMBEDDING[:3] + 0.2)


def test_extreme_embeddings():
    assert_finite(lambda embedding: orthogonal_sphere(embedding, 2), EMBEDDING, (0.0, 1e-30, 1.0, 1e37))


def test_an_embedding_that_cannot_be_cut_is_refused():
    OrthogonalSphere(blocks=4).companion(Shapes(3, embedding=32), Shapes(3))
    with pytest.raises(UserError, match="16 blocks of a student with 40 penultimate features"):
        OrthogonalSphere().companion(Shapes(3, embedding=40), Shapes(3))
    with pytest.raises(UserError, match="blocks 1, expected at least 2"):
        OrthogonalSphere(blocks=1)
