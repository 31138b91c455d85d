"""The work of a network: multiply-accumulates of any Keras classifier, layer by layer, and the FLOPs they come to.

A float multiply-accumulate (MAC) is 2 FLOPs; a binary one, in which both operands are -1 or 1, is 1/64 of that, because
a 64-bit processor does 64 of them in an XNOR and a popcount (XNOR-Net, Rastegari et al. 2016, section 3).

Why the MACs are counted here and not by `larq.models.ModelProfile`: that is right for plain, grouped, depthwise and
separable float convolutions and for dense layers, also in nested models. Larq 0.14 miscounts transposed convolutions
(by output positions), layers called twice (once at most), nested models of open size (as 1x1), layers with "bias" in
their name (as zero) and the pointwise half of binary separable convolutions (as binary); and 3-D and 1-D depthwise
convolutions, custom layers, attention and recurrent layers are zero to it, without a word.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass

import tensorflow as tf

from envise_tf.errors import UserError
from envise_tf.networks.graph import Call, Graph, unrolled

layers = tf.keras.layers


FLOPS_A_MAC = 2
BINARY_MACS_A_FLOAT_MAC = 64


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
