"""Multiply-accumulates against counts by hand, published ones and Larq's."""

import warnings

import envise_tf  # noqa: F401  (first: it asks TensorFlow for Keras 2)

# isort: split
import larq
import pytest
import tensorflow as tf

from envise_tf.errors import UserError
from envise_tf.networks.macs import LayerMacs, Macs, macs
from envise_tf.networks.students import residual_student
from envise_tf.networks.teachers import keras_application

pytestmark = pytest.mark.slow

layers = tf.keras.layers

BINARY_INPUT = {"input_quantizer": "ste_sign"}
BINARY_KERNEL = {"kernel_quantizer": "ste_sign", "kernel_constraint": "weight_clip"}
BINARY = BINARY_INPUT | BINARY_KERNEL


@pytest.fixture(autouse=True)
def _every_warning_is_an_error():
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*leave out")
        yield


def sequential(*stack, shape):
    return tf.keras.Sequential([tf.keras.Input(shape), *stack])


@pytest.mark.parametrize(
    ("layer", "shape", "expected"),
    [
        (layers.Dense(5), (7,), 7 * 5),
        (layers.Dense(5), (8, 7), 8 * 7 * 5),
        (layers.Dense(5), (2, 3, 4, 7), 2 * 3 * 4 * 7 * 5),
        (layers.Conv1D(5, 3), (8, 4), 6 * 3 * 4 * 5),
        (layers.Conv1D(5, 3, padding="causal", dilation_rate=2), (8, 4), 8 * 3 * 4 * 5),
        (layers.Conv2D(6, 3), (8, 9, 4), 6 * 7 * 9 * 4 * 6),
        (layers.Conv2D(6, (3, 1), strides=2, padding="same"), (9, 8, 4), 5 * 4 * 3 * 4 * 6),
        (layers.Conv2D(6, 3, dilation_rate=2), (8, 8, 4), 4 * 4 * 9 * 4 * 6),
        (layers.Conv2D(6, 3, groups=2), (8, 8, 4), 36 * 9 * 6 * 4 // 2),
        (layers.Conv3D(5, 2), (4, 5, 6, 3), 3 * 4 * 5 * 8 * 3 * 5),
        (layers.DepthwiseConv1D(3, depth_multiplier=2), (8, 4), 6 * 3 * 4 * 2),
        (layers.DepthwiseConv2D(3, depth_multiplier=2), (8, 8, 4), 36 * 9 * 4 * 2),
        (layers.SeparableConv1D(5, 3), (8, 4), 6 * (3 * 4 + 4 * 5)),
        (layers.SeparableConv2D(6, 3, strides=2, depth_multiplier=2), (9, 9, 4), 16 * (9 * 8 + 8 * 6)),
        (layers.Conv1DTranspose(5, 3, 2), (8, 4), 8 * 3 * 4 * 5),
        (layers.Conv2DTranspose(6, 3, 2, padding="same"), (8, 7, 4), 8 * 7 * 9 * 4 * 6),
        (layers.Conv3DTranspose(5, 2, 2), (4, 4, 3, 2), 4 * 4 * 3 * 8 * 2 * 5),
        (layers.Conv2D(6, 3, data_format="channels_first"), (4, 8, 9), 6 * 7 * 9 * 4 * 6),
        (layers.Conv2D(6, 3, name="no_bias"), (8, 8, 4), 36 * 9 * 4 * 6),
    ],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_each_kind_of_layer_is_counted_as_by_hand(layer, shape, expected):
    counted = macs(sequential(layer, shape=shape))
    assert counted == Macs((LayerMacs(layer.name, type(layer).__name__, expected, 0),))


def test_a_transposed_convolution_costs_what_the_convolution_that_it_transposes_costs():
    down = macs(sequential(layers.Conv2D(6, 3, 2), shape=(9, 9, 4)))  # to (4, 4, 6)
    up = macs(sequential(layers.Conv2DTranspose(4, 3, 2), shape=(4, 4, 6)))  # to (9, 9, 4)
    assert up.float_macs == down.float_macs == 16 * 9 * 4 * 6


@pytest.mark.parametrize(
    ("layer", "shape", "expected"),
    [
        (larq.layers.QuantConv2D(6, 3, **BINARY), (8, 8, 4), (0, 36 * 9 * 4 * 6)),
        (larq.layers.QuantConv2D(6, 3, padding="same", pad_values=1.0, **BINARY), (8, 8, 4), (0, 64 * 9 * 4 * 6)),
        (larq.layers.QuantConv2D(6, 3, **BINARY_KERNEL), (8, 8, 4), (36 * 9 * 4 * 6, 0)),
        (larq.layers.QuantConv2D(6, 3, **BINARY_INPUT), (8, 8, 4), (36 * 9 * 4 * 6, 0)),
        (larq.layers.QuantConv2D(6, 3, input_quantizer="ste_tern", kernel_quantizer="ste_tern"), (8, 8, 4), (7776, 0)),
        (larq.layers.QuantConv2DTranspose(6, 3, 2, **BINARY), (8, 8, 4), (0, 64 * 9 * 4 * 6)),
        (larq.layers.QuantDense(6, **BINARY), (4,), (0, 4 * 6)),
        (
            larq.layers.QuantDepthwiseConv2D(
                3, depthwise_quantizer="ste_sign", depthwise_constraint="weight_clip", **BINARY_INPUT
            ),
            (8, 8, 4),
            (0, 36 * 9 * 4),
        ),
        (
            larq.layers.QuantSeparableConv2D(
                6,
                3,
                depthwise_quantizer="ste_sign",
                depthwise_constraint="weight_clip",
                pointwise_quantizer="ste_sign",
                pointwise_constraint="weight_clip",
                **BINARY_INPUT,
            ),
            (8, 8, 4),
            (36 * 4 * 6, 36 * 9 * 4),  # the pointwise half reads sums of nine signs
        ),
    ],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_a_mac_is_binary_when_both_operands_are(layer, shape, expected):
    counted = macs(sequential(layer, shape=shape))
    assert (counted.float_macs, counted.binary_macs) == expected


def test_what_does_not_multiply_and_add_costs_nothing_and_is_not_named():
    stack = [
        layers.Rescaling(1 / 255),
        layers.BatchNormalization(),
        layers.PReLU(),
        layers.MaxPooling2D(),
        layers.UpSampling2D(interpolation="bilinear"),
        layers.Activation("swish"),
        layers.LayerNormalization(),
        layers.Lambda(lambda x: x / 2),
        layers.Dropout(0.5),
        layers.GlobalAveragePooling2D(),
        layers.Softmax(),
    ]
    assert macs(sequential(*stack, shape=(8, 8, 4))) == Macs(())


def test_layers_in_nested_models_count_once_for_each_call():
    inner = sequential(layers.Conv2D(4, 3, padding="same", name="inner"), shape=(8, 8, 4))
    shared = layers.Conv2D(4, 1, name="shared")
    image = tf.keras.Input((8, 8, 4))
    x = layers.MaxPooling2D()(shared(inner(inner(image))))
    model = tf.keras.Model(image, layers.Dense(3, name="logits")(layers.Flatten()(shared(x))))
    outer = sequential(model, shape=(8, 8, 4))
    by_name = [(layer.name, layer.float_macs) for layer in macs(outer).layers]
    assert by_name == [
        ("inner", 64 * 9 * 16),
        ("inner", 64 * 9 * 16),
        ("shared", 64 * 16),
        ("shared", 16 * 16),
        ("logits", 64 * 3),
    ]


def test_a_nested_model_of_open_size_is_counted_at_the_size_that_it_gets():
    inner = sequential(layers.Conv2D(5, 3), layers.MaxPooling2D(), layers.Conv2D(2, 1), shape=(None, None, 4))
    assert macs(sequential(inner, shape=(8, 10, 4))).float_macs == 6 * 8 * 9 * 4 * 5 + 3 * 4 * 5 * 2


def test_a_branch_that_does_not_reach_the_output_costs_nothing():
    image = tf.keras.Input((8, 8, 4))
    x = layers.Conv2D(5, 3)(image)
    side = tf.keras.Model(image, [x, layers.Conv2D(7, 3)(image)])
    model = tf.keras.Model(image, layers.GlobalAveragePooling2D()(side(image)[0]))
    assert macs(model).float_macs == 36 * 9 * 4 * 5


class Weighted(layers.Layer):
    """Multiplies by a matrix, element by element and sum by sum."""

    def build(self, shape):
        self.matrix = self.add_weight("matrix", (shape[-1], 3))

    def call(self, inputs):
        return tf.reduce_sum(inputs[..., tf.newaxis] * self.matrix, axis=-2)


class Subclassed(tf.keras.Model):
    def __init__(self):
        super().__init__(name="subclassed")
        self.dense = layers.Dense(3)

    def call(self, inputs):
        return self.dense(inputs)


def self_attention(make):
    sequence = tf.keras.Input((8, 4))
    return tf.keras.Model(sequence, make(sequence))


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: sequential(layers.LSTM(3, name="memory"), shape=(8, 4)), "memory"),
        (lambda: sequential(layers.LocallyConnected2D(3, 3, name="local"), shape=(8, 8, 4)), "local"),
        (lambda: sequential(layers.TimeDistributed(layers.Dense(3), name="each"), shape=(8, 4)), "each"),
        (lambda: sequential(layers.Lambda(lambda x: x @ tf.ones((4, 2)), name="inline"), shape=(8, 4)), "inline"),
        (lambda: sequential(Weighted(name="own"), shape=(4,)), "own"),
        (lambda: sequential(Subclassed(), shape=(4,)), "subclassed"),
        (lambda: self_attention(lambda x: layers.Attention(name="look")([x, x])), "look"),
        (lambda: self_attention(lambda x: layers.MultiHeadAttention(2, 2, name="heads")(x, x)), "heads"),
        (lambda: self_attention(lambda x: tf.matmul(x, x, transpose_b=True)), "tf.linalg.matmul"),
    ],
)
def test_a_layer_that_cannot_be_counted_is_named_and_warned_of(make, name):
    model = make()
    with pytest.warns(UserWarning, match=rf"MACs of {model.name} leave out {name}: nothing is known"):
        counted = macs(model)
    assert counted == Macs((), uncounted=(name,))


