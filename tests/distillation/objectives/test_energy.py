"""Energies of stages: their values, and which stage of one network is compared with which of the other."""

import numpy as np
import tensorflow as tf

from envise_tf.distillation.objectives.energy import energy, energy_pairs


def test_the_mean_square_over_channels_in_units_of_the_largest():
    features = tf.constant([[[[1.0, -2.0], [0.0, 4.0]]], [[[0.0, 0.0], [0.0, 0.0]]]])
    np.testing.assert_allclose(energy(features), [[[5 / 32, 0.5]], [[0, 0]]])
    assert energy(tf.cast(features, tf.bfloat16)).dtype == tf.float32


def test_stages_are_paired_from_the_last_on_the_smaller_grid():
    student = [tf.ones((1, 4, 4, 2)), tf.ones((1, 2, 2, 3))]
    teacher = [tf.ones((1, 9, 9, 1)), tf.ones((1, 8, 8, 5)), tf.ones((1, 1, 2, 6))]
    pairs = energy_pairs(student, teacher)
    assert [(one.shape, other.shape) for one, other in pairs] == [((1, 4, 4),) * 2, ((1, 1, 2),) * 2]
