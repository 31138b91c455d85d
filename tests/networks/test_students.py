"""Students: which kernels are binary, what the mobile converter makes of them, and the real-valued twin."""

import re
from collections import Counter

import larq
import larq_compute_engine
import numpy as np
import pytest
import tensorflow as tf
from larq_compute_engine.tflite.python.interpreter import Interpreter
from tensorflow.lite.python import schema_py_generated as schema

from envise_tf.errors import UserError
from envise_tf.networks.macs import macs
from envise_tf.networks.shift import Shift
from envise_tf.networks.split import split
from envise_tf.networks.students import is_binary, residual_student, widest_widths, with_classes

pytestmark = pytest.mark.slow

layers = tf.keras.layers
NARROWER = {(32, 32, 64): (32, 32, 32), (32, 64, 128): (32, 32, 64), (64, 128, 256): (32, 64, 128)}
"""The widths of the next narrower student, for each that has one."""
IMAGES = np.random.default_rng(1).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)


@pytest.fixture(autouse=True)
def _seed():
    tf.keras.utils.set_random_seed(2)


def shallow_student(classes=5, binary=True, block="bireal", stem="plain", student_size=None):
    """A stage of two units and a halved one, with weights as unlike each other as after training."""
    student = residual_student(8, classes, (32, 64), (2, 1), binary, block, stem, student_size)
    random = np.random.default_rng(3)
    student.set_weights(
        [random.uniform(0.1, 1.0, weight.shape) - 0.3 * (weight.ndim > 1) for weight in student.get_weights()]
    )
    return student


def binary_convolutions(model):
    return [layer for layer in model.layers if isinstance(layer, larq.layers.QuantConv2D)]


BUILT_IN = {number: name for name, number in vars(schema.BuiltinOperator).items() if isinstance(number, int)}


