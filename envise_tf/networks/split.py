"""Cuts a classifier in two: the trunk (images -> last convolutional features) and the head (features -> logits).

Attention maps need the features and the logits of one pass, and a gradient that flows through the head alone. Keras
models come in many dresses, so the cut is made on the graph of layer calls, not on layer names:

1. nested models are unrolled into one list of calls;
2. a softmax at the end is taken off, so that the head ends in logits;
3. the cut is the last feature map of more than 1x1 positions through which every path from image to output goes.

Both halves replay the calls of the given model with its own layers. No layer is called on a symbolic tensor, so the
given model keeps its graph, its `layer.output` and its saved form.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import tensorflow as tf

from envise_tf.errors import UserError


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


def split(model: tf.keras.Model) -> Split:
    """Returns the trunk and the head of a Keras classifier with channels-last feature maps.

    The features are the last feature map that all paths go through, so batch normalisation, activation and pooling
    after the last convolution belong to the trunk as long as more than one position remains (our choice: it is what
    the head sees; a 1x1 map has no attention). Convolutions on 1x1 maps, as in MobileNetV3, belong to the head.

    Args:
        model: functional or sequential, with models nested in it to any depth; one image input; one output
            (batch, classes), either logits or their softmax. A softmax inside a Lambda or a custom layer is not seen.

    Raises:
        UserError: the model has no graph of layers, several inputs or outputs, an output of another rank, a last
            activation that is neither linear nor softmax, or no convolutional feature map.
    """
    graph = unrolled(model)
    _check_output(model)
    graph = _without_softmax(graph, model)
    before, features = _cut(graph, model)
    trunk = Graph(graph.calls[:before], graph.start, features.slot)
    head = Graph(graph.calls[before:], features.slot, graph.end)
    image = model.inputs[0]
    return Split(
        trunk=_as_model(trunk, image.shape, image.dtype, name="trunk"),
        head=_as_model(head, features.shape, features.dtype, name="head"),
    )


@dataclass(frozen=True)
class Value:
    """A tensor of the unrolled graph: its place among the values of a run, and what it looks like."""

    slot: int
    shape: tf.TensorShape
    dtype: tf.DType


@dataclass(frozen=True)
class Call:
    """One call of a layer.

    Attributes:
        layer: what is called.
        node: Keras' record of the call, which knows where among the arguments the tensors stand.
        inputs: the slots of its tensors, in the record's order.
        outputs: what it makes.
        training: True or False when the call, or that of a model around it, fixes the mode, as in
            `base(x, training=False)`; None when the mode is the caller's.
    """

    layer: tf.keras.layers.Layer
    node: Any
    inputs: tuple[int, ...]
    outputs: tuple[Value, ...]
    training: bool | None

    def run(self, values: dict[int, tf.Tensor], training: bool | None) -> None:
        """Calls the layer on `values` and puts there what it returns."""
        arguments: dict[str, list[tf.Tensor]] = {}
        for symbol, slot in zip(self.node.keras_inputs, self.inputs, strict=True):
            # A model casts what enters it, a layer finds the type that it was built on; elsewhere this does nothing.
            arguments.setdefault(str(id(symbol)), []).append(tf.cast(values[slot], symbol.dtype))
        args, kwargs = self.node.map_arguments(arguments)
        mode = training if self.training is None else self.training
        if mode is not None and _fixed_training(self.node) is None and self.layer._expects_training_arg:
            kwargs = {**kwargs, "training": mode}
        results = tf.nest.flatten(self.layer(*args, **kwargs))
        values.update({value.slot: result for value, result in zip(self.outputs, results, strict=True)})


@dataclass(frozen=True)
class Graph:
    """Calls in an order in which they can run, from the value in slot `start` to the value in slot `end`."""

    calls: tuple[Call, ...]
    start: int
    end: int

    def run(self, start: tf.Tensor, training: bool | None) -> tf.Tensor:
        """Returns the value at the end for a value at the start."""
        values = {self.start: start}
        for call in self.calls:
            call.run(values, training)
        return values[self.end]


class _Replay(tf.keras.layers.Layer):
    """Runs a part of the graph, and owns the layers of that part so that their variables are found."""

    def __init__(self, graph: Graph, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self._graph = graph
        self._shared_layers = list({id(call.layer): call.layer for call in graph.calls}.values())
        self.built = True

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        return self._graph.run(inputs, training)


class _ReplayToLogits(_Replay):
    """The same for the head: half-precision logits become float32, for the sake of every softmax to come."""

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        logits = super().call(inputs, training)
        return logits if logits.dtype == tf.float64 else tf.cast(logits, tf.float32)


def _as_model(graph: Graph, shape: tf.TensorShape, dtype: tf.DType, name: str) -> tf.keras.Model:
    inputs = tf.keras.Input(shape=shape[1:], batch_size=shape[0], dtype=dtype)
    layer = _ReplayToLogits if name == "head" else _Replay
    return tf.keras.Model(inputs, layer(graph, name=f"{name}_layers")(inputs), name=name)


def _check_ends(model: tf.keras.Model) -> None:
    if not _is_graph(model):
        raise UserError(
            f"cannot follow {_named(model)}: expected a functional or built sequential Keras model, whose graph of "
            "layers is known; wrap the layers as tf.keras.Model(inputs, outputs), or give a Sequential an input shape"
        )
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise UserError(
            f"cannot follow {_named(model)}: it has {len(model.inputs)} inputs and {len(model.outputs)} outputs, "
            "expected one of each; wrap the branch you need as a model of its own"
        )


def _check_output(model: tf.keras.Model) -> None:
    shape = model.outputs[0].shape
    if shape.rank != 2:
        raise UserError(
            f"cannot cut {_named(model)}: its output has shape {tuple(shape)}, expected (batch, classes); "
            "add the pooling and the dense layer of a classifier"
        )


def _is_graph(layer: object) -> bool:
    """Says whether a model's graph of layers is all that it does: none that overrides `call` is such a model."""
    if not isinstance(layer, tf.keras.Model) or not layer._is_graph_network:
        return False
    return type(layer).call.__module__.startswith(("tf_keras.", "keras."))