def test_known_layers_are_counted_beside_one_that_cannot_be():
    model = sequential(layers.Dense(4), Weighted(name="own"), layers.Dense(2), shape=(4,))
    with pytest.warns(UserWarning, match="leave out own"):
        assert macs(model).float_macs == 16 + 6


def test_the_shipped_student_has_the_macs_that_larq_counts():
    student = residual_student(32, 20, [32, 64, 128], [4, 4, 4])
    binary = 1024 * 9 * 32 * 32 * 4 + 256 * 9 * (32 * 64 + 3 * 64 * 64) + 64 * 9 * (64 * 128 + 3 * 128 * 128)
    stem, shortcuts, logits = 1024 * 9 * 3 * 32, 256 * 32 * 64 + 64 * 64 * 128, 128 * 20
    counted = macs(student)
    assert (counted.float_macs, counted.binary_macs) == (stem + shortcuts + logits, binary)
    profile = larq.models.ModelProfile(student)
    assert (profile.op_count("mac", 32), profile.op_count("mac", 1)) == (counted.float_macs, counted.binary_macs)
    assert counted.binary_macs / (counted.binary_macs + counted.float_macs) == pytest.approx(0.9817, abs=5e-5)
    assert counted.flops == 2 * counted.float_macs + binary / 32


def test_the_twin_has_the_same_macs_all_of_them_float():
    student, twin = (macs(residual_student(32, 20, [32, 64], [2, 2], binary=binary)) for binary in (True, False))
    assert twin.binary_macs == 0
    assert twin.flops == twin.flops_as_float == student.flops_as_float > student.flops


