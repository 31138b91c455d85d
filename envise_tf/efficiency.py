"""What a cascade saves: multiply-accumulates of any Keras network, and the gain in efficiency of student and teacher.

Work is counted in multiply-accumulates (MACs). A float MAC is 2 FLOPs; a binary one, in which both operands are -1 or
1, is 1/64 of that, because a 64-bit processor does 64 of them in an XNOR and a popcount (XNOR-Net, Rastegari et al.
2016, section 3). With N images of which N_T are deferred to the teacher, and F_S and F_T FLOPs an image,

    gie = 1 - (N F_S + N_T F_T) / (N F_T)        speedup = 1 / (1 - gie)

The paper calls the gain in efficiency (GiE) the "relative reduction in FLOPS based on the number of times" both
networks are used; the formula is our choice. `gie_total` charges the adaptation of the student too.

Why the MACs are counted here and not by `larq.models.ModelProfile`: that is right for plain, grouped, depthwise and
separable float convolutions and for dense layers, also in nested models. Larq 0.14 miscounts transposed convolutions
(by output positions), layers called twice (once at most), nested models of open size (as 1x1), layers with "bias" in
their name (as zero) and the pointwise half of binary separable convolutions (as binary); and 3-D and 1-D depthwise
convolutions, custom layers, attention and recurrent layers are zero to it, without a word.
"""

from __future__ import annotations

import math
import re
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from envise_tf.errors import UserError
from envise_tf.networks.split import Call, Graph, unrolled

layers = tf.keras.layers

FLOPS_A_MAC = 2
BINARY_MACS_A_FLOAT_MAC = 64
FORWARDS_A_TRAINING_STEP = 3
"""A forward pass, and a backward one of twice its work: the gradients of the weights and of the features."""

_TRANSPOSED = (layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose)
_DEPTHWISE = (layers.DepthwiseConv1D, layers.DepthwiseConv2D)
_SEPARABLE = (layers.SeparableConv1D, layers.SeparableConv2D)
_ONE_KERNEL = (layers.Conv1D, layers.Conv2D, layers.Conv3D, layers.Dense)

_MULTIPLYING_OPERATION = re.compile("Conv|MatMul|Einsum|Cudnn|While|If$|Call|PyFunc")
"""Operations of TensorFlow that multiply and add, or that hide operations which may."""


@dataclass(frozen=True)
class LayerMacs:
    """The multiply-accumulates of one call of a layer, per image.

    Attributes:
        name: of the layer; a layer that is called twice is there twice.
        kind: its class, such as "Conv2D".
        float_macs: MACs with an operand of more than one bit.
        binary_macs: MACs whose operands both have one bit, as the quantisers' `precision` says.
    """

    name: str
    kind: str
    float_macs: int
    binary_macs: int


@dataclass(frozen=True)
class Macs:
    """The multiply-accumulates of a network, per image.

    Attributes:
        layers: the calls that multiply, in the order in which they run.
        uncounted: names of layers that multiply, or may, and whose MACs are not known and not in any sum here.
    """

    layers: tuple[LayerMacs, ...]
    uncounted: tuple[str, ...] = ()

    @property
    def float_macs(self) -> int:
        return sum(layer.float_macs for layer in self.layers)

    @property
    def binary_macs(self) -> int:
        return sum(layer.binary_macs for layer in self.layers)

    @property
    def flops(self) -> float:
        """FLOPs of serving an image: 2 a float MAC, 2/64 a binary one."""
        return FLOPS_A_MAC * (self.float_macs + self.binary_macs / BINARY_MACS_A_FLOAT_MAC)

    @property
    def flops_as_float(self) -> float:
        """FLOPs of a forward pass in training, where binary operands are floats that happen to be -1 or 1."""
        return float(FLOPS_A_MAC * (self.float_macs + self.binary_macs))