def _named(layer: tf.keras.layers.Layer) -> str:
    return f"{getattr(layer, 'name', layer)!r} ({type(layer).__name__})"


# --- 1. Nested models become one list of calls -----------------------------------------------------------------------


def unrolled(model: tf.keras.Model) -> Graph:
    """Returns the graph of a model with one input and one output, without the calls that its output does not need.

    Nested models are unrolled to any depth, once for every call of them, where they are functional or sequential and
    have one input; the others stay one call each.

    Raises:
        UserError: the model has no graph of layers, or several inputs or outputs.
    """
    _check_ends(model)
    image = model.inputs[0]
    calls: list[Call] = []
    ends = _unroll(model, Value(0, image.shape, image.dtype), None, calls)
    return _needed(Graph(tuple(calls), start=0, end=ends[0].slot))


def _unroll(model: tf.keras.Model, start: Value, training: bool | None, calls: list[Call]) -> list[Value]:
    """Appends the calls of `model` to `calls`; returns the values that it puts out.

    Keras tensors are told apart within one call of one model only: a nested model may be called twice.
    """
    known = {id(model.inputs[0]): start}
    for node in _nodes(model):
        inputs = [known[id(symbol)] for symbol in node.keras_inputs]
        own = _fixed_training(node)
        mode = training if own is None else own
        if _is_graph(node.layer) and len(inputs) == len(node.layer.inputs) == 1:
            outputs = _unroll(node.layer, inputs[0], mode, calls)
        else:
            outputs = _new_values(node, after=calls)
            calls.append(Call(node.layer, node, tuple(value.slot for value in inputs), tuple(outputs), mode))
        known.update({id(symbol): value for symbol, value in zip(_outputs(node), outputs, strict=True)})
    return [known[id(symbol)] for symbol in model.outputs]


def _nodes(model: tf.keras.Model) -> Iterator[Any]:
    """Yields the records of the calls in a model, in an order in which they can run."""
    for depth in sorted(model._nodes_by_depth, reverse=True):
        yield from (node for node in model._nodes_by_depth[depth] if not node.is_input)


def _outputs(node: Any) -> list[Any]:
    return tf.nest.flatten(node.outputs)


def _new_values(node: Any, after: list[Call]) -> list[Value]:
    first = 1 + max((value.slot for call in after[-1:] for value in call.outputs), default=0)
    return [Value(first + i, symbol.shape, symbol.dtype) for i, symbol in enumerate(_outputs(node))]


def _fixed_training(node: Any) -> bool | None:
    """Returns the training mode that the call itself names, None when it names none."""
    try:
        return node.layer._call_spec.get_arg_value("training", node.call_args, node.call_kwargs, inputs_in_args=True)
    except KeyError:
        return None


def _needed(graph: Graph) -> Graph:
    """Leaves out the calls that the end does not need: side outputs of nested models."""
    wanted = {graph.end}
    kept = []
    for call in reversed(graph.calls):
        if wanted.intersection(value.slot for value in call.outputs):
            wanted.update(call.inputs)
            kept.append(call)
    return replace(graph, calls=tuple(reversed(kept)))


# --- 2. The softmax comes off ----------------------------------------------------------------------------------------


def _without_softmax(graph: Graph, model: tf.keras.Model) -> Graph:
    """Returns the graph with its softmax taken off; as it is when it ends in logits."""
    at = _last_that_computes(graph)
    call = graph.calls[at]
    if _is_opaque(call.layer):
        raise UserError(
            f"cannot cut {_named(model)}: its output comes from {_named(call.layer)}, whose graph of layers is not "
            "known; build that part of functional or sequential layers"
        )
    activation = _activation(call.layer)
    if activation not in ("linear", "softmax"):
        raise UserError(
            f"cannot cut {_named(model)}: it ends in {activation} ({_named(call.layer)}), expected logits or softmax; "
            "give the model without its last activation"
        )
    if activation == "linear":
        return graph
    if call.layer.weights:
        return _with_call(graph, at, replace(call, layer=_linear_copy(call.layer)))
    return _without_call(graph, at)


def _last_that_computes(graph: Graph) -> int:
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


# --- 3. The cut ------------------------------------------------------------------------------------------------------


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
            f"cannot cut {_named(model)}: no convolutional feature map of more than 1x1 positions lies between image "
            "and output, and attention maps need one; give a convolutional classifier, or larger images"
        )
    return found


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
