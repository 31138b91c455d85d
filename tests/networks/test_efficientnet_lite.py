"""EfficientNet-Lite: its size, its parts, and that it passes through everything that a teacher passes through."""

import numpy as np
import pytest
import tensorflow as tf
from torch_files import LITE0

from envise_tf.errors import UserError
from envise_tf.export.conversion import converted_teacher, operators
from envise_tf.networks.efficientnet_lite import efficientnet_lite, with_frozen_blocks
from envise_tf.networks.grad_cam import grad_cam
from envise_tf.networks.macs import macs
from envise_tf.networks.split import Split, split

pytestmark = pytest.mark.slow

CLASSES = 7
IMAGES = np.random.default_rng(1).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def network() -> tf.keras.Model:
    """Lite0 that enlarges 32 pixels to 48, with moments of batch normalisation that are not 0 and 1."""
    tf.keras.utils.set_random_seed(3)
    model = efficientnet_lite("lite0", 32, CLASSES, 48)
    for layer in model.layers:
        if isinstance(layer, tf.keras.layers.BatchNormalization):
            layer.momentum = 0.0
    model(IMAGES, training=True)
    return model


@pytest.fixture(scope="module")
def in_float32(network) -> bytes:
    return converted_teacher(network, "float32")


@pytest.fixture(scope="module")
def halves(network) -> Split:
    return split(network)


def tflite_logits(flatbuffer: bytes, images: np.ndarray) -> np.ndarray:
    interpreter = tf.lite.Interpreter(model_content=flatbuffer)
    interpreter.resize_tensor_input(interpreter.get_input_details()[0]["index"], images.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], images)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


@pytest.mark.parametrize(
    ("scale", "trainable", "moments"),
    # The published weights have 4,694,024 and 6,150,168 numbers; those that are trained are by hand 2 for each channel
    # of a batch normalisation fewer.
    [("lite0", 4_652_008, 42_016), ("lite2", 6_092_072, 58_096)],
)
def test_it_has_as_many_parameters_as_the_published_one(scale, trainable, moments):
    model = efficientnet_lite(scale, 32, 1000, 32)
    assert sum(np.prod(weight.shape) for weight in model.trainable_weights) == trainable
    assert model.count_params() == trainable + moments


def test_layers_are_named_by_their_place(network):
    named = [layer.name for layer in network.layers if layer.weights and not layer.name.endswith("_bn")]
    assert named[:6] == [
        "stem",
        *("block0_depthwise", "block0_project"),
        *("block1_expand", "block1_depthwise", "block1_project"),
    ]
    assert named[-4:] == ["block15_depthwise", "block15_project", "head", "logits"]
    assert len(named) == 1 + 16 * 3 - 1 + 2


def test_the_logits_are_float32_and_one_for_each_class(network):
    assert network.input_shape == (None, 32, 32, 3)
    assert network.inputs[0].dtype == tf.uint8
    assert network(IMAGES).dtype == tf.float32
    assert network(IMAGES).shape == (6, CLASSES)


def test_images_are_resized_inside(network):
    # Halving bilinearly takes the mean of 2x2 pixels; of multiples of four it is whole.
    large = np.random.default_rng(2).integers(0, 64, (2, 64, 64, 3), dtype=np.uint8) * 4
    halved = large.reshape(2, 32, 2, 32, 2, 3).mean((2, 4)).astype(np.uint8)
    shrinking, plain = (efficientnet_lite("lite0", size, CLASSES, 32) for size in (64, 32))
    for model in (shrinking, plain):
        model.set_weights(network.get_weights())
    np.testing.assert_allclose(shrinking(large), plain(halved), atol=1e-4)


def test_images_of_any_size_where_none_is_given(network):
    model = efficientnet_lite("lite0", None, CLASSES, 48)
    model.set_weights(network.get_weights())
    np.testing.assert_allclose(model(IMAGES), network(IMAGES), atol=1e-5)
    assert model(np.zeros((1, 20, 60, 3), np.uint8)).shape == (1, CLASSES)


def test_pixels_are_normalised_as_the_published_weights_expect(network):
    normalisation = network.get_layer("normalisation")
    np.testing.assert_allclose(normalisation(np.array([[0.0, 127.0, 255.0]])), [[-127 / 128, 0, 1]])


