"""A new last layer, trained alone on features that a network gives."""

import numpy as np
import pytest
import tensorflow as tf

from envise_tf.networks.warm_head import warm_head

pytestmark = pytest.mark.slow

layers = tf.keras.layers

CLASSES = 3


@pytest.fixture
def model() -> tf.keras.Model:
    tf.keras.utils.set_random_seed(5)
    images = tf.keras.Input((4, 4, 3), dtype="uint8")
    features = layers.Flatten()(layers.Conv2D(8, 1)(layers.Rescaling(1 / 128, -1)(images)))
    return tf.keras.Model(images, layers.Dense(CLASSES)(features))


def batches() -> tf.data.Dataset:
    """Red, green and blue images, 32 each, as pairs with their labels."""
    labels = np.arange(96) % CLASSES
    images = np.random.default_rng(0).integers(0, 50, (96, 4, 4, 3)) + 200 * np.eye(3, dtype=int)[labels][:, None, None]
    return tf.data.Dataset.from_tensor_slices((images.astype(np.uint8), labels)).batch(16)


def accuracy(model: tf.keras.Model) -> float:
    return float(np.mean([model(images).numpy().argmax(axis=1) == labels for images, labels in batches()]))


def test_it_learns_and_no_other_layer_moves(model):
    before = model.get_weights()
    warm_head(model, batches(), 40, 0.1)
    assert accuracy(model) == 1
    for old, new in zip(before[:-2], model.get_weights()[:-2], strict=True):
        np.testing.assert_array_equal(old, new)


def test_the_same_seed_gives_the_same_layer(model):
    first, made = model.get_weights(), []
    for _ in range(2):
        tf.keras.utils.set_random_seed(1)
        model.set_weights(first)
        warm_head(model, batches(), 3, 0.0)
        made.append(model.get_weights()[-2])
    np.testing.assert_array_equal(*made)


def test_the_label_is_as_smooth_as_asked_for(model):
    # One image of one class: the best logits give its class 1 - s + s / K, the others s / K each.
    one = tf.data.Dataset.from_tensors((np.full((1, 4, 4, 3), 90, np.uint8), np.array([1])))
    warm_head(model, one, 100, 0.3)
    ((images, _),) = one
    np.testing.assert_allclose(tf.nn.softmax(model(images))[0], [0.1, 0.8, 0.1], atol=0.01)
