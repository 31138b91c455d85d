"""Held-back images with the teacher's answers: asked once, in the images' order."""

import numpy as np
import pytest
import tensorflow as tf

from envise_tf.distillation.answers import answered
from envise_tf.errors import UserError
from envise_tf.networks.tracing import traced


def teacher():
    """Says of an image what its three channels have in the corner."""
    image = tf.keras.Input((2, 2, 3), dtype="uint8")
    return traced(tf.keras.Model(image, tf.cast(image[:, 0, 0], tf.float32)))


def test_every_image_stands_beside_its_answer_and_the_teacher_is_asked_once():
    images = np.random.default_rng(0).integers(0, 256, (7, 2, 2, 3), np.uint8)
    shown = []

    def counted(batches):
        for batch in batches:
            shown.append(len(batch))
            yield batch

    pairs = answered(tf.data.Dataset.from_tensor_slices(images).batch(3), teacher(), counted)
    assert len(pairs) == 3
    for _ in range(2):
        seen, answers = (np.concatenate(parts) for parts in zip(*pairs.as_numpy_iterator(), strict=True))
        np.testing.assert_array_equal(seen, images)
        np.testing.assert_array_equal(answers, images[:, 0, 0])
    assert shown == [3, 3, 1]


def test_no_image_is_one_line():
    with pytest.raises(UserError, match="no image is held back: expected some dozens"):
        answered(tf.data.Dataset.from_tensor_slices(np.zeros((0, 2, 2, 3), np.uint8)).batch(3), teacher())
