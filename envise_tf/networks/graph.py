"""The graph of layer calls of a Keras model: nested models unrolled into one list, of which any part can be replayed.

The calls keep the given model's own layers. No layer is called on a symbolic tensor, so the given model keeps its
graph, its `layer.output` and its saved form.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import Any

import tensorflow as tf

from envise_tf.errors import UserError


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
        return self.run_tapped(start, training, ())[-1]

    def run_tapped(self, start: tf.Tensor, training: bool | None, taps: Collection[int]) -> list[tf.Tensor]:
        """Returns the values in the slots `taps`, in the order in which the calls make them, then that at the end."""
        values = {self.start: start}
        tapped = [_forked(values, self.start)] if self.start in taps else []
        for call in self.calls:
            call.run(values, training)
            tapped += [_forked(values, value.slot) for value in call.outputs if value.slot in taps]
        return [*tapped, values[self.end]]


def _forked(values: dict[int, tf.Tensor], slot: int) -> tf.Tensor:
    """Returns a value for another reader than the calls that come; no gradient becomes a sum of three, see `Fork`."""
    fork = Fork(values[slot])
    values[slot] = fork()
    return fork()


class Fork:
    """Hands one tensor to any number of readers, each of whom may read it twice.

    TensorFlow adds up the gradients of three readers in the order of the buffers that happen to be free, so that no
    two trainings are alike. Here each reader's gradient is added to the sum of those after it: always two at a time.
    """

    def __init__(self, value: tf.Tensor) -> None:
        self._rest = value

    def __call__(self) -> tf.Tensor:
        value, self._rest = tf.identity(self._rest), tf.identity(self._rest)
        return value


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
        if is_graph(node.layer) and len(inputs) == len(node.layer.inputs) == 1:
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


def _check_ends(model: tf.keras.Model) -> None:
    if not is_graph(model):
        raise UserError(
            f"cannot follow {named(model)}: expected a functional or built sequential Keras model, whose graph of "
            "layers is known; wrap the layers as tf.keras.Model(inputs, outputs), or give a Sequential an input shape"
        )
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise UserError(
            f"cannot follow {named(model)}: it has {len(model.inputs)} inputs and {len(model.outputs)} outputs, "
            "expected one of each; wrap the branch you need as a model of its own"
        )


def is_graph(layer: object) -> bool:
    """Says whether a model's graph of layers is all that it does: none that overrides `call` is such a model."""
    if not isinstance(layer, tf.keras.Model) or not layer._is_graph_network:
        return False
    return type(layer).call.__module__.startswith(("tf_keras.", "keras."))


def named(layer: tf.keras.layers.Layer) -> str:
    """Returns a layer's name and class, for an error."""
    return f"{getattr(layer, 'name', layer)!r} ({type(layer).__name__})"