def test_saved_and_loaded_it_answers_the_same(network, tmp_path):
    network.save(tmp_path / "network.keras")
    loaded = tf.keras.models.load_model(tmp_path / "network.keras", compile=False)
    np.testing.assert_array_equal(loaded(IMAGES), network(IMAGES))


def test_split_gives_the_last_feature_map_and_a_head(network, halves):
    features = halves.trunk(IMAGES)
    assert features.shape == (6, 2, 2, 1280)
    np.testing.assert_allclose(halves.head(features), network(IMAGES), atol=1e-5)


def test_grad_cam_maps_follow_from_pooling_and_the_last_layer(network, halves):
    # With a mean over positions and a dense layer, the slopes are its kernel over the number of positions.
    maps = grad_cam(halves, IMAGES, tf.constant([[2]] * len(IMAGES))).numpy()
    features = halves.trunk(IMAGES).numpy()
    kernel = network.get_layer("logits").get_weights()[0][:, 2]
    np.testing.assert_allclose(maps[:, 0], np.maximum(features @ kernel / 4, 0), rtol=1e-3, atol=1e-6)


def test_multiply_accumulates_by_hand():
    # At 64 pixels; the stages' maps have 32, 16, 8, 4, 4, 2 and 2 positions a side.
    expected = 32 * 32 * 27 * 32 + 2 * 2 * 320 * 1280 + 1280 * 10
    before, side = 32, 32
    for (blocks, kernel, expansion, channels), after in zip(LITE0, (32, 16, 8, 4, 4, 2, 2), strict=True):
        for _ in range(blocks):
            wide = expansion * before
            expand = side**2 * before * wide if expansion > 1 else 0
            expected += expand + after**2 * wide * (kernel**2 + channels)
            before, side = channels, after
    assert macs(efficientnet_lite("lite0", 32, 10, 64)).float_macs == expected


def test_a_float_flatbuffer_answers_as_keras_and_needs_no_custom_operator(network, in_float32):
    np.testing.assert_allclose(tflite_logits(in_float32, IMAGES), network(IMAGES), atol=2e-3)
    assert "RESIZE_BILINEAR" in operators(in_float32)


def test_in_int8_each_channel_of_a_kernel_has_its_own_scale(network, in_float32):
    flatbuffer = converted_teacher(network, "int8", IMAGES)
    assert len(flatbuffer) < 0.35 * len(in_float32)
    interpreter = tf.lite.Interpreter(model_content=flatbuffer)
    scales = {
        tuple(tensor["shape"]): len(tensor["quantization_parameters"]["scales"])
        for tensor in interpreter.get_tensor_details()
        if tensor["dtype"] == np.int8 and len(tensor["shape"]) == 4
    }
    assert scales[1280, 1, 1, 320] == 1280
    assert scales[1, 3, 3, 32] == 32
    spread = network(IMAGES).numpy().std()
    assert np.abs(tflite_logits(flatbuffer, IMAGES[:1]) - network(IMAGES[:1])).mean() < spread


def test_frozen_blocks_and_their_moments_stay_while_the_others_move(network):
    model = with_frozen_blocks(efficientnet_lite("lite0", 32, CLASSES, 32), 2)
    before = {weight.name: weight.numpy() for weight in model.weights}
    model(IMAGES, training=True)
    trained = {weight.name for weight in model.trainable_weights}
    moved = trained | {weight.name for weight in model.weights if (weight.numpy() != before[weight.name]).any()}
    layers = {name.split("/")[0] for name in moved}
    assert not [name for name in layers if name.startswith(("stem", "block0_", "block1_"))]
    assert layers == {
        layer.name for layer in model.layers[model.layers.index(model.get_layer("block2_expand")) :] if layer.weights
    }


def test_nothing_is_frozen_by_default(network):
    assert all(layer.trainable for layer in with_frozen_blocks(network, 0).layers)


@pytest.mark.parametrize(
    ("scale", "size", "message"), [("lite9", 64, "no EfficientNet-Lite is called lite9"), ("lite0", 16, "at least 32")]
)
def test_what_cannot_be_built_is_refused(scale, size, message):
    with pytest.raises(UserError, match=message):
        efficientnet_lite(scale, 32, CLASSES, size)
