"""Flatbuffers: their operators, their size, and whether they answer real images as Keras does."""

from dataclasses import dataclass

import ai_edge_litert.interpreter as tflite
import larq
import numpy as np
import pytest
import tensorflow as tf

from envise_tf.deferral.scores import OutlierScore, outlier_score
from envise_tf.deferral.scores.outputs import Observer
from envise_tf.errors import UserError
from envise_tf.export.conversion import (
    constant_bytes,
    converted_builtin,
    converted_student,
    converted_teacher,
    operators,
    output_indices,
)
from envise_tf.export.runtime import LceNetwork, TfliteNetwork
from envise_tf.images.digits import Digits
from envise_tf.images.loading import load_source
from envise_tf.networks.shipped import shipped_network
from envise_tf.networks.students import residual_student

pytestmark = pytest.mark.slow

MSP = outlier_score("msp")


@pytest.fixture(scope="module")
def student() -> tf.keras.Model:
    """Untrained, but no two channels are alike: equal constants would be stored once."""
    tf.keras.utils.set_random_seed(1)
    network = residual_student(32, 5, [32, 64], [1, 2])
    random = np.random.default_rng(1)
    for layer in network.layers:
        if isinstance(layer, (tf.keras.layers.BatchNormalization, tf.keras.layers.PReLU)):
            layer.set_weights([random.uniform(0.5, 1.5, weight.shape) for weight in layer.get_weights()])
    return network


@pytest.fixture(scope="module")
def teacher() -> tf.keras.Model:
    return shipped_network("digits-disjoint", "teacher")


@pytest.fixture(scope="module")
def digits() -> np.ndarray:
    return Digits().examples("test").batch(1000).get_single_element()["image"].numpy()


@pytest.fixture(scope="module")
def cifar(tfds_dir) -> np.ndarray:
    examples = load_source("cifar100", tfds_dir).examples("test").batch(400).take(1)
    return examples.get_single_element()["image"].numpy()


def answers(network: LceNetwork | TfliteNetwork, flatbuffer: bytes, images: np.ndarray) -> dict[str, np.ndarray]:
    said = [network(image[np.newaxis]) for image in images]
    return {name: np.concatenate([one[i] for one in said]) for name, i in output_indices(flatbuffer).items()}


def in_lce(flatbuffer: bytes, images: np.ndarray) -> dict[str, np.ndarray]:
    return answers(LceNetwork(flatbuffer, "student"), flatbuffer, images)


def in_tflite(flatbuffer: bytes, images: np.ndarray) -> dict[str, np.ndarray]:
    return answers(TfliteNetwork(flatbuffer, "network"), flatbuffer, images)


# --- The binary student ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def binary(student) -> bytes:
    return converted_student(student, MSP)


def test_every_binary_convolution_becomes_one_operator(binary):
    counts = operators(binary)
    assert counts["LceBconv2d"] == 3
    assert counts["CONV_2D"] == 2  # the stem, and the shortcut where the grid is halved
    assert counts["FULLY_CONNECTED"] == 1
    assert not [name for name in counts if name.startswith("Flex")]


def test_outputs_are_found_by_name(binary):
    outputs = LceNetwork(binary, "student").outputs
    assert {name: outputs[i].shape for name, i in output_indices(binary).items()} == {
        "logits": (1, 5),
        "probabilities": (1, 5),
        "score": (1, 1),
    }


def test_probabilities_and_score_follow_from_the_logits(binary, digits):
    said = in_lce(binary, digits[:5])
    exponentials = np.exp(said["logits"])
    expected = exponentials / exponentials.sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(said["probabilities"], expected, rtol=1e-5)
    np.testing.assert_allclose(said["score"][:, 0], expected.max(axis=-1), rtol=1e-5)


def test_the_constants_are_one_bit_a_binary_weight_and_four_bytes_a_float_one(student, binary):
    bits = 9 * (32 * 32 + 32 * 64 + 64 * 64)
    floats = 27 * 32 + 32 * 64 + 64 * 5 + 5  # stem, shortcut, logits
    normalised = 32 + 64  # a bias each behind the float convolutions
    fused = 2 * (32 + 64 + 64)  # factor and bias of each binary convolution
    slopes = 32 + 64 + 64
    assert constant_bytes(binary) == pytest.approx(bits / 8 + 4 * (floats + normalised + fused + slopes), rel=0.01)


def test_an_emulated_student_adds_up_signs_and_nothing_else(student):
    """Batch normalisation multiplied into a kernel would round every term of its sums."""
    interpreter = tflite.Interpreter(model_content=converted_builtin(student, MSP))
    interpreter.allocate_tensors()
    convolutions = [one for one in interpreter._get_ops_details() if one["op_name"] == "CONV_2D"]
    kernels = [interpreter.get_tensor(one["inputs"][1]) for one in convolutions]
    signs = [kernel.shape for kernel in kernels if set(np.unique(kernel)) == {-1, 1}]
    assert signs == [(32, 3, 3, 32), (64, 3, 3, 32), (64, 3, 3, 64)]


def with_layer(layer: tf.keras.layers.Layer) -> tf.keras.Model:
    """A student with a good binary convolution and a layer after it."""
    images = tf.keras.Input((16, 16, 3), dtype="uint8")
    x = tf.keras.layers.Conv2D(32, 3, padding="same")(tf.cast(images, tf.float32))
    x = good("good")(x)
    x = tf.keras.layers.GlobalAveragePooling2D()(layer(x))
    return tf.keras.Model(images, tf.keras.layers.Dense(4)(x))


def good(name: str, **options: object) -> larq.layers.QuantConv2D:
    quantisers = {"input_quantizer": "ste_sign", "kernel_quantizer": "ste_sign"} | options
    return larq.layers.QuantConv2D(32, 3, padding="same", pad_values=1.0, use_bias=False, name=name, **quantisers)


