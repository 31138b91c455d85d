"""Cuts a classifier in two: the trunk (images -> last convolutional features) and the head (features -> logits).

Attention maps need the features and the logits of one pass, and a gradient that flows through the head alone. Keras
models come in many dresses, so the cut is made on the graph of layer calls, not on layer names:

1. nested models are unrolled into one list of calls (`networks.graph`);
2. a softmax at the end is taken off, so that the head ends in logits;
3. the cut is the last feature map of more than 1x1 positions that every path from image to output goes through.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import Any

import tensorflow as tf

from envise_tf.errors import UserError
from envise_tf.networks.graph import Call, Graph, Value, named, unrolled
from envise_tf.networks.precision import at_least_float32


@dataclass(frozen=True)
class Split:
    """The two halves of a classifier; `head(trunk(images))` are its logits.

    Layers are shared with the given model: training a half trains the model. One layer is an exception: a last
    layer with a softmax activation is stood in for by a copy without the activation, which shares the variables but
    keeps the `trainable` flag that the layer had when the model was split. To save weights, save the given model.

    Attributes:
        trunk: images (batch, height, width, channels) -> features (batch, h, w, channels), h * w > 1.
        head: features -> logits (batch, classes), float32 (float64 when the model computes in float64).
    """

    trunk: tf.keras.Model
    head: tf.keras.Model


def split(model: tf.keras.Model, stages: bool = False, embedding: bool = False) -> Split:
    """Returns the trunk and the head of a Keras classifier with channels-last feature maps.

    The features are the last feature map that all paths go through, so batch normalisation, activation and pooling
    after the last convolution belong to the trunk as long as more than one position remains (our choice: it is what
    the head sees; a 1x1 map has no attention). Convolutions on 1x1 maps, as in MobileNetV3, belong to the head.

    Args:
        model: functional or sequential, with models nested in it to any depth; one image input; one output
            (batch, classes), either logits or their softmax. A softmax inside a Lambda or a custom layer is not seen.
        stages: whether the trunk returns a list: the features of each stage, then once more those of the last. A stage
            is a size of the grid; its features are the last map of that size that all paths go through.
        embedding: whether the head returns a list: what the last layer with a kernel sees, then the logits.

    Raises:
        UserError: the model has no graph of layers, several inputs or outputs, an output of another rank, a last
            activation that is neither linear nor softmax, or no convolutional feature map; or `embedding` is asked of
            a head without a layer that has a kernel.
    """
    graph = unrolled(model)
    check_output(model)
    graph = without_softmax(graph, model)
    before, features = _cut(graph, model)
    trunk = Graph(graph.calls[:before], graph.start, features.slot)
    head = Graph(graph.calls[before:], features.slot, graph.end)
    image = model.inputs[0]
    return Split(
        trunk=_as_model(trunk, image.shape, image.dtype, "trunk", _stage_slots(trunk) if stages else ()),
        head=_as_model(head, features.shape, features.dtype, "head", _embedding_slots(head) if embedding else ()),
    )


class _Replay(tf.keras.layers.Layer):
    """Runs a part of the graph, and owns the layers of that part so that their variables are found."""

    def __init__(self, graph: Graph, taps: Collection[int], **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self._graph, self._taps = graph, frozenset(taps)
        self._shared_layers = list({id(call.layer): call.layer for call in graph.calls}.values())
        self.built = True

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor | list[tf.Tensor]:
        values = self._graph.run_tapped(inputs, training, self._taps)
        values[-1] = self._last(values[-1])
        return values if self._taps else values[-1]

    def _last(self, value: tf.Tensor) -> tf.Tensor:
        return value


class _ReplayToLogits(_Replay):
    """The same for the head: half-precision logits become float32, for the sake of every softmax to come."""

    def _last(self, logits: tf.Tensor) -> tf.Tensor:
        return at_least_float32(logits)


def _as_model(graph: Graph, shape: tf.TensorShape, dtype: tf.DType, name: str, taps: Collection[int]) -> tf.keras.Model:
    inputs = tf.keras.Input(shape=shape[1:], batch_size=shape[0], dtype=dtype)
    layer = _ReplayToLogits if name == "head" else _Replay
    return tf.keras.Model(inputs, layer(graph, taps, name=f"{name}_layers")(inputs), name=name)


def check_output(model: tf.keras.Model) -> None:
    """Finds models whose output is no row of class scores per image.

    Raises:
        UserError: the output has another shape than (batch, classes).
    """
    shape = model.outputs[0].shape
    if shape.rank != 2:
        raise UserError(
            f"cannot cut {named(model)}: its output has shape {tuple(shape)}, expected (batch, classes); "
            "add the pooling and the dense layer of a classifier"
        )


# --- The softmax comes off -------------------------------------------------------------------------------------------


def without_softmax(graph: Graph, model: tf.keras.Model) -> Graph:
    """Returns the graph with its softmax taken off; as it is when it ends in logits."""
    at = last_that_computes(graph)
    call = graph.calls[at]
    if _is_opaque(call.layer):
        raise UserError(
            f"cannot cut {named(model)}: its output comes from {named(call.layer)}, whose graph of layers is not "
            "known; build that part of functional or sequential layers"
        )
    activation = _activation(call.layer)
    if activation not in ("linear", "softmax"):
        raise UserError(
            f"cannot cut {named(model)}: it ends in {activation} ({named(call.layer)}), expected logits or softmax; "
            "give the model without its last activation"
        )
    if activation == "linear":
        return graph
    if call.layer.weights:
        return _with_call(graph, at, replace(call, layer=_linear_copy(call.layer)))
    return _without_call(graph, at)


def last_that_computes(graph: Graph) -> int:
    """Returns the place of the last call that does more than reshape."""
    for at in reversed(range(len(graph.calls))):
        if not _passes_on(graph.calls[at].layer):
            return at
    return 0


def _passes_on(layer: tf.keras.layers.Layer) -> bool:
    """Says whether a layer leaves logits what they are: MobileNetV3, for one, flattens them before its softmax."""
    reshapes = (tf.keras.layers.Flatten, tf.keras.layers.Reshape, tf.keras.layers.Dropout)
    is_identity = isinstance(layer, tf.keras.layers.Activation) and _activation(layer) == "linear"
    return is_identity or isinstance(layer, reshapes)


def _activation(layer: tf.keras.layers.Layer) -> str:
    """Returns the name of the last thing that a layer does to its output; "linear" when it is not known."""
    if isinstance(layer, tf.keras.layers.Softmax):
        return "softmax"
    operation = (getattr(layer, "symbol", None) or "").rpartition(".")[
        2
    ]  # of tf.nn.softmax(x) called on a Keras tensor
    if operation in ("softmax", "sigmoid"):
        return operation
    activation = getattr(layer, "activation", None)
    if activation is None:
        return "linear"
    return getattr(activation, "__name__", type(activation).__name__).lower()


def _is_opaque(layer: tf.keras.layers.Layer) -> bool:
    return isinstance(layer, tf.keras.Model)


def _linear_copy(layer: tf.keras.layers.Layer) -> tf.keras.layers.Layer:
    """Returns a layer with the same variables and no activation."""
    linear = copy.copy(layer)
    # Keras' own __setattr__ would count references in a table that the copy shares with the layer.
    object.__setattr__(linear, "activation", tf.keras.activations.linear)
    return linear


def _with_call(graph: Graph, at: int, call: Call) -> Graph:
    return replace(graph, calls=(*graph.calls[:at], call, *graph.calls[at + 1 :]))


def _without_call(graph: Graph, at: int) -> Graph:
    """Returns the graph without a call of one input and one output: who read its output now reads its input."""
    gone = graph.calls[at]
    source, target = gone.inputs[0], gone.outputs[0].slot
    later = tuple(
        replace(call, inputs=tuple(source if slot == target else slot for slot in call.inputs))
        for call in graph.calls[at + 1 :]
    )
    return replace(graph, calls=graph.calls[:at] + later, end=source if graph.end == target else graph.end)


# --- The cut ---------------------------------------------------------------------------------------------------------


def _cut(graph: Graph, model: tf.keras.Model) -> tuple[int, Value]:
    """Returns how many calls belong to the trunk, and its features."""
    found = None
    seen, is_convolved = 0, False
    for count, value in _bottlenecks(graph):
        convolves = any(_has_kernel(call.layer) for call in graph.calls[seen:count])
        # A dense vector that is reshaped to rank 4 is no map: a convolution has to come first, or again.
        seen, is_convolved = count, (is_convolved or convolves) and value.shape.rank == 4
        if is_convolved and _is_map(value.shape):
            found = count, value
    if found is None:
        raise UserError(
            f"cannot cut {named(model)}: no convolutional feature map of more than 1x1 positions lies between image "
            "and output, and attention maps need one; give a convolutional classifier, or larger images"
        )
    return found


def _stage_slots(trunk: Graph) -> list[int]:
    """Returns where the last feature map of each size of the grid is, that of the trunk's end among them."""
    maps = [value for _, value in _bottlenecks(trunk)]
    maps += [value for value in trunk.calls[-1].outputs if value.slot == trunk.end]
    first = next(at for at, call in enumerate(trunk.calls) if _has_kernel(call.layer))
    made = {value.slot for call in trunk.calls[first:] for value in call.outputs}
    last = {tuple(value.shape[1:3]): value.slot for value in maps if value.slot in made and _is_map(value.shape)}
    return list(last.values())


