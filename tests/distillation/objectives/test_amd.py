"""AMD: NumPy's exponentials where they do not overflow, log space where they do, gradients, quadrants."""

import numpy as np
import pytest
import tensorflow as tf
from gradients import assert_finite, assert_gradient_is_the_slope

from envise_tf.distillation.objectives.amd import Amd, amd, quadrants
from envise_tf.errors import UserError

RANDOM = np.random.default_rng(2)
STUDENT, TEACHER = RANDOM.uniform(0.1, 1, (2, 2, 3)), RANDOM.uniform(0.1, 1, (2, 2, 3))


def reference(student, teacher, scale, margin):
    """The formulas as they are written, one image, with G_p and G_n themselves."""

    def terms(energies):
        q = energies.ravel() / np.linalg.norm(energies)
        positive, negative = np.exp(scale * np.cos(margin * np.arccos(q))), np.exp(scale * (1 - q))
        return [np.log(positive / (positive + negative)), np.log(positive), np.log(negative)]

    pairs = zip(terms(student), terms(teacher), strict=True)
    return np.mean([np.mean((a / np.linalg.norm(a) - b / np.linalg.norm(b)) ** 2) for a, b in pairs])


@pytest.mark.parametrize(("scale", "margin"), [(2.0, 1.0), (5.0, 1.35), (64.0, 1.35)])
def test_it_is_the_formula(scale, margin):
    expected = [reference(*pair, scale, margin) for pair in zip(STUDENT, TEACHER, strict=True)]
    np.testing.assert_allclose(amd(tf.constant(STUDENT), tf.constant(TEACHER), scale, margin), expected, rtol=1e-9)


def test_one_position_against_two_by_hand():
    """Q is (1, 0) and (r, r), r = sqrt(1/2); with m = 1, cos(theta) = Q; of log G_p and log G_n alone."""
    one, two = tf.constant([[[1.0, 0.0]]], tf.float64), tf.constant([[[1.0, 1.0]]], tf.float64)
    r, log_two = 0.5**0.5, np.log1p(np.exp(2 * (1 - 2 * 0.5**0.5)))
    positive = np.mean((np.array([1, 0]) - r) ** 2)
    negative = np.mean((np.array([0, 1]) - r) ** 2)
    log_g = -np.log1p(np.exp([-2.0, 2.0]))
    ratio = np.mean((log_g / np.linalg.norm(log_g) + log_two / np.hypot(log_two, log_two)) ** 2)
    np.testing.assert_allclose(amd(one, two, 2.0, 1.0), [(positive + negative + ratio) / 3], rtol=1e-5)


def test_the_gradient_is_the_slope():
    assert_gradient_is_the_slope(lambda maps: amd(maps, tf.constant(TEACHER)), STUDENT)


def test_extreme_maps():
    peak = np.zeros((2, 2, 3))
    peak[:, 0, 1] = 1  # theta = 0
    for student in (STUDENT, peak):
        assert_finite(lambda maps: amd(maps, tf.constant(peak, tf.float32)), student, (0.0, 1e-30, 1.0, 1e37))


def test_quadrants_of_odd_maps_share_the_middle():
    maps = tf.reshape(tf.range(9.0), (1, 3, 3))
    found = [part.numpy()[0].tolist() for part in quadrants(maps)]
    assert found == [[[0, 1], [3, 4]], [[1, 2], [4, 5]], [[3, 4], [6, 7]], [[4, 5], [7, 8]]]
    assert [part.shape for part in quadrants(maps[:, :1])] == [(1, 1, 2)] * 4


def test_the_local_share_mixes_whole_map_and_quadrants():
    student, teacher = (tf.constant(RANDOM.uniform(0.1, 1, (2, 4, 4)), tf.float64) for _ in range(2))
    local = np.mean([amd(*pair) for pair in zip(quadrants(student), quadrants(teacher), strict=True)], axis=0)
    expected = 0.8 * amd(student, teacher).numpy() + 0.2 * local
    assert np.abs(local - amd(student, teacher)).max() > 1e-6
    np.testing.assert_allclose(Amd(local_share=0.2)._of_stage(student, teacher), expected, rtol=1e-9)


@pytest.mark.parametrize("options", [{"scale": 0.0}, {"margin": -1.0}, {"local_share": 1.1}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(UserError, match=f"amd: {next(iter(options))}"):
        Amd(**options)