class OwnSign(larq.quantizers.Quantizer):
    """A sign that Larq Compute Engine does not know: zero stays zero."""

    precision = 1

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return tf.sign(inputs)


@pytest.mark.parametrize(
    "layer",
    [
        lambda: good("odd", input_quantizer=OwnSign()),
        lambda: larq.layers.QuantDepthwiseConv2D(
            3, padding="same", input_quantizer="ste_sign", depthwise_quantizer="ste_sign", name="odd"
        ),
    ],
)
def test_a_binary_layer_that_stays_in_float_is_named(layer):
    with pytest.raises(UserError, match="1 of 2 binary layers became LceBconv2d; odd stayed in float"):
        converted_student(with_layer(layer()), MSP)


@dataclass
class NeedsFlex(OutlierScore):
    """A score with an operation that no phone has."""

    needs = "logits"

    def __call__(self, logits: tf.Tensor, features: tf.Tensor) -> tf.Tensor:
        return tf.linalg.det(tf.reshape(logits[:, :4], (-1, 2, 2)))


@pytest.mark.parametrize("convert", [converted_student, converted_builtin])
def test_an_operation_that_no_phone_has_is_refused(student, convert):
    with pytest.raises(UserError, match="MatrixDeterminant"):
        convert(student, NeedsFlex())


def test_a_score_that_no_phone_computes_is_refused(student):
    with pytest.raises(UserError, match="knn does not run on a phone"):
        converted_student(student, outlier_score("knn"))


def test_a_trained_student_answers_real_images_as_in_keras(cifar):
    student = shipped_network("cifar100-disjoint", "student")
    outputs = Observer(student)(cifar)
    score = MSP.score(outputs)
    keras_class = outputs.logits.argmax(axis=-1)
    for run, flatbuffer in (
        (in_lce, converted_student(student, MSP)),
        (in_tflite, converted_builtin(student, MSP)),
    ):
        said = run(flatbuffer, cifar)
        # Two images of 400 may be tied on another processor.
        assert np.mean(said["logits"].argmax(axis=-1) == keras_class) >= 0.995
        answered = said["score"][:, 0] >= np.median(score)
        assert np.mean(answered == (score >= np.median(score))) >= 0.995
        assert np.median(np.abs(said["logits"] - outputs.logits)) < 1e-5


# --- Stock operators -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def quantised(teacher, digits) -> bytes:
    return converted_builtin(teacher, MSP, digits[:100])  # it ends in a dense layer, as a twin does


def test_other_batches_than_one_give_the_same(teacher, quantised, digits):
    for flatbuffer in (converted_builtin(teacher, MSP), quantised):
        one_by_one = in_tflite(flatbuffer, digits[:7])
        interpreter = tflite.Interpreter(model_content=flatbuffer)
        interpreter.resize_tensor_input(interpreter.get_input_details()[0]["index"], (7, 32, 32, 3), strict=True)
        interpreter.allocate_tensors()
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], digits[:7])
        interpreter.invoke()
        outputs = [interpreter.get_tensor(output["index"]) for output in interpreter.get_output_details()]
        for name, i in output_indices(flatbuffer).items():
            np.testing.assert_allclose(outputs[i], one_by_one[name], rtol=1e-4, atol=1e-5)


def test_int8_ends_before_the_last_dense_layer(quantised, teacher, digits):
    keras = teacher(digits, training=False).numpy()
    said = in_tflite(quantised, digits)
    assert len(quantised) < len(converted_builtin(teacher, MSP)) / 3
    assert np.mean(said["logits"].argmax(axis=-1) == keras.argmax(axis=-1)) > 0.95
    score = said["score"][:, 0]
    assert len(np.unique(score)) > 300  # of 360 images: in int8 there would be at most 256 values, 1/256 apart
    np.testing.assert_allclose(score, tf.nn.softmax(said["logits"]).numpy().max(axis=-1), rtol=1e-5)


@pytest.mark.parametrize(("precision", "least_share"), [("float32", 1.0), ("float16", 0.995), ("dynamic", 0.98)])
def test_a_teacher_in_every_float_precision(teacher, digits, precision, least_share):
    flatbuffer = converted_teacher(teacher, precision)
    kilobytes = 4e-3 * teacher.count_params()
    assert len(flatbuffer) / 1000 < {"float32": 1.2, "float16": 0.65, "dynamic": 0.4}[precision] * kilobytes
    logits = in_tflite(flatbuffer, digits)["logits"]
    expected = teacher(digits, training=False).numpy()
    assert np.mean(logits.argmax(axis=-1) == expected.argmax(axis=-1)) >= least_share
    assert np.median(np.abs(logits - expected)) < {"float32": 1e-5, "float16": 5e-3, "dynamic": 0.1}[precision]


def test_a_teacher_in_int8(teacher, digits):
    flatbuffer = converted_teacher(teacher, "int8", digits[:100])
    logits = in_tflite(flatbuffer, digits)["logits"]
    assert np.mean(logits.argmax(axis=-1) == teacher(digits, training=False).numpy().argmax(axis=-1)) > 0.95
    with pytest.raises(UserError, match="int8 without representative images"):
        converted_teacher(teacher, "int8")


def test_a_teacher_that_ends_in_softmax_gives_logits(teacher, digits):
    probable = tf.keras.Model(teacher.input, tf.keras.layers.Softmax()(teacher.output))
    logits = in_tflite(converted_teacher(probable, "float32"), digits[:5])["logits"]
    np.testing.assert_allclose(logits, teacher(digits[:5], training=False), atol=1e-4)
