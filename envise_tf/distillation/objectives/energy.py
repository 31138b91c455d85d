"""Where a stage is active: the energy of its features, which attention transfer and AMD compare."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from envise_tf.networks.grad_cam import resized_to_smaller
from envise_tf.networks.precision import at_least_float32


def energy(features: tf.Tensor) -> tf.Tensor:
    """Returns mean_c (F_c / s)^2 of each position, float32 (batch, height, width) in 0..1.

    s is the largest |F| of the image, so that no square overflows. It is a constant to the gradient: use it only where
    the scale of a map does not matter.

    Args:
        features: floating point (batch, height, width, channels), F.
    """
    features = at_least_float32(features)
    largest = tf.stop_gradient(tf.reduce_max(tf.abs(features), axis=[1, 2, 3], keepdims=True))
    return tf.reduce_mean(tf.math.divide_no_nan(features, largest) ** 2, axis=-1)


def energy_pairs(student: Sequence[tf.Tensor], teacher: Sequence[tf.Tensor]) -> list[tuple[tf.Tensor, tf.Tensor]]:
    """Returns the energies of both networks, stage by stage, on the smaller grid of the two; the teacher's is constant.

    The last stages are a pair, those before them another, as far as both networks go (our choice).

    Args:
        student: features of each stage, (batch, height, width, channels).
        teacher: likewise.
    """
    pairs = []
    for of_student, of_teacher in list(zip(reversed(student), reversed(teacher), strict=False))[::-1]:
        maps = energy(of_student)[:, tf.newaxis], tf.stop_gradient(energy(of_teacher))[:, tf.newaxis]
        one, other = resized_to_smaller(*maps)
        pairs.append((one[:, 0], other[:, 0]))
    return pairs


def flattened(maps: tf.Tensor) -> tf.Tensor:
    """Returns (batch, height * width) of maps (batch, height, width)."""
    shape = tf.shape(maps)
    return tf.reshape(maps, [shape[0], shape[1] * shape[2]])
