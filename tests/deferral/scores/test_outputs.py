"""What an observer tells of a student, against the network itself, a hand-made gradient and finite differences."""

import numpy as np
import pytest
import tensorflow as tf
from scipy.special import log_softmax

from envise_tf.deferral.scores.outputs import Observer, Outputs
from envise_tf.errors import UserError
from envise_tf.networks.students import residual_student

pytestmark = pytest.mark.slow

layers = tf.keras.layers
IMAGES = np.random.default_rng(3).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)


def smooth_network() -> tf.keras.Model:
    """A network with a gradient everywhere, so that finite differences tell it."""
    tf.keras.utils.set_random_seed(5)
    image = layers.Input((8, 8, 3), dtype="uint8")
    x = layers.Conv2D(4, 4, 2, activation="tanh")(layers.Rescaling(1 / 127.5, -1)(image))
    return tf.keras.Model(image, layers.Dense(5)(layers.Flatten()(x)))


def log_probability(network: tf.keras.Model, pixels: np.ndarray, chosen: np.ndarray, temperature: float) -> np.ndarray:
    """The log-softmax of chosen classes for float64 pixels, from the weights alone."""
    convolution, dense = network.layers[2].get_weights(), network.layers[4].get_weights()
    scaled = pixels / 127.5 - 1
    windows = np.lib.stride_tricks.sliding_window_view(scaled, (4, 4), axis=(1, 2))[:, ::2, ::2]
    x = np.tanh(np.einsum("nhwcij,ijck->nhwk", windows, convolution[0].astype(float)) + convolution[1])
    logits = x.reshape(len(x), -1) @ dense[0].astype(float) + dense[1]
    return log_softmax(logits / temperature, axis=1)[np.arange(len(x)), chosen]


def finite_differences(network: tf.keras.Model, chosen: np.ndarray, temperature: float) -> np.ndarray:
    slopes = np.zeros(IMAGES.shape)
    for place in np.ndindex(IMAGES.shape[1:]):
        step = np.zeros(IMAGES.shape[1:])
        step[place] = 1e-3
        up, down = (log_probability(network, IMAGES + way * step, chosen, temperature) for way in (1, -1))
        slopes[(slice(None), *place)] = (up - down) / 2e-3
    return slopes


def test_logits_and_features_are_those_of_the_network(network, student, fresh):
    assert (fresh.logits.dtype, fresh.features.dtype) == (np.float32, np.float32)
    assert fresh.logits.shape == (60, 7)
    assert student.kernel.shape == (fresh.features.shape[1], 7)
    np.testing.assert_allclose(network(fresh.images, training=False)[:, :7], fresh.logits, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(fresh.features @ student.kernel + student.bias, fresh.logits, rtol=1e-5, atol=1e-5)


def test_a_binary_student_is_observed_in_inference_mode_and_left_as_it_is():
    network = residual_student(8, 5, (32,), (2,))
    before = network.get_weights()
    observer = Observer(network)
    outputs = observer(IMAGES)
    observer.perturbed_logits(IMAGES, [1.0], 10.0)
    np.testing.assert_allclose(outputs.logits, network(IMAGES, training=False), rtol=1e-5, atol=1e-5)
    assert outputs.features.shape == (6, 32)
    assert outputs.features.min() >= 0
    assert network.layers[-1].input is not None  # Keras raises where a layer has been called a second time
    for now, then in zip(network.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_half_precision_and_a_missing_bias_come_out_as_float32():
    image = layers.Input((8, 8, 3), dtype="uint8")
    features = layers.Flatten(dtype="float16")(layers.Rescaling(1 / 255, dtype="float16")(image))
    observer = Observer(tf.keras.Model(image, layers.Dense(3, use_bias=False, dtype="float32")(features)))
    outputs = observer(IMAGES)
    assert outputs.features.dtype == outputs.logits.dtype == observer.kernel.dtype == np.float32
    np.testing.assert_array_equal(observer.bias, np.zeros(3, np.float32))
    np.testing.assert_allclose(outputs.features.reshape(IMAGES.shape), IMAGES / 255, atol=1e-3)


def test_a_sequential_student_is_observed_too():
    network = tf.keras.Sequential([layers.Input((8, 8, 3), dtype="uint8"), layers.Flatten(), layers.Dense(2)])
    observer = Observer(network)
    np.testing.assert_allclose(observer(IMAGES).logits, network(IMAGES), rtol=1e-5)
    assert observer.perturbed_logits(IMAGES, [0.0, 1.0], 1.0).shape == (2, 6, 2)


@pytest.mark.parametrize("temperature", [1.0, 1000.0])
def test_the_step_is_the_sign_of_the_slope_of_the_log_softmax(temperature):
    network = smooth_network()
    observer = Observer(network)
    chosen = observer(IMAGES).logits.argmax(axis=1)
    slopes = finite_differences(network, chosen, temperature)
    is_clear = np.abs(slopes) > 1e-3 * np.abs(slopes).max()
    assert is_clear.mean() > 0.9
    # The logits of the moved image tell which way its pixels went.
    moved = IMAGES + 4.0 * np.sign(slopes)
    expected = np.stack([log_probability(network, moved, np.full(6, c), 1.0) for c in range(5)], axis=1)
    found = log_softmax(observer.perturbed_logits(IMAGES, [4.0], temperature)[0].astype(float), axis=1)
    np.testing.assert_allclose(found, expected, atol=2e-4)


def test_no_step_leaves_the_logits_and_many_images_are_taken_in_turn(student):
    images = np.random.default_rng(1).integers(0, 256, (101, 32, 32, 3), dtype=np.uint8)
    np.testing.assert_allclose(student.perturbed_logits(images, [0.0], 1000.0)[0], student(images).logits, atol=1e-4)
    assert student.perturbed_logits(images[:0], [1.0], 1.0).shape == (1, 0, 7)


def test_outputs_are_chosen_and_put_together_again(fresh):
    parts = [fresh.chosen(np.arange(60) < 20), fresh.chosen(np.arange(20, 60))]
    whole = Outputs.concatenated(parts)
    for name in ("images", "logits", "features"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(fresh, name))
    assert whole.observer is fresh.observer


class Unknown(tf.keras.Model):
    def call(self, inputs):
        return inputs


@pytest.mark.parametrize(
    ("last", "message"),
    [
        (layers.Dense(3, "softmax", name="end"), r"last layer is 'end' \(Dense, softmax\), expected a Dense layer"),
        (layers.Softmax(name="end"), r"last layer is 'end' \(Softmax, linear\)"),
        (layers.Reshape((4, 48), name="end"), r"last layer is 'end' \(Reshape, linear\)"),
    ],
)
def test_a_student_that_does_not_end_in_logits_is_refused(last, message):
    image = layers.Input((8, 8, 3))
    with pytest.raises(UserError, match=message):
        Observer(tf.keras.Model(image, last(layers.Flatten()(image))))


def test_a_student_without_a_graph_is_refused():
    with pytest.raises(UserError, match="expected a functional or built sequential Keras model"):
        Observer(Unknown())
