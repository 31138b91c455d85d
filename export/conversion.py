"""From Keras to flatbuffers: the binary student for Larq Compute Engine, everything else for stock TensorFlow Lite.

A student is converted with its outlier score, so that the device only compares a number with a threshold. Outputs are
known by name: a flatbuffer keeps them in an order of its own, which its signature tells (`output_indices`).

Larq Compute Engine (LCE) turns a sign, a binary kernel and what follows into one operator, LceBconv2d, whose kernel
takes one bit a weight. Where it does not know a layer it says nothing: the layer stays as a float convolution of signs,
slow and 32 times as large. It is as silent about operations of TensorFlow that no phone has, and puts in "Flex"
operators. So the operators of the result are read from the flatbuffer and compared with the network.

The size of a student is compared with Larq's own estimate (`larq.models.ModelProfile`: one bit a binary weight, 32 a
float one, batch normalisation as two numbers a channel). Compared are the constants, with those of the score added to
the estimate: they are what scales with the network. A file has tables and names beside them, some 140 bytes a tensor,
which is 11 % of a student of 150 kB and means nothing.

Emulation. In stock operators a binary convolution is a float convolution of signs. Its sums are whole numbers, exact in
float32, until TensorFlow Lite multiplies the batch normalisation that follows into the kernel: then every term is
rounded, and where the result is next to zero the next sign may turn over. That changed the class of 0.3 % of CIFAR-100
images; with sums kept whole it is 0.1 %, as in LCE. So the emulated network has an operator between the two that
changes nothing and that the converter does not look through.

Batches. LCE's converter fixes the batch at 1, and its interpreter cannot resize an input: a student answers image by
image, as a phone asks it. The flatbuffers of stock operators have batch 1 too and can be resized to any other.

int8. Weights and activations are quantised from the image to the penultimate features, calibrated on images of the
stream. The last dense layer and the score stay in float32: in int8 a probability would be a multiple of 1/256, the
scores of all sure images would be one number, and a threshold among them would be lost. They are less than a
thousandth of the work.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from typing import IO, TypeVar, cast

import larq
import larq_compute_engine
import numpy as np
import tensorflow as tf
from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.lite.python.convert_phase import ConverterError

from envise_tf.deferral.scores.score import OutlierScore
from envise_tf.errors import UserError
from envise_tf.export.settings import Precision
from envise_tf.networks.graph import unrolled
from envise_tf.networks.macs import macs
from envise_tf.networks.split import split

BINARY_CONVOLUTION = "LceBconv2d"
ALLOWED_SIZE_DIFFERENCE = 0.1

STUDENT_OUTPUTS = ("logits", "probabilities", "score")

_OPERATOR_NAMES = {code: name for name, code in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
_LONGEST_REASON = 200

Converted = TypeVar("Converted")

Named = Callable[[tf.Tensor], dict[str, tf.Tensor]]
"""uint8 images (n, height, width, 3) -> outputs by name."""


def answering_model(student: tf.keras.Model, score: OutlierScore) -> tf.keras.Model:
    """Returns the student with all that a device asks of it.

    Args:
        student: as `envise_tf.deferral.scores.outputs.Observer` takes it: its last layer is dense and gives the logits.
        score: fitted.

    Returns:
        A model from uint8 (batch, height, width, 3) to float32 logits and probabilities (batch, classes) and score
        (batch, 1), in this order; it shares the student's layers.

    Raises:
        UserError: a phone cannot compute the score.
    """
    logits, features = student.outputs[0], student.layers[-1].input
    probabilities = tf.keras.layers.Softmax(name="probabilities")(logits)
    return tf.keras.Model(student.inputs, [logits, probabilities, score.layer()([logits, features])], name="answering")


def converted_student(student: tf.keras.Model, score: OutlierScore) -> bytes:
    """Returns the flatbuffer of a binary student for Larq Compute Engine: uint8 (1, height, width, 3) -> three outputs.

    Args:
        student: with binary convolutions, as `answering_model` takes it.
        score: fitted.

    Raises:
        UserError: a binary layer stays in float, an operation has no operator of TensorFlow Lite, the constants are
            not of the size that Larq estimates, or a phone cannot compute the score.
    """
    model = answering_model(student, score)
    with _saved(_student_outputs(model), model) as folder:
        flatbuffer = _binary(folder)
    _check_operators(flatbuffer, "student.tflite", custom_prefix="Lce")
    _check_binary(flatbuffer, student)
    _check_size(flatbuffer, student, score)
    return flatbuffer


def converted_builtin(
    student: tf.keras.Model, score: OutlierScore, representative_images: np.ndarray | None = None
) -> bytes:
    """Returns the flatbuffer of a student in stock operators: uint8 (1, height, width, 3) -> three float32 outputs.

    Args:
        student: as `answering_model` takes it; a binary one is emulated in float.
        score: fitted.
        representative_images: uint8 (n, height, width, 3) of the stream, some dozens; given, the student is quantised
            to int8 up to its features. None keeps it in float32.

    Raises:
        UserError: an operation has no operator of TensorFlow Lite, or a phone cannot compute the score.
    """
    is_binary = any(isinstance(layer, larq.layers.QuantConv2D) for layer in student.layers)
    model = answering_model(_with_whole_sums(student) if is_binary else student, score)
    with _saved(_student_outputs(model), model) as folder:
        flatbuffer = _float(folder) if representative_images is None else _int8(folder, representative_images)
    _check_operators(flatbuffer, "student_builtin.tflite")
    return flatbuffer


def converted_teacher(
    teacher: tf.keras.Model, precision: Precision, representative_images: np.ndarray | None = None
) -> bytes:
    """Returns the flatbuffer of a teacher in stock operators: uint8 (1, height, width, 3) -> float32 logits.

    Args:
        teacher: a classifier that `envise_tf.networks.split.split` can cut; one that ends in softmax gives logits here.
        precision: "float32"; "float16" halves the weights, which become float32 when the file is loaded; "dynamic"
            has int8 weights and float activations; "int8" has both in int8, and its last operation in float32.
        representative_images: uint8 (n, height, width, 3), some dozens; int8 needs them.

    Raises:
        UserError: an operation has no operator of TensorFlow Lite, or int8 is asked for without images.
    """
    if precision == "int8" and representative_images is None:
        raise UserError("a teacher in int8 without representative images: expected some dozens of the stream's")
    halves = split(teacher)
    with _saved(lambda images: {"logits": halves.head(halves.trunk(images))}, teacher) as folder:
        if precision == "int8":
            flatbuffer = _int8(folder, cast(np.ndarray, representative_images))
        else:
            flatbuffer = _float(folder, precision)
    _check_operators(flatbuffer, "teacher.tflite")
    return flatbuffer


def operators(flatbuffer: bytes) -> Counter[str]:
    """Returns how often each operator is in a flatbuffer: CONV_2D and the like, custom ones by their own names."""
    model = _parsed(flatbuffer)
    names = _operator_names(model)
    return Counter(names[operator.opcodeIndex] for graph in model.subgraphs for operator in graph.operators or ())


def output_indices(flatbuffer: bytes) -> dict[str, int]:
    """Returns the place of each named output in an interpreter's list of outputs."""
    model = _parsed(flatbuffer)
    places = list(model.subgraphs[0].outputs)
    named = {output.name.decode(): places.index(output.tensorIndex) for output in model.signatureDefs[0].outputs}
    return dict(sorted(named.items()))


