"""MACs against counts by hand, published ones and Larq's; the gain in efficiency against its formula by hand."""

import warnings

import envise_tf  # noqa: F401  (first: it asks TensorFlow for Keras 2)

# isort: split
import larq
import numpy as np
import pytest
import tensorflow as tf

from envise_tf import efficiency
from envise_tf.efficiency import (
    Adaptation,
    LayerMacs,
    Macs,
    break_even,
    gie,
    gie_total,
    macs,
    measured_milliseconds,
    speedup,
)
from envise_tf.errors import UserError
from envise_tf.networks.students import residual_student
from envise_tf.networks.teachers import keras_application

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


# --- MACs ------------------------------------------------------------------------------------------------------------


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


# --- The gain in efficiency ------------------------------------------------------------------------------------------


def test_gie_by_hand():
    # 100 images at 5 and 20 of them at 50 as well: 500 + 1000 of 5000.
    assert gie(100, 20, 5, 50) == pytest.approx(0.7)
    assert speedup(0.7) == pytest.approx(1 / 0.3)


def test_gie_with_none_and_with_all_deferred():
    assert gie(100, 0, 5, 50) == pytest.approx(0.9)
    assert gie(100, 100, 5, 50) == pytest.approx(-0.1)  # the student's work for nothing
    assert gie(7, 0, 50, 50) == 0
    assert (speedup(0), speedup(-1)) == (1, 0.5)


def test_gie_of_a_curve_falls_by_one_image_in_n_for_each_image_deferred():
    curve = gie(10, np.arange(11), 1, 4)
    np.testing.assert_allclose(curve, 0.75 - np.arange(11) / 10)
    assert curve.dtype == np.float64
    np.testing.assert_allclose(speedup(curve) * (1 - curve), 1)


def test_gie_is_the_share_of_work_saved_whatever_the_unit_and_the_number_of_images():
    random = np.random.default_rng(1)
    images = random.integers(1, 10_000, 500)
    deferred = random.integers(0, images + 1)
    student, teacher = random.uniform(1, 1e9, (2, 500))
    gain = gie(images, deferred, student, teacher)
    work = images * student + deferred * teacher
    np.testing.assert_allclose((1 - gain) * images * teacher, work)
    np.testing.assert_allclose(images * teacher / speedup(gain), work)
    np.testing.assert_allclose(gie(3 * images, 3 * deferred, 7 * student, 7 * teacher), gain)
    assert (gain < 1).all()
    assert gie(2**40, 2**39, 1e12, 1e13) == pytest.approx(0.4)


def test_adaptation_charges_labels_training_and_validation():
    student = Macs((LayerMacs("a", "Conv2D", 10, 0), LayerMacs("b", "QuantConv2D", 0, 64)))
    teacher = Macs((LayerMacs("c", "Conv2D", 1000, 0),))
    adaptation = Adaptation(labelled=110, trained=100, validated=10)
    # 2000 FLOPs a label; 3 forwards of 2 (10 + 64) FLOPs a training image, one a validation image.
    assert adaptation.flops(student, teacher) == 110 * 2000 + 300 * 148 + 10 * 148
    assert Adaptation(0, 0, 0).flops(student, teacher) == 0


def test_gie_total_starts_in_debt_breaks_even_and_nears_gie():
    served = gie(100, 20, 5, 50)
    even = break_even(served, 50, 7000)
    assert even == pytest.approx(200)  # each image saves 0.7 of 50
    assert gie_total(200, 40, 5, 50, 7000) == pytest.approx(0)
    assert gie_total(100, 20, 5, 50, 7000) == pytest.approx(0.7 - 1.4)
    images = np.array([10, 100, 1000, 10**9])
    totals = gie_total(images, images // 5, 5, 50, 7000)
    assert (np.diff(totals) > 0).all()
    assert ((totals > 0) == (images > even)).all()
    assert totals[-1] == pytest.approx(served, abs=1e-6)
    assert gie_total(100, 20, 5, 50, 0) == served


def test_an_adaptation_that_gains_nothing_never_pays_for_itself():
    np.testing.assert_array_equal(break_even([0.5, 0, -0.1], 50, 100), [4, np.inf, np.inf])
    assert break_even(-0.1, 50, 100) == np.inf
    assert break_even(0.5, 50, 0) == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: gie(10, 12, 1, 2), "12 images deferred: expected at least 0 and at most the images served"),
        (lambda: gie(10, np.array([0, 11]), 1, 2), "11 images deferred"),
        (lambda: gie(10, -1, 1, 2), "-1 images deferred"),
        (lambda: gie(10, np.nan, 1, 2), "nan images deferred"),
        (lambda: gie(0, 0, 1, 2), "0 images served: expected at least 1"),
        (
            lambda: gie(10, 1, 0, 2),
            r"the student's work is 0 per image: expected more than 0; count it with macs\(model",
        ),
        (lambda: gie(10, 1, 1, [2, 0]), "the teacher's work is 0 per image"),
        (lambda: gie(10, 1, np.inf, 2), "the student's work is inf"),
        (lambda: speedup(1.0), "a GiE of 1.0: expected less than 1"),
        (lambda: break_even(1.5, 2, 3), "a GiE of 1.5"),
        (lambda: break_even(0.5, 0, 3), "the teacher's work is 0"),
        (lambda: break_even(0.5, 2, -3), "the adaptation's work is -3 FLOPs: expected at least 0"),
        (lambda: gie_total(10, 1, 1, 2, np.nan), "the adaptation's work is nan FLOPs"),
        (lambda: Adaptation(1, -2, 3), "adaptation: -2 images trained, expected a count of at least 0"),
        (lambda: measured_milliseconds(len, np.zeros((0, 4))), "0 images, 20 repeats, 3 calls to warm up: expected"),
        (lambda: measured_milliseconds(len, np.zeros((2, 4)), repeats=0), "2 images, 0 repeats"),
    ],
)
def test_impossible_numbers_are_refused_in_one_line(call, message):
    with pytest.raises(UserError, match=message) as error:
        call()
    assert "\n" not in str(error.value)


# --- Measured --------------------------------------------------------------------------------------------------------


def test_milliseconds_are_the_median_per_image_without_the_warm_up(monkeypatch):
    now = 0.0
    lasting = iter([1000.0, 500.0, 3.0, 1.0, 2.0, 90.0, 2.0])
    seen = []

    def run(images):
        nonlocal now
        now += next(lasting)
        seen.append(images.shape)

    monkeypatch.setattr(efficiency.time, "perf_counter", lambda: now)
    assert measured_milliseconds(run, np.zeros((4, 2)), repeats=5, warm_up=2) == pytest.approx(1000 * 2 / 4)
    assert seen == [(4, 2)] * 7


def test_two_measured_figures_give_the_measured_gie():
    model = sequential(layers.Flatten(), layers.Dense(2), shape=(4, 4, 3))
    images = np.zeros((2, 4, 4, 3), np.float32)
    student, teacher = (measured_milliseconds(model.predict_on_batch, images, repeats=3) for _ in range(2))
    assert student > 0
    assert gie(10, 2, student, teacher) == pytest.approx(0.8 - student / teacher)