def macs(model: tf.keras.Model) -> Macs:
    """Returns the multiply-accumulates per image of a Keras classifier, layer by layer.

    Counted are dense layers and convolutions: plain, grouped, depthwise, separable and transposed, in Keras and in
    Larq, in nested models to any depth. A kernel is applied once at every output position, that of a transposed
    convolution at every input position; padding counts as any pixel. Not counted, by convention, are biases,
    normalisation, activations and pooling. A binary input is known by the layer's own `input_quantizer`, as in Larq;
    a sign in a layer before it is not seen, and ternary operands count as float.

    Args:
        model: functional or sequential, one input of known size, one output.

    Returns:
        The counts. Warns where `uncounted` is not empty: attention, recurrent, locally connected and custom layers,
        subclassed models, and multiplications of tensors outside of a layer.

    Raises:
        UserError: the model has no graph of layers, several inputs or outputs, or an input of open size.
    """
    graph = unrolled(model)
    image = _image_spec(model)
    counted: list[LayerMacs] = []
    uncounted: list[str] = []
    tf.function(lambda images: _count(graph, images, counted, uncounted), autograph=False).get_concrete_function(image)
    if uncounted:
        warnings.warn(
            f"the MACs of {model.name} leave out {', '.join(uncounted)}: nothing is known of their multiplications",
            stacklevel=2,
        )
    return Macs(tuple(counted), tuple(uncounted))


def _image_spec(model: tf.keras.Model) -> tf.TensorSpec:
    image = model.inputs[0]
    if not image.shape[1:].is_fully_defined():
        raise UserError(
            f"cannot count the MACs of {model.name!r}: its images have shape {tuple(image.shape[1:])}, expected a "
            "fixed size; build the model with an input shape such as (224, 224, 3)"
        )
    return tf.TensorSpec([image.shape[0] or 1, *image.shape[1:]], image.dtype)


def _count(graph: Graph, images: tf.Tensor, counted: list[LayerMacs], uncounted: list[str]) -> None:
    """Traces the calls one after the other and appends what each of them multiplies."""
    # Traced, for the shapes that layers know of themselves are open in a nested model that was built for any size.
    values = {graph.start: images}
    for call in graph.calls:
        before = len(images.graph.get_operations())
        call.run(values, training=False)
        operations = images.graph.get_operations()[before:]
        products = _products(call, values)
        if products:
            sums = [sum(n for n, is_binary in products if is_binary == wanted) for wanted in (False, True)]
            counted.append(LayerMacs(call.layer.name, type(call.layer).__name__, *sums))
        elif _may_multiply(call.layer, [operation.type for operation in operations]):
            uncounted.append(call.layer.name)


def _products(call: Call, values: dict[int, tf.Tensor]) -> list[tuple[int, bool]]:
    """Returns the MACs of each kernel of a layer and whether they are binary; nothing when it cannot be counted."""
    layer = call.layer
    is_transposed = isinstance(layer, _TRANSPOSED)
    positions = _positions(layer, values[call.inputs[0] if is_transposed else call.outputs[0].slot].shape)
    if positions is None:
        return []
    has_binary_input = getattr(getattr(layer, "input_quantizer", None), "precision", None) == 1
    return [
        (kernel.shape.num_elements() * positions, reads_input and has_binary_input and _is_binary(kernel))
        for kernel, reads_input in _kernels(layer)
    ]


def _kernels(layer: tf.keras.layers.Layer) -> list[tuple[tf.Variable, bool]]:
    """Returns the kernels of a layer that can be counted, and whether each reads the input of the layer."""
    if isinstance(layer, _SEPARABLE):
        # The second reads the sums of the first, which are no longer binary.
        return [(layer.depthwise_kernel, True), (layer.pointwise_kernel, False)]
    if isinstance(layer, _DEPTHWISE):
        return [(layer.depthwise_kernel, True)]
    return [(layer.kernel, True)] if isinstance(layer, _ONE_KERNEL) else []


def _is_binary(kernel: tf.Variable) -> bool:
    return getattr(kernel, "precision", None) == 1


