"""Networks that `model.export` has written, rebuilt in Keras 2 from TensorFlow's graph: such a folder has no layers.

The graph is frozen, so that each weight is a constant. Operations with a kernel become layers again, since attention
maps and multiply-accumulates need these; the others become operations on their results. What follows from constants
alone, as most of a batch normalisation does, is computed once, here.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from envise_tf.errors import UserError, reason_of
from envise_tf.networks.code import require_no_code

layers = tf.keras.layers

_SIGNATURE = "serving_default"


def is_exported(path: Path) -> bool:
    """Returns whether a path is a SavedModel without layers of Keras, such as `model.export` of Keras 3 writes."""
    return (path / "saved_model.pb").exists() and not (path / "keras_metadata.pb").exists()


def exported_outputs(folder: Path, images: np.ndarray) -> np.ndarray:
    """Returns what an exported network answers, float (n, classes).

    Args:
        folder: that `rebuilt_export` takes.
        images: (n, height, width, 3), in the range and dtype that the network takes.
    """
    network = tf.saved_model.load(str(folder))
    (name,) = network.signatures[_SIGNATURE].structured_input_signature[1]
    batches = [images[first : first + 32] for first in range(0, len(images), 32)]
    outputs = [network.signatures[_SIGNATURE](**{name: tf.constant(batch)}) for batch in batches]
    return np.concatenate([next(iter(each.values())).numpy() for each in outputs])


def rebuilt_export(folder: Path) -> tf.keras.Model:
    """Returns an exported network as a functional model of Keras 2; what is no kernel of it cannot be trained.

    Args:
        folder: a SavedModel with a signature of one input and one output.

    Raises:
        UserError: it has no such signature, takes images of any size, has an operation that is not known here, or holds
            code, see `networks.code`.
    """
    graph = _frozen(folder)
    image, (output,) = graph.inputs[0], graph.outputs
    if None in tuple(image.shape[1:]):
        raise UserError(
            f"{folder} takes images of shape {tuple(image.shape[1:])}: expected one size; export the network with an "
            "input of that size, or give its .keras file"
        )
    first = tf.keras.Input(image.shape[1:], dtype=image.dtype)
    values: dict[str, Any] = {image.name: first}
    for operation in _needed(graph.graph, output.op):
        if operation.type != "Placeholder":
            results = _results(operation, [values[each.name] for each in _read(operation)], folder)
            values.update({tensor.name: result for tensor, result in zip(operation.outputs, results, strict=True)})
    return tf.keras.Model(first, values[output.name], name=folder.name)


def _frozen(folder: Path) -> Any:
    require_no_code(folder)
    try:
        network = tf.saved_model.load(str(folder))  # by a name, since its variables live as long as it does
        signature = network.signatures[_SIGNATURE]
        # Its variables are those that the answers depend on: a dropout's, which is off, is none of them.
        is_random = any("seed_generator" in variable.name for variable in signature.variables)
        frozen = None if is_random else convert_variables_to_constants_v2(signature)
    except Exception as error:  # whatever TensorFlow raises where a file or an operation is not its own
        raise UserError(
            f"TensorFlow cannot read {folder} ({reason_of(error)}): give the .keras file of the network"
        ) from error
    if frozen is None:
        raise UserError(
            f"{folder} draws random numbers when it answers, as augmentation layers do once they are exported: give "
            "the .keras file of the network"
        )
    if len(frozen.inputs) != 1 or len(frozen.outputs) != 1:
        raise UserError(
            f"{folder} has {len(frozen.inputs)} inputs and {len(frozen.outputs)} outputs: expected one of each, images "
            "and class scores"
        )
    return frozen


def _needed(graph: Any, last: Any) -> list[Any]:
    """Returns the operations that one depends on, in an order in which they can run."""
    wanted, left = {last.name}, [last]
    while left:
        found = [each.op for each in _read(left.pop()) if each.op.name not in wanted]
        wanted.update(each.name for each in found)
        left += found
    return [operation for operation in graph.get_operations() if operation.name in wanted]


def _read(operation: Any) -> list[Any]:
    """Returns the tensors that an operation reads; the shape to take is known from the graph."""
    return list(operation.inputs)[:1] if operation.type == "Reshape" else list(operation.inputs)


def _results(operation: Any, inputs: list[Any], folder: Path) -> list[Any]:
    if operation.type not in _OPERATIONS:
        raise UserError(
            f"operation {operation.name} ({operation.type}) of {folder} has no counterpart in Keras 2: give the .keras "
            "file of the network"
        )
    results = _OPERATIONS[operation.type](operation, *inputs)
    results = results if isinstance(results, list) else [results]
    return [each.numpy() if isinstance(each, tf.__internal__.EagerTensor) else each for each in results]


# --- Operations: functions of the operation, which has the attributes, and of its inputs, constants or Keras tensors --


def _with_weights(layer: tf.keras.layers.Layer, x: Any, *weights: np.ndarray) -> Any:
    result = layer(x)
    layer.set_weights(weights)
    return result


def _window(operation: Any, name: str) -> list[int]:
    """Returns an attribute of height and width; channels come last, for no processor convolves otherwise."""
    if operation.get_attr("data_format") != b"NHWC":
        raise UserError(f"operation {operation.name} has the channels first: expected images with the channels last")
    return list(operation.get_attr(name))[1:3]


def _padding(operation: Any) -> str:
    return operation.get_attr("padding").decode().lower()


def _conv2d(operation: Any, x: Any, kernel: np.ndarray) -> Any:
    layer = layers.Conv2D(
        kernel.shape[3],
        kernel.shape[:2],
        strides=_window(operation, "strides"),
        dilation_rate=_window(operation, "dilations"),
        padding=_padding(operation),
        groups=x.shape[-1] // kernel.shape[2],
        use_bias=False,
    )
    return _with_weights(layer, x, kernel)


def _depthwise(operation: Any, x: Any, kernel: np.ndarray) -> Any:
    layer = layers.DepthwiseConv2D(
        kernel.shape[:2],
        strides=_window(operation, "strides"),
        dilation_rate=_window(operation, "dilations"),
        padding=_padding(operation),
        depth_multiplier=kernel.shape[3],
        use_bias=False,
    )
    return _with_weights(layer, x, kernel)


def _matmul(operation: Any, x: Any, kernel: np.ndarray) -> Any:
    kernel = kernel.T if operation.get_attr("transpose_b") else kernel
    return _with_weights(layers.Dense(kernel.shape[1], use_bias=False), x, kernel)


def _reshaped(operation: Any, x: Any) -> Any:
    shape = [-1 if side is None else side for side in operation.outputs[0].shape]
    if shape.count(-1) > 1:
        raise UserError(f"operation {operation.name} makes an unknown shape: give the .keras file of the network")
    return tf.reshape(x, shape)


def _sliced(operation: Any, x: Any, begin: np.ndarray, end: np.ndarray, strides: np.ndarray) -> Any:
    names = ("begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask")
    masks = {name: operation.get_attr(name) for name in names}
    return tf.strided_slice(x, begin.tolist(), end.tolist(), strides.tolist(), **masks)


def _pooled(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda operation, x: function(
        x, _window(operation, "ksize"), _window(operation, "strides"), _padding(operation).upper()
    )


def _reduced(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda operation, x, axes: function(x, np.asarray(axes).tolist(), operation.get_attr("keep_dims"))


def _normalised(operation: Any, x: Any, gamma: Any, beta: Any, mean: Any, variance: Any) -> list[Any]:
    layer = layers.BatchNormalization(epsilon=operation.get_attr("epsilon"))
    return [_with_weights(layer, x, gamma, beta, mean, variance)] + [None] * (len(operation.outputs) - 1)


def _plain(function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a function that the attributes say nothing of."""
    return lambda operation, *inputs: function(*inputs)