@pytest.mark.parametrize(
    ("name", "published"),
    [
        (
            "VGG16",
            15.47e9 - (25088 * 4096 + 4096 * 4096 + 4096 * 1000) + 512 * 1000,
        ),  # ours pools before one dense layer
        ("MobileNet", 569e6),  # Howard et al. 2017, table 6
        ("MobileNetV2", 0.30e9),  # torchvision's table of weights, as VGG16 and ResNet50
        # Keras strides in the first 1x1 convolution of a block, as the paper; torchvision in the 3x3 one after it, so
        # that three 1x1 convolutions see four times as many positions.
        ("ResNet50", 4.089e9 - 3 * (256 * 128 * (56**2 - 28**2))),
    ],
)
def test_keras_applications_have_their_published_macs(name, published):
    counted = macs(keras_application(name, 224, 1000))
    assert counted.float_macs == pytest.approx(published, rel=0.003)
    assert (counted.binary_macs, counted.uncounted) == (0, ())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: sequential(layers.Conv2D(2, 3), layers.GlobalMaxPooling2D(), shape=(None, None, 3)),
            r"its images have shape \(None, None, 3\), expected a fixed size; build the model with an input shape such",
        ),
        (Subclassed, "'subclassed' .*expected a functional or built sequential Keras model"),
        (lambda: tf.keras.Sequential([layers.Dense(3)]), "give a Sequential an input shape"),
    ],
)
def test_models_whose_macs_cannot_be_known_are_refused_in_one_line(make, message):
    with pytest.raises(UserError, match=message) as error:
        macs(make())
    assert "\n" not in str(error.value)


def test_flops_are_two_a_float_mac_and_a_sixty_fourth_of_that_a_binary_one():
    counted = Macs((LayerMacs("a", "Dense", 10, 0), LayerMacs("b", "QuantConv2D", 3, 640)))
    assert (counted.float_macs, counted.binary_macs) == (13, 640)
    assert counted.flops == 26 + 20
    assert counted.flops_as_float == 2 * 653
