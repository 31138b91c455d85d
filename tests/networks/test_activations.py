"""Activations of Keras 3 against their closed forms, and after a network that has them was saved."""

import numpy as np
import pytest
import tensorflow as tf

from envise_tf.networks.activations import keras3_hard_sigmoid, keras3_hard_swish

X = np.linspace(-5, 5, 41, dtype=np.float32)[np.newaxis]
EXPECTED = {keras3_hard_sigmoid: np.clip((X + 3) / 6, 0, 1), keras3_hard_swish: X * np.clip((X + 3) / 6, 0, 1)}


@pytest.mark.parametrize("activation", EXPECTED)
def test_it_is_the_function_of_keras_3_also_after_saving(activation, tmp_path):
    np.testing.assert_allclose(activation(X), EXPECTED[activation], rtol=1e-6, atol=1e-6)
    tf.keras.Sequential([tf.keras.Input((41,)), tf.keras.layers.Activation(activation)]).save(tmp_path / "a.keras")
    loaded = tf.keras.models.load_model(tmp_path / "a.keras")
    np.testing.assert_allclose(loaded(X), EXPECTED[activation], rtol=1e-6, atol=1e-6)