def _embedding_slots(head: Graph) -> list[int]:
    """Returns where the penultimate features are: the input of the last layer with a kernel."""
    for call in reversed(head.calls):
        if any(weight.shape.rank in (2, 4) for weight in call.layer.weights) and len(call.inputs) == 1:
            return list(call.inputs)
    raise UserError(
        "a network has no penultimate features: expected a dense layer or a convolution after its last feature map; "
        "leave out the objectives that compare them"
    )


def _bottlenecks(graph: Graph) -> Iterator[tuple[int, Value]]:
    """Yields (calls so far, value) wherever a single value is all that the remaining calls read.

    Every call here lies on a path from start to end. So what comes before such a value comes before it in any order,
    and one walk over the calls finds all of them.
    """
    last_reader = {slot: at for at, call in enumerate(graph.calls) for slot in call.inputs}
    open_values: dict[int, Value] = {}
    start_is_open = True
    for at, call in enumerate(graph.calls[:-1]):
        open_values.update({value.slot: value for value in call.outputs if value.slot in last_reader})
        open_values = {slot: value for slot, value in open_values.items() if last_reader[slot] > at}
        start_is_open = start_is_open and last_reader[graph.start] > at
        if len(open_values) == 1 and not start_is_open:
            yield at + 1, next(iter(open_values.values()))


def _has_kernel(layer: tf.keras.layers.Layer) -> bool:
    """Says whether a layer convolves: it has weights (height, width, in, out)."""
    return any(weight.shape.rank == 4 for weight in layer.weights)


def _is_map(shape: tf.TensorShape) -> bool:
    """Says whether a value is a feature map of more than one position; an unknown size counts as more than one."""
    return shape.rank == 4 and tuple(shape[1:3]) != (1, 1)
