"""Each pixel range against values worked out by hand, and the layer through a saved file."""

import numpy as np
import pytest
import tensorflow as tf

from envise_tf.networks.normalisation import Normalisation

RED, GREEN, BLUE = 255, 51, 0
PIXEL = np.array([[[[RED, GREEN, BLUE]]]], np.uint8)
EXPECTED = {
    "raw": [255, 51, 0],
    "unit": [1, 0.2, 0],
    "symmetric": [1, -0.6, -1],
    "torch": [(1 - 0.485) / 0.229, (0.2 - 0.456) / 0.224, (0 - 0.406) / 0.225],
    "caffe": [0 - 103.939, 51 - 116.779, 255 - 123.68],
}


@pytest.mark.parametrize("pixel_range", EXPECTED)
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_each_range_has_the_values_worked_out_by_hand(pixel_range, dtype):
    given = tf.constant(PIXEL.astype(dtype))
    normalised = Normalisation(pixel_range)(given)
    assert normalised.dtype == tf.float32
    np.testing.assert_allclose(normalised[0, 0, 0], EXPECTED[pixel_range], rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(given, PIXEL)


@pytest.mark.parametrize("pixel_range", EXPECTED)
def test_a_saved_layer_keeps_its_range(pixel_range, tmp_path):
    images = tf.keras.Input((1, 1, 3), dtype="uint8")
    tf.keras.Model(images, Normalisation(pixel_range)(images)).save(tmp_path / "model.keras")
    loaded = tf.keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded(PIXEL)[0, 0, 0], EXPECTED[pixel_range], rtol=1e-5, atol=1e-5)


def test_an_unknown_range_is_refused():
    with pytest.raises(ValueError, match=r"'0\.\.1': expected one of raw, unit, symmetric, torch, caffe"):
        Normalisation("0..1")