def operators(flatbuffer):
    """Returns how often each operator stands in a flatbuffer, by its name."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(flatbuffer, 0))
    names = [(code.customCode or BUILT_IN[code.builtinCode].encode()).decode() for code in model.operatorCodes]
    return Counter(names[operator.opcodeIndex] for operator in model.subgraphs[0].operators)


@pytest.mark.parametrize("width", [8, 48])
def test_channels_that_the_mobile_kernels_cannot_take_are_refused_of_a_binary_student(width):
    with pytest.raises(UserError, match=rf"widths \[32, {width}\]: expected multiples of 32"):
        residual_student(8, 5, (32, width), (1, 1))
    assert residual_student(8, 5, (32, width), (1, 1), binary=False).output_shape == (None, 5)


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("width", [0, -32])
def test_channels_that_are_none_are_refused(width, binary):
    with pytest.raises(UserError, match=rf"widths \[32, {width}\]: expected positive numbers"):
        residual_student(8, 5, (32, width), (1, 1), binary)


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("widths", [(32, 32, 32), (32, 32, 64), (32, 64, 128), (64, 128, 256)])
def test_the_widest_student_of_a_given_work_costs_as_much_or_less(widths, binary):
    blocks = (1, 2, 1)
    flops = macs(residual_student(16, 5, widths, blocks, binary)).flops
    assert widest_widths(16, 5, blocks, flops, binary) == widths
    assert widest_widths(16, 5, blocks, flops - 1, binary) == (NARROWER.get(widths, widths))


@pytest.mark.parametrize(("widths", "blocks"), [((32,), (1, 1)), ((), ()), ((32, 64), (1, 0))])
def test_stages_without_a_width_or_a_block_are_refused(widths, blocks):
    with pytest.raises(UserError, match="expected one positive number per stage in both"):
        residual_student(8, 5, widths, blocks)


def test_binary_are_the_kernels_of_the_quantised_convolutions_and_nothing_else(tmp_path):
    student = residual_student(8, 5, (32, 64), (2, 1))
    student.save(tmp_path / "student.keras")
    for model in (student, tf.keras.models.load_model(tmp_path / "student.keras", compile=False)):
        binary = {id(variable) for variable in model.variables if is_binary(variable)}
        assert binary == {id(layer.kernel) for layer in binary_convolutions(model)}
        assert [variable.shape[:2] for variable in model.variables if is_binary(variable)] == [(3, 3)] * 3


@pytest.mark.parametrize("block", ["bireal", "react"])
def test_with_real_kernels_a_student_has_the_same_weights_and_answers_otherwise(block):
    binary = shallow_student(block=block)
    real = residual_student(8, 5, (32, 64), (2, 1), block=block, real_kernels=True)
    real.set_weights(binary.get_weights())
    assert [is_binary(variable) for variable in real.variables] == [is_binary(each) for each in binary.variables]
    assert np.abs(real(IMAGES) - binary(IMAGES)).max() > 0.1
    signs = [
        np.where(kernel < 0, -1.0, 1.0) if is_binary(variable) else kernel
        for variable, kernel in zip(binary.variables, binary.get_weights(), strict=True)
    ]
    real.set_weights(signs)
    np.testing.assert_allclose(real(IMAGES), binary(IMAGES), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("stem", ["plain", "deep"])
@pytest.mark.parametrize("size", [32, 64, 224])
def test_every_binary_convolution_becomes_one_mobile_operator(size, stem):
    student = residual_student(size, 5, (32, 64), (2, 1), stem=stem)
    counts = operators(larq_compute_engine.convert_keras_model(student))
    assert counts["LceBconv2d"] == len(binary_convolutions(student)) == 3
    assert counts["LceQuantize"] == 3
    assert {name for name in counts if name.startswith("Lce")} == {"LceBconv2d", "LceQuantize"}


@pytest.mark.parametrize(
    ("block", "stem", "student_size", "additions"),
    [("bireal", "plain", None, 1), ("react", "plain", None, 4), ("bireal", "deep", None, 1), ("bireal", "plain", 6, 1)],
)
def test_the_mobile_interpreter_answers_as_keras(block, stem, student_size, additions):
    student = shallow_student(block=block, stem=stem, student_size=student_size)
    converted = larq_compute_engine.convert_keras_model(student)
    counts = operators(converted)
    assert [counts[name] for name in ("LceBconv2d", "LceQuantize", "PRELU")] == [3, 3, 3]
    assert counts["ADD"] == 3 * additions
    interpreter = Interpreter(converted, num_threads=1)
    answers = np.concatenate([interpreter.predict(image[np.newaxis]) for image in IMAGES])
    logits = student(IMAGES).numpy()
    assert np.abs(logits).max() > 0.1
    # A sum that ends on the other side of a sign moves one value, hence the median.
    assert np.median(np.abs(answers - logits)) < 1e-4 * np.abs(logits).max()
    np.testing.assert_array_equal(answers.argmax(axis=1), logits.argmax(axis=1))


def test_the_binary_convolution_multiplies_signs_and_pads_with_ones():
    layer = binary_convolutions(shallow_student())[0]
    values = np.random.default_rng(5).normal(size=(1, 4, 4, 32)).astype("float32")
    signs = np.pad(np.sign(values), ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=1.0)
    kernel = np.sign(layer.kernel.numpy())
    windows = np.lib.stride_tricks.sliding_window_view(signs, (3, 3), axis=(1, 2))
    np.testing.assert_array_equal(layer(values), np.einsum("bhwcij,ijco->bhwo", windows, kernel))


@pytest.mark.parametrize(("block", "stem"), [("bireal", "plain"), ("react", "plain"), ("bireal", "deep")])
def test_the_twin_is_the_same_network_without_quantisers(block, stem):
    student, twin = shallow_student(block=block, stem=stem), shallow_student(binary=False, block=block, stem=stem)
    assert twin.count_params() == student.count_params()
    assert [w.shape for w in twin.get_weights()] == [w.shape for w in student.get_weights()]
    assert not any(is_binary(variable) for variable in twin.variables)
    kinds = [layers.Conv2D if type(layer) is larq.layers.QuantConv2D else type(layer) for layer in student.layers]
    assert [type(layer) for layer in twin.layers] == kinds


@pytest.mark.parametrize(("size", "side"), [(16, 8), (32, 16), (64, 16), (128, 16), (224, 28)])
def test_a_deep_stem_halves_the_grid_of_a_plain_one(size, side):
    plain, deep = (residual_student(size, 5, (64, 128), (1, 1), stem=stem) for stem in ("plain", "deep"))
    sides = [binary_convolutions(student)[0].input_shape[1] for student in (plain, deep)]
    assert sides == [2 * side, side]
    convolutions = [layer for layer in deep.layers if layer.name.startswith("stem")]
    assert [layer.filters for layer in convolutions] == [16, 64]


def test_behind_a_deep_stem_twice_the_widths_take_the_same_binary_work():
    plain = macs(residual_student(32, 5, (32, 64, 128), (4, 4, 4)))
    deep = macs(residual_student(32, 5, (64, 128, 256), (4, 4, 4), stem="deep"))
    assert [each.binary_macs for each in (plain, deep)] == [103809024, 103809024]
    # By hand: 27 x 16 on 32 x 32, 9 x 16 x 64 on 16 x 16, the 1x1 convolutions on 8 x 8 and 4 x 4, and the logits.
    assert deep.float_macs == 27 * 16 * 32**2 + 9 * 16 * 64 * 16**2 + 64 * 128 * 8**2 + 128 * 256 * 4**2 + 256 * 5


@pytest.mark.parametrize(
    ("student_size", "layer_names"),
    [(24, []), (12, ["shrinking"]), (16, ["resizing"]), (10, ["shrinking", "resizing"])],
)
def test_a_student_of_a_smaller_size_answers_as_one_for_shrunken_images(student_size, layer_names):
    student = residual_student(24, 5, (32,), (1,), student_size=student_size)
    small = residual_student(student_size, 5, (32,), (1,))
    small.set_weights(student.get_weights())
    assert [layer.name for layer in student.layers if layer.name in ("shrinking", "resizing")] == layer_names
    images = np.random.default_rng(4).integers(0, 256, (2, 24, 24, 3)).astype(np.float32)
    # Not uint8, so that no shrunken pixel is rounded.
    answer = tf.keras.Model(small.layers[1].output, small.output)
    means = images if student_size > 12 else images.reshape(2, 12, 2, 12, 2, 3).mean(axis=(2, 4))
    shrunken = tf.image.resize(means, (student_size, student_size))
    whole = tf.keras.Model(student.layers[1].output, student.output)
    np.testing.assert_allclose(
        whole(student.layers[1](images)), answer(small.layers[1](shrunken)), rtol=1e-4, atol=1e-5
    )
    assert macs(student).flops == macs(small).flops


def test_a_student_larger_than_its_images_is_refused():
    with pytest.raises(UserError, match="student_size 48 for images of 32 pixels: expected at most theirs"):
        residual_student(32, 5, (32,), (1,), student_size=48)


def test_a_learned_shift_moves_the_sign():
    student = shallow_student(block="react")
    shift, convolution = (
        next(each for each in student.layers if isinstance(each, Shift)),
        binary_convolutions(student)[0],
    )
    values = np.random.default_rng(6).normal(size=(1, 4, 4, 32)).astype("float32")
    offset = np.linspace(-1, 1, 32).astype("float32")
    shift.offset.assign(offset)
    np.testing.assert_array_equal(convolution(shift(values)), convolution(np.sign(values + offset)))


def test_a_student_of_some_classes_has_the_generic_students_logits():
    generic, student = shallow_student(classes=6), residual_student(8, 3, (32, 64), (2, 1))
    with_classes(student, generic, [4, 0, 5])
    expected = generic(IMAGES).numpy()[:, [4, 0, 5]]
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(student(IMAGES), expected, rtol=1e-5, atol=1e-5)


def test_a_head_that_grows_and_shrinks_keeps_the_logits_of_the_classes_that_stay():
    before, after = (residual_student(8, 3, (32, 64), (2, 1)) for _ in range(2))
    before.layers[-1].bias.assign([1.0, 2.0, 3.0])
    new = after.layers[-1].kernel.numpy()[:, 1]
    with_classes(after, before, [7, 40, 2], known=[2, 5, 7])
    expected = before(IMAGES).numpy()
    np.testing.assert_allclose(after(IMAGES).numpy()[:, [0, 2]], expected[:, [2, 0]], rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(after.layers[-1].kernel.numpy()[:, 1], new)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"widths": (32, 96)}, "--widths [32,96] --blocks [2,1] --block bireal --stem plain --twin false"),
        ({"blocks": (1, 2)}, "--widths [32,64] --blocks [1,2] --block bireal --stem plain --twin false"),
        (
            {"widths": (32, 32, 64), "blocks": (1, 1, 1)},
            "--widths [32,32,64] --blocks [1,1,1] --block bireal --stem plain --twin false",
        ),
        ({"block": "react"}, "--widths [32,64] --blocks [2,1] --block react --stem plain --twin false"),
        ({"stem": "deep"}, "--widths [32,64] --blocks [2,1] --block bireal --stem deep --twin false"),
    ],
)
def test_a_student_of_another_network_is_refused(asked, said):
    student = residual_student(8, 3, **{"widths": (32, 64), "blocks": (2, 1)} | asked)
    before = student.get_weights()
    own = "--widths [32,64] --blocks [2,1] --block bireal --stem plain --twin false"
    message = f"the student to start from is {own}, but {said} was asked for: give the same, or --student_init scratch"
    with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
        with_classes(student, shallow_student(classes=6), [4, 0, 5])
    for one, other in zip(before, student.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_student_that_lacks_some_of_the_classes_is_no_generic_one():
    student = residual_student(8, 3, (32, 64), (2, 1))
    with pytest.raises(UserError, match="knows 4 classes, but class 5 of the teacher is asked for"):
        with_classes(student, shallow_student(classes=4), [1, 0, 5])


@pytest.mark.parametrize(("size", "first", "last"), [(32, 32, 8), (64, 32, 8), (224, 56, 14)])
def test_the_stem_brings_every_size_to_a_grid_that_three_stages_can_halve(size, first, last):
    student = residual_student(size, 5, (32, 32, 64), (1, 1, 1))
    assert binary_convolutions(student)[0].input_shape == (None, first, first, 32)
    assert split(student).trunk.output_shape == (None, last, last, 64)