_OPERATIONS: dict[str, Callable[..., Any]] = {
    "Const": lambda operation: tf.make_ndarray(operation.get_attr("value")),
    "Identity": lambda operation, x: x,
    "IdentityN": lambda operation, *xs: list(xs),
    **{"Conv2D": _conv2d, "DepthwiseConv2dNative": _depthwise, "MatMul": _matmul, "FusedBatchNormV3": _normalised},
    **{"Add": _plain(tf.add), "AddV2": _plain(tf.add), "BiasAdd": _plain(tf.add), "Sub": _plain(tf.subtract)},
    **{"Mul": _plain(tf.multiply), "RealDiv": _plain(tf.divide), "Pow": _plain(tf.pow), "Neg": _plain(tf.negative)},
    **{"Maximum": _plain(tf.maximum), "Minimum": _plain(tf.minimum), "Abs": _plain(tf.abs), "Exp": _plain(tf.exp)},
    **{
        "Square": _plain(tf.square),
        "SquaredDifference": _plain(tf.math.squared_difference),
        "Erf": _plain(tf.math.erf),
    },
    **{"Sqrt": _plain(tf.sqrt), "Rsqrt": _plain(tf.math.rsqrt), "Log": _plain(tf.math.log), "Tanh": _plain(tf.tanh)},
    **{"Relu": _plain(tf.nn.relu), "Relu6": _plain(tf.nn.relu6), "Elu": _plain(tf.nn.elu), "Selu": _plain(tf.nn.selu)},
    **{"Sigmoid": _plain(tf.nn.sigmoid), "Softplus": _plain(tf.nn.softplus), "Softmax": _plain(tf.nn.softmax)},
    **{"Mean": _reduced(tf.reduce_mean), "Sum": _reduced(tf.reduce_sum), "Max": _reduced(tf.reduce_max)},
    **{"MaxPool": _pooled(tf.nn.max_pool2d), "AvgPool": _pooled(tf.nn.avg_pool2d)},
    "LeakyRelu": lambda operation, x: tf.nn.leaky_relu(x, operation.get_attr("alpha")),
    "Cast": lambda operation, x: tf.cast(x, operation.outputs[0].dtype),
    "Pad": lambda operation, x, paddings: tf.pad(x, paddings.tolist()),
    "Reshape": _reshaped,
    "StridedSlice": _sliced,
    "Squeeze": lambda operation, x: tf.squeeze(x, list(operation.get_attr("squeeze_dims"))),
    "ExpandDims": lambda operation, x, axis: tf.expand_dims(x, int(axis)),
    "ConcatV2": lambda operation, *xs: tf.concat(list(xs[:-1]), int(xs[-1])),
    "Transpose": lambda operation, x, axes: tf.transpose(x, axes.tolist()),
}
"""By type."""
