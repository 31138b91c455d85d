"""Teachers: sizes worked out by hand, and Keras Applications with the pixels that each was trained on."""

import importlib

import numpy as np
import pytest
import tensorflow as tf

from envise_tf.errors import UserError
from envise_tf.networks.normalisation import Normalisation
from envise_tf.networks.split import split
from envise_tf.networks.teachers import APPLICATIONS, IMAGENET_CLASSES, keras_application, wide_resnet

pytestmark = pytest.mark.slow


def test_a_wrn_16_2_for_100_classes_has_the_parameters_counted_by_hand():
    stem = 3 * 3 * 3 * 32
    stage_1 = 4 * 9 * 32 * 32
    stage_2 = 32 * 64 + 9 * 32 * 64 + 3 * 9 * 64 * 64
    stage_3 = 64 * 128 + 9 * 64 * 128 + 3 * 9 * 128 * 128
    normalisations = 4 * (4 * 32 + 32 + 3 * 64 + 64 + 3 * 128 + 128)
    logits = 128 * 100 + 100
    model = wide_resnet(32, 100, depth=16, width=2)
    assert model.count_params() == stem + stage_1 + stage_2 + stage_3 + normalisations + logits
    assert sum(isinstance(layer, tf.keras.layers.Conv2D) for layer in model.layers) == 1 + 3 * 2 * 2 + 2


@pytest.mark.parametrize(("size", "grid"), [(32, 8), (64, 16)])
def test_the_last_features_have_a_quarter_of_the_images_side(size, grid):
    model = wide_resnet(size, 7, depth=10, width=1)
    assert split(model).trunk.output_shape == (None, grid, grid, 64)
    assert (model.input_shape, model.output_shape) == ((None, size, size, 3), (None, 7))
    assert (model.input.dtype, model.output.dtype) == (tf.uint8, tf.float32)


@pytest.mark.parametrize(("depth", "width"), [(4, 1), (11, 1), (18, 2), (16, 0)])
def test_a_depth_or_width_that_no_wide_resnet_has_is_refused(depth, width):
    with pytest.raises(UserError, match=f"depth {depth}, width {width}: expected depth 10, 16, 22"):
        wide_resnet(32, 10, depth, width)


@pytest.mark.parametrize("name", APPLICATIONS)
def test_an_application_gets_the_pixels_that_its_own_preprocessing_makes(name):
    build = getattr(tf.keras.applications, name)
    images = np.random.default_rng(1).integers(0, 256, (2, 3, 4, 3)).astype("float32")
    expected = importlib.import_module(build.__module__).preprocess_input(images.copy())
    np.testing.assert_allclose(Normalisation(APPLICATIONS[name])(images), expected, rtol=1e-5, atol=1e-5)


def test_an_application_with_classes_of_its_own_gives_logits_of_pooled_features():
    tf.keras.utils.set_random_seed(1)
    model = keras_application("VGG16", 32, classes=7)
    images = np.random.default_rng(1).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    features = model.get_layer("vgg16")(images[..., ::-1] - np.array([103.939, 116.779, 123.68])).numpy()
    kernel, bias = model.layers[-1].get_weights()
    expected = features.mean(axis=(1, 2)) @ kernel + bias
    assert expected.shape == (2, 7)
    assert np.ptp(expected) > 0.01
    np.testing.assert_allclose(model(images), expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", ["MobileNetV3Small", "ResNet50"])
def test_a_pretrained_application_keeps_its_1000_classes_without_their_softmax(monkeypatch, name):
    tf.keras.utils.set_random_seed(1)
    build = getattr(tf.keras.applications, name)
    given = {}

    def without_download(weights, **options):
        given["weights"] = weights
        return build(weights=None, **options)

    monkeypatch.setattr(tf.keras.applications, name, without_download)
    model = keras_application(name, 32, IMAGENET_CLASSES, "imagenet")
    assert given == {"weights": "imagenet"}
    assert model.output_shape == (None, IMAGENET_CLASSES)
    logits = model(np.full((1, 32, 32, 3), 200, np.uint8)).numpy()
    assert logits.min() < 0 < logits.max()


def test_an_unknown_network_is_refused_with_the_nearest_names():
    with pytest.raises(UserError, match=r"no network is called MobilNetV2: .*nearest: MobileNetV2"):
        keras_application("MobilNetV2", 32, 7)


def test_an_application_that_cannot_be_built_is_refused_in_one_line():
    with pytest.raises(UserError, match="VGG16 for 16x16 images with weights None: ") as error:
        keras_application("VGG16", 16, 7)
    assert "\n" not in str(error.value)