def _positions(layer: tf.keras.layers.Layer, shape: tf.TensorShape) -> int | None:
    """Returns the number of positions of a map, 1 of a vector; None when it is not known."""
    is_channels_first = getattr(layer, "data_format", None) == "channels_first"
    return None if shape.rank is None else (shape[2:] if is_channels_first else shape[1:-1]).num_elements()


def _may_multiply(layer: tf.keras.layers.Layer, operations: list[str]) -> bool:
    """Says whether a layer without known kernels multiplies: by what it does, or by the weights of a custom layer."""
    is_of_keras = type(layer).__module__.startswith(("tf_keras.", "keras."))
    has_matrix = any(sum(side > 1 for side in weight.shape) > 1 for weight in layer.weights)
    return any(map(_MULTIPLYING_OPERATION.search, operations)) or (has_matrix and not is_of_keras)


# --- The gain in efficiency ------------------------------------------------------------------------------------------


def gie(
    images: ArrayLike, deferred: ArrayLike, student_flops: ArrayLike, teacher_flops: ArrayLike
) -> np.ndarray | np.float64:
    """Returns the gain in efficiency, 1 - (N F_S + N_T F_T) / (N F_T), float64 in (-inf, 1).

    The student sees every image, the teacher the deferred ones. 0 is the work of the teacher alone; with all images
    deferred it is -F_S / F_T. The formula is our choice, see the module. Arrays are broadcast against each other.

    Args:
        images: N >= 1.
        deferred: N_T, 0..N.
        student_flops: F_S > 0 per image, `Macs.flops`.
        teacher_flops: F_T > 0 per image. Milliseconds per image in place of both FLOPs give the measured gain.

    Raises:
        UserError: a number is out of its range.
    """
    _check_served(images, deferred)
    _check_work("student's", student_flops)
    _check_work("teacher's", teacher_flops)
    return np.float64(1) - np.divide(student_flops, teacher_flops) - np.divide(deferred, images)


def speedup(gie: ArrayLike) -> np.ndarray | np.float64:
    """Returns how many times less work a gain in efficiency means, 1 / (1 - gie), float64 > 0.

    Args:
        gie: less than 1.

    Raises:
        UserError: a gain of 1 or more, which would be no work at all.
    """
    _check(np.less(gie, 1), gie, "a GiE of {}", "less than 1: the share of the teacher's work that is saved")
    return np.float64(1) / np.subtract(1, gie)


@dataclass(frozen=True)
class Adaptation:
    """How often the networks ran to make the student, before it serves.

    Args:
        labelled: images that the teacher labelled, those for training and those held back; one that is labelled again
            in every step counts every time.
        trained: images in the student's training steps, steps times batch size.
        validated: held-back images that the student answered for validation.

    Raises:
        UserError: a number is negative.
    """

    labelled: int
    trained: int
    validated: int

    def __post_init__(self) -> None:
        for field in ("labelled", "trained", "validated"):
            count = getattr(self, field)
            if not 0 <= count < math.inf:
                raise UserError(f"adaptation: {count} images {field}, expected a count of at least 0")

    def flops(self, student: Macs, teacher: Macs) -> float:
        """Returns the work of the adaptation in FLOPs.

        A training step is three forward passes [our choice, a common estimate]. Before it is converted the student runs
        in float, so its binary MACs cost as much as float ones in training and in validation (our choice). The second
        derivatives that an attention objective needs are left out: they are those of the head, a few percent of a step.
        """
        passes = FORWARDS_A_TRAINING_STEP * self.trained + self.validated
        return self.labelled * teacher.flops + passes * student.flops_as_float


def gie_total(
    images: ArrayLike,
    deferred: ArrayLike,
    student_flops: ArrayLike,
    teacher_flops: ArrayLike,
    adaptation_flops: ArrayLike,
) -> np.ndarray | np.float64:
    """Returns the gain in efficiency with the adaptation charged, gie - A / (N F_T), float64 in (-inf, 1).

    Our choice. It is negative while N is small, and 0 at the break-even.

    Args:
        images: N >= 1 images served.
        deferred: N_T, 0..N.
        student_flops: F_S > 0 per image.
        teacher_flops: F_T > 0 per image.
        adaptation_flops: A >= 0, `Adaptation.flops`.

    Raises:
        UserError: a number is out of its range.
    """
    _check_adaptation(adaptation_flops)
    served = gie(images, deferred, student_flops, teacher_flops)
    return served - np.divide(adaptation_flops, images) / teacher_flops


