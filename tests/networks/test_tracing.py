"""A traced function is traced once, whatever the number of images, and says what the eager one says."""

import numpy as np
import tensorflow as tf

from envise_tf.networks.students import residual_student
from envise_tf.networks.tracing import traced, traced_function


def test_a_network_answers_as_it_does_in_inference_mode():
    student = residual_student(8, 3, (32,), (1,))
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), np.uint8)
    run = traced(student)
    for count in (1, 5):
        said = run(images[:count])
        assert isinstance(said, np.ndarray)
        np.testing.assert_allclose(said, student(images[:count], training=False), rtol=1e-5, atol=1e-5)


def test_batches_of_any_size_and_scalars_of_any_value_are_one_trace():
    traces = []

    def scaled(images, factor):
        traces.append(images.shape)
        return tf.cast(images, tf.float32) * factor

    run = traced_function(scaled, tf.keras.Input((2,), dtype="uint8"), tf.constant(0.0))
    for count, factor in ((1, 2.0), (3, 0.5)):
        np.testing.assert_array_equal(
            run(np.full((count, 2), 4, np.uint8), tf.constant(factor)), np.full((count, 2), 4 * factor)
        )
    assert [tuple(shape) for shape in traces] == [(None, 2)]
