"""A network saved by Keras 3, rebuilt of layers of Keras 2 that have its weights."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import tensorflow as tf

from envise_tf.errors import UserError, reason_of
from envise_tf.networks.formats import require_layers
from envise_tf.networks.keras3.exported import is_exported, rebuilt_export
from envise_tf.networks.keras3.file import Keras3File, read_keras3
from envise_tf.networks.keras3.layers import counterpart
from envise_tf.networks.keras3.operations import is_operation, operation

_SEQUENTIAL = "Sequential"
_FUNCTIONAL = ("Functional", "Model")

_Place: TypeAlias = tuple[str, int, int]
"""Where a tensor comes from: the layer, the number of the layer's call, the number of the tensor in what it returns."""


@dataclass(frozen=True)
class _Part:
    """A layer, or a model nested in another.

    Attributes:
        kind: its class in Keras 3.
        layer: in Keras 2.
        parts: the layers of a model, in the order of Keras 3, which is that of the file; operations are none.
    """

    kind: str
    layer: tf.keras.layers.Layer
    parts: tuple[_Part, ...] = ()


class _Call(NamedTuple):
    """One call of a function, a layer or an operation; `node` holds its arguments as the file gives them."""

    given: Mapping[str, Any]
    number: int
    function: Any
    node: Mapping[str, Any]


def rebuilt(path: Path) -> tf.keras.Model:
    """Returns a network that Keras 3 has saved, as a functional model of Keras 2.

    Args:
        path: a .keras or .h5 file of Keras 3, or a folder that `model.export` has written.

    Raises:
        UserError: there is no such file, it holds no network of Keras 3, the network is neither functional nor
            sequential, or a layer, an operation or an argument of it has no counterpart in Keras 2.
    """
    if not path.exists():
        raise UserError(f"there is no file {path}: expected a network that Keras 3 has saved, as .keras or .h5")
    require_layers(path)
    if is_exported(path):
        return rebuilt_export(path)
    file = read_keras3(path)
    network = _model(file.config)
    if file.by_name:
        _set_weights_by_name(network, file)
    else:
        _set_weights_by_place(network, "", file)
    _finalize_normalisation(network)
    return network.layer


# --- Layers and their calls -------------------------------------------------------------------------------------------


def _part(given: Mapping[str, Any]) -> _Part:
    kind = str(given["class_name"])
    if kind == _SEQUENTIAL or kind in _FUNCTIONAL:
        return _model(given)
    is_own = not (given.get("module", "keras") or "").startswith("keras")
    return _Part(kind, counterpart(str(given["registered_name"]) if is_own else kind, given["config"]))


def _model(given: Mapping[str, Any]) -> _Part:
    kind, config = str(given["class_name"]), given["config"]
    if kind == _SEQUENTIAL:
        return _sequential(config)
    if kind in _FUNCTIONAL and "output_layers" in config:
        return _functional(config)
    raise UserError(
        f"the network {config.get('name', kind)} ({kind}) has code of its own: expected a functional or sequential "
        "one; build it of layers, as keras.Model(inputs, outputs)"
    )


def _sequential(config: Mapping[str, Any]) -> _Part:
    first, *others = config["layers"]
    if first["class_name"] == "InputLayer":
        image = _input(first["config"])
    elif config.get("build_input_shape"):
        image, others = tf.keras.Input(config["build_input_shape"][1:]), config["layers"]
    else:
        raise UserError(f"the network {config['name']} has no input shape: call it on an image, and save it again")
    parts, output = [], image
    for each in others:
        parts.append(_part(each))
        output = _called(parts[-1].layer, each, [output], {})
    return _Part(_SEQUENTIAL, tf.keras.Model(image, output, name=config["name"]), tuple(parts))


def _functional(config: Mapping[str, Any]) -> _Part:
    """Returns a functional model; its calls run in any order in which each finds its tensors."""
    tensors: dict[_Place, tf.Tensor] = {}
    parts: list[_Part] = []
    calls: list[_Call] = []
    for given in config["layers"]:
        name = given["name"]
        if given["class_name"] == "InputLayer":
            tensors[name, 0, 0] = _input(given["config"])
            continue
        if is_operation(given["config"]):
            function = operation(given["class_name"], given["config"], name)
        else:
            parts.append(_part(given))
            function = parts[-1].layer
        calls += [_Call(given, number, function, node) for number, node in enumerate(given["inbound_nodes"])]
    while calls:
        ready: list[_Call] = []
        waiting: list[_Call] = []
        for call in calls:
            (ready if tensors.keys() >= set(_sources(call.node)) else waiting).append(call)
        if not ready:
            raise UserError(f"the network {config['name']} has a layer without its inputs: save it again")
        for call in ready:
            args, kwargs = (_filled(call.node[key], tensors) for key in ("args", "kwargs"))
            outputs = tf.nest.flatten(_called(call.function, call.given, args, kwargs))
            tensors.update({(call.given["name"], call.number, at): each for at, each in enumerate(outputs)})
        calls = waiting
    ends = ([tensors[place] for place in _places(config[key])] for key in ("input_layers", "output_layers"))
    inputs, outputs = (end[0] if len(end) == 1 else end for end in ends)
    return _Part("Functional", tf.keras.Model(inputs, outputs, name=config["name"]), tuple(parts))