def break_even(gie: ArrayLike, teacher_flops: ArrayLike, adaptation_flops: ArrayLike) -> np.ndarray | np.float64:
    """Returns after how many served images the adaptation has paid for itself, A / (gie F_T), float64 >= 0.

    Infinite where nothing is gained. At that number, and the same share deferred, `gie_total` is 0. Our choice.

    Args:
        gie: the gain of serving alone, less than 1.
        teacher_flops: F_T > 0 per image.
        adaptation_flops: A >= 0.

    Raises:
        UserError: a number is out of its range.
    """
    _check(np.less(gie, 1), gie, "a GiE of {}", "less than 1: the share of the teacher's work that is saved")
    _check_work("teacher's", teacher_flops)
    _check_adaptation(adaptation_flops)
    saved = np.multiply(gie, teacher_flops)
    gains = saved > 0
    return np.where(gains, np.divide(adaptation_flops, np.where(gains, saved, 1)), np.inf)[()]


def _check_served(images: ArrayLike, deferred: ArrayLike) -> None:
    is_count = np.isfinite(images) & np.greater_equal(images, 1)
    _check(is_count, images, "{} images served", "at least 1")
    deferred, images = np.broadcast_arrays(deferred, images)
    is_part = np.greater_equal(deferred, 0) & np.less_equal(deferred, images)
    _check(is_part, deferred, "{} images deferred", "at least 0 and at most the images served")


def _check_work(whose: str, work: ArrayLike) -> None:
    is_work = np.isfinite(work) & np.greater(work, 0)
    _check(is_work, work, f"the {whose} work is {{}} per image", "more than 0; count it with macs(model).flops")


def _check_adaptation(flops: ArrayLike) -> None:
    is_work = np.isfinite(flops) & np.greater_equal(flops, 0)
    _check(is_work, flops, "the adaptation's work is {} FLOPs", "at least 0; Adaptation.flops gives it")


def _check(is_right: ArrayLike, values: ArrayLike, given: str, expected: str) -> None:
    if not np.all(is_right):
        first = np.asarray(values)[~np.asarray(is_right)].flat[0]
        raise UserError(f"{given.format(first)}: expected {expected}")


# --- Measured --------------------------------------------------------------------------------------------------------


def measured_milliseconds(
    run: Callable[[np.ndarray], Any], images: np.ndarray, repeats: int = 20, warm_up: int = 3
) -> float:
    """Returns the median time per image in milliseconds that `run(images)` takes, after some calls that do not count.

    Measure student and teacher in one process, on the runtime and the machine that will serve, with batches of the
    size that will be served. An x86 figure says nothing of a phone: Keras runs the binary network in float, and Larq
    Compute Engine's kernels are made for 64-bit Arm. Two such figures in place of FLOPs give the measured `gie`.

    Args:
        run: answers a batch; returns when the work is done, as `model.predict_on_batch` does.
        images: (batch, ...), what `run` takes.
        repeats: calls that count, at least 1.
        warm_up: calls before them, at least 0.

    Raises:
        UserError: no images, or a number of calls out of its range.
    """
    if len(images) < 1 or repeats < 1 or warm_up < 0:
        raise UserError(
            f"{len(images)} images, {repeats} repeats, {warm_up} calls to warm up: expected at least 1, 1 and 0"
        )
    for _ in range(warm_up):
        run(images)
    return 1000 * float(np.median([_seconds(run, images) for _ in range(repeats)])) / len(images)


def _seconds(run: Callable[[np.ndarray], Any], images: np.ndarray) -> float:
    start = time.perf_counter()
    run(images)
    return time.perf_counter() - start