def constant_bytes(flatbuffer: bytes) -> int:
    """Returns the size of all constants of a flatbuffer in bytes: weights, and little else."""
    return sum(len(buffer.data) for buffer in _parsed(flatbuffer).buffers if buffer.data is not None)


def _with_whole_sums(student: tf.keras.Model) -> tf.keras.Model:
    """Returns a copy of a student whose binary convolutions keep their sums whole in stock operators; see above."""

    def copied(layer: tf.keras.layers.Layer) -> tf.keras.layers.Layer:
        config = layer.get_config()
        if isinstance(layer, larq.layers.QuantConv2D):
            config["activation"] = lambda sums: tf.maximum(sums, tf.float32.min)
        return type(layer).from_config(config)

    copy = tf.keras.models.clone_model(student, clone_function=copied)
    copy.set_weights(student.get_weights())
    return copy


# --- Converting ------------------------------------------------------------------------------------------------------


def _student_outputs(model: tf.keras.Model) -> Named:
    return lambda images: dict(zip(STUDENT_OUTPUTS, model(images, training=False), strict=True))


@contextlib.contextmanager
def _saved(outputs: Named, model: tf.keras.Model) -> Iterator[str]:
    """Yields the folder of a SavedModel with one signature, for batches of any size.

    Keras' own export traces every layer by itself, which takes several times as long, and names no output.
    """
    images = tf.TensorSpec((None, *model.input_shape[1:]), tf.uint8, name="image")
    with _saved_function(tf.function(outputs, [images], autograph=False), model) as folder:
        yield folder


@contextlib.contextmanager
def _saved_function(function: tf.types.experimental.GenericFunction, layer: tf.keras.layers.Layer) -> Iterator[str]:
    module = tf.Module()
    module.function, module.variables_of_layer = function, layer.variables
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(module, folder, signatures=function.get_concrete_function())
        yield folder


def _binary(folder: str) -> bytes:
    with _quiet():
        return larq_compute_engine.convert_saved_model(folder)


def _float(folder: str, precision: Precision = "float32") -> bytes:
    converter = tf.lite.TFLiteConverter.from_saved_model(folder)
    if precision != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision == "float16":
        converter.target_spec.supported_types = [tf.float16]
    return _run(converter.convert)