def _input(config: Mapping[str, Any]) -> tf.Tensor:
    # Whatever number of images it was built for, it takes any.
    return tf.keras.Input(config["batch_shape"][1:], dtype=config["dtype"], name=config["name"])


def _called(function: Any, given: Mapping[str, Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Returns what a layer or an operation makes of Keras tensors."""
    try:
        return function(*args, **{name: value for name, value in kwargs.items() if value is not None})
    except Exception as error:  # whatever Keras raises where arguments do not fit
        told = f"{given['config'].get('name', given.get('name'))} ({given['class_name']})"
        raise UserError(f"Keras 2 cannot rebuild {told} ({reason_of(error)}): replace it by other layers") from error


def _filled(given: Any, tensors: Mapping[_Place, tf.Tensor]) -> Any:
    """Returns the arguments of a call as Keras 3 has written them down, with the tensors in their places."""
    if isinstance(given, list):
        return [_filled(each, tensors) for each in given]
    if not isinstance(given, dict):
        return given
    kind, config = given.get("class_name"), given.get("config", {})
    if kind == "__keras_tensor__":
        return tensors[_place(config["keras_history"])]
    if kind in ("__tensor__", "__numpy__"):
        return np.asarray(config["value"], config["dtype"])
    if kind == "__slice__":
        return slice(*(config[name] for name in ("start", "stop", "step")))
    if kind == "__ellipsis__":
        return ...
    return {name: _filled(value, tensors) for name, value in given.items()}


def _sources(given: Any) -> Iterator[_Place]:
    """Yields where the tensors in the arguments of a call come from."""
    if isinstance(given, dict) and given.get("class_name") == "__keras_tensor__":
        yield _place(given["config"]["keras_history"])
    elif isinstance(given, (dict, list)):
        for each in given.values() if isinstance(given, dict) else given:
            yield from _sources(each)


def _places(given: Any) -> list[_Place]:
    """Returns where the inputs or outputs of a model are: one, or a list or dict of them."""
    if isinstance(given, dict):
        return [place for each in given.values() for place in _places(each)]
    if given and isinstance(given[0], str):
        return [_place(given)]
    return [place for each in given for place in _places(each)]


def _place(given: Sequence[Any]) -> _Place:
    name, call, number = given
    return str(name), int(call), int(number)


# --- Weights ----------------------------------------------------------------------------------------------------------


def _set_weights_by_place(part: _Part, place: str, file: Keras3File) -> None:
    """Sets the weights of a part from a .keras file, in which a layer is found by its class and its number."""
    if part.layer.weights and not part.parts:
        _assign(part.layer.weights, file.arrays.get(place, ()), f"layer {part.layer.name} ({part.kind})", file)
    numbers: Counter[str] = Counter()
    for inner in part.parts:
        name = _snake_case(inner.kind)
        number = f"_{numbers[name]}" if numbers[name] else ""
        numbers[name] += 1
        _set_weights_by_place(inner, f"{place}/layers/{name}{number}".removeprefix("/"), file)


def _set_weights_by_name(network: _Part, file: Keras3File) -> None:
    """Sets the weights of a network from an .h5 file, in which those of an outermost layer lie in one list."""
    for part in network.parts:
        leaves = list(_leaves(part))
        weights = [weight for leaf in leaves for weight in leaf.trainable_weights]
        weights += [weight for leaf in leaves for weight in leaf.non_trainable_weights]
        _assign(weights, file.arrays.get(part.layer.name, ()), f"layer {part.layer.name} ({part.kind})", file)


def _leaves(part: _Part) -> Iterator[tf.keras.layers.Layer]:
    if not part.parts:
        yield part.layer
    for inner in part.parts:
        yield from _leaves(inner)


def _assign(weights: Sequence[tf.Variable], arrays: Sequence[np.ndarray], named: str, file: Keras3File) -> None:
    wanted, found = [tuple(each.shape) for each in weights], [each.shape for each in arrays]
    if wanted != found:
        raise UserError(f"{file.path} has weights of shapes {found} for {named}: expected {wanted}; save it again")
    for weight, array in zip(weights, arrays, strict=True):
        weight.assign(array)


def _finalize_normalisation(part: _Part) -> None:
    """Has layers that compute with a function of their weights compute it."""
    for leaf in _leaves(part):
        if isinstance(leaf, tf.keras.layers.Normalization):
            leaf.finalize_state()


def _snake_case(kind: str) -> str:
    """Returns a class as Keras 3 names its layers in a file: "Conv2DTranspose" -> "conv2d_transpose"."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=.)(?=[A-Z][a-z])", "_", kind).lower()
