"""A traced function is traced once and says what the eager one says; networks out of use leave nothing behind."""

import gc
import weakref

import numpy as np
import tensorflow as tf

from envise_tf.networks.students import residual_student
from envise_tf.networks.tracing import custom_gradients, forget_networks, traced, traced_function

_IMAGES = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), np.uint8)


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


class _Trained:
    """A student with its training step, traced."""

    def __init__(self):
        self.student = residual_student(8, 2, (32,), (1,))
        self.step = tf.function(self._loss, autograph=False)

    def _loss(self, images):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(self.student(images, training=True)))
        kernel = self.student.trainable_variables[0]
        kernel.assign_sub(0.1 * tape.gradient(loss, kernel))
        return loss


def test_networks_that_are_not_used_are_let_go():
    kept = custom_gradients()
    trained = _Trained()
    trained.step(_IMAGES)
    assert custom_gradients() > kept
    graph = weakref.ref(trained.step.get_concrete_function(_IMAGES).graph)
    del trained
    gc.collect()
    assert graph() is not None, "TensorFlow does not keep it any more: forget_networks is not needed"
    forget_networks(kept)
    assert graph() is None
    assert custom_gradients() == kept


def test_a_network_in_use_goes_on_to_learn_and_to_answer():
    undisturbed, other = _Trained(), _Trained()
    other.student.set_weights(undisturbed.student.get_weights())
    kept = custom_gradients()
    for trained in (undisturbed, other):
        trained.step(_IMAGES)
    expected = [float(undisturbed.step(images)) for images in (_IMAGES, _IMAGES[:2])]
    forget_networks(kept)
    assert [float(other.step(images)) for images in (_IMAGES, _IMAGES[:2])] == expected
    np.testing.assert_array_equal(traced(other.student)(_IMAGES), traced(undisturbed.student)(_IMAGES))


def test_what_is_kept_can_be_differentiated():
    doubled = tf.custom_gradient(lambda x: (x, lambda dy: 2.0 * dy))
    function = tf.function(doubled).get_concrete_function(tf.TensorSpec([], tf.float32))
    forget_networks(custom_gradients())
    x = tf.Variable(1.0)
    with tf.GradientTape() as tape:
        y = function(x)
    assert float(tape.gradient(y, x)) == 2.0