def _int8(folder: str, images: np.ndarray) -> bytes:
    """Returns the network with everything in int8 but what follows the input of its last dense layer."""
    converter = tf.lite.TFLiteConverter.from_saved_model(folder)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([image[np.newaxis]] for image in images)
    # The quantiser is told by name what to leave alone; names are those of the float network.
    options = tf.lite.experimental.QuantizationDebugOptions(denylisted_nodes=_names_after_features(_float(folder)))
    debugger = _run(
        lambda: tf.lite.experimental.QuantizationDebugger(
            converter=converter, debug_dataset=converter.representative_dataset, debug_options=options
        )
    )
    return _run(debugger.get_nondebug_quantized_model)


def _run(conversion: Callable[[], Converted]) -> Converted:
    try:
        with _quiet():
            return conversion()
    except ConverterError as error:
        lines = [line.strip() for line in str(error).splitlines()]
        reason = next((line for line in lines if line.startswith("TF Select ops")), lines[0])
        raise UserError(
            f"TensorFlow Lite cannot convert the network ({reason[:_LONGEST_REASON]}): expected operations that it "
            "knows; take another score, or other layers"
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the chatter of the converters' C++ code from the terminal; what goes wrong is in their exceptions."""
    with tempfile.TemporaryFile() as chatter, _redirected(1, chatter), _redirected(2, chatter):
        yield


@contextlib.contextmanager
def _redirected(descriptor: int, file: IO[bytes]) -> Iterator[None]:
    kept = os.dup(descriptor)
    try:
        os.dup2(file.fileno(), descriptor)
        yield
    finally:
        os.dup2(kept, descriptor)
        os.close(kept)


def _names_after_features(flatbuffer: bytes) -> list[str]:
    """Returns the names of all that is computed from the input of the operator that makes the logits."""
    model = _parsed(flatbuffer)
    graph = model.subgraphs[0]
    logits = next(output.tensorIndex for output in model.signatureDefs[0].outputs if output.name == b"logits")
    last = next(operator for operator in graph.operators if logits in operator.outputs)
    after = {int(last.inputs[0])}
    for operator in graph.operators:
        if after.intersection(map(int, operator.inputs)):
            after.update(map(int, operator.outputs))
    return [graph.tensors[i].name.decode() for i in sorted(after - {int(last.inputs[0])})]


# --- Looking at the result -------------------------------------------------------------------------------------------


def _parsed(flatbuffer: bytes) -> schema.ModelT:
    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(flatbuffer, 0))


def _operator_names(model: schema.ModelT) -> list[str]:
    return [
        code.customCode.decode() if code.customCode else _OPERATOR_NAMES[code.builtinCode]
        for code in model.operatorCodes
    ]


def _check_operators(flatbuffer: bytes, file: str, custom_prefix: str | None = None) -> None:
    """Refuses operators that the file's runtime does not have: all custom ones, but for one kind."""
    builtin = set(_OPERATOR_NAMES.values())
    foreign = [
        name
        for name in sorted(operators(flatbuffer))
        if name not in builtin and not (custom_prefix and name.startswith(custom_prefix))
    ]
    if foreign:
        raise UserError(
            f"{file} would need the operators {', '.join(foreign)}, which its runtime does not have: expected those of "
            "TensorFlow Lite; take another score, or other layers"
        )


def _check_binary(flatbuffer: bytes, student: tf.keras.Model) -> None:
    binary = [layer.name for layer in macs(student).layers if layer.binary_macs]
    found = operators(flatbuffer)[BINARY_CONVOLUTION]
    if found >= len(binary):
        return
    layers = {call.layer.name: call.layer for call in unrolled(student).calls}
    alone = [name for name in binary if not _becomes_binary(layers[name])]
    names = ", ".join(alone or binary)
    raise UserError(
        f"{found} of {len(binary)} binary layers became {BINARY_CONVOLUTION}; {names} stayed in float: expected sign "
        "quantisers of Larq on QuantConv2D, with output channels in multiples of 8"
    )


def _becomes_binary(layer: tf.keras.layers.Layer) -> bool:
    """Says whether a layer, converted by itself, becomes a binary convolution."""
    features = tf.TensorSpec((1, *layer.get_input_shape_at(0)[1:]), tf.float32, name="features")
    function = tf.function(lambda features: {"result": layer(features)}, [features], autograph=False)
    with _saved_function(function, layer) as folder:
        return BINARY_CONVOLUTION in operators(_binary(folder))


def _check_size(flatbuffer: bytes, student: tf.keras.Model, score: OutlierScore) -> None:
    found = constant_bytes(flatbuffer)
    estimate = larq.models.ModelProfile(student).memory / 8 + sum(values.nbytes for values in score.fitted.values())
    if abs(found / estimate - 1) > ALLOWED_SIZE_DIFFERENCE:
        raise UserError(
            f"student.tflite has {found / 1000:.1f} kB of constants, Larq estimates {estimate / 1000:.1f} kB: expected "
            f"them within {100 * ALLOWED_SIZE_DIFFERENCE:.0f} %; look for layers that were not converted"
        )
