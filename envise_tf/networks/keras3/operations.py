"""The operations of Keras 3 that a network may hold beside its layers, as functions of TensorFlow.

Keras 3 writes one down wherever a tensor of a functional model meets an operator or a function of `keras.ops`, as in
`x / 255.0` or `ops.mean(x, axis=(1, 2))`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from envise_tf.errors import UserError
from envise_tf.networks.activations import keras3_hard_sigmoid, keras3_hard_swish


def _item(x: tf.Tensor, key: Any) -> tf.Tensor:
    """Returns x[key]; Keras 2 cannot write an ellipsis down."""
    keys = list(key) if isinstance(key, (list, tuple)) else [key]
    if ... in keys:
        at = keys.index(...)
        keys[at : at + 1] = [slice(None)] * (x.shape.rank - len(keys) + 1)
    return x[tuple(keys)]


_OPERATIONS: dict[str, Callable[..., tf.Tensor]] = {
    **{"Add": tf.add, "Subtract": tf.subtract, "Multiply": tf.multiply, "Power": tf.pow, "Negative": tf.negative},
    **{"Divide": tf.divide, "TrueDivide": tf.divide, "Maximum": tf.maximum, "Minimum": tf.minimum},
    **{"Absolute": tf.abs, "Abs": tf.abs, "Square": tf.square, "Sqrt": tf.sqrt, "Rsqrt": tf.math.rsqrt},
    **{"Exp": tf.exp, "Log": tf.math.log, "Matmul": tf.matmul},
    **{"Relu": tf.nn.relu, "Relu6": tf.nn.relu6, "Sigmoid": tf.nn.sigmoid, "Tanh": tf.nn.tanh, "Silu": tf.nn.silu},
    **{"HardSigmoid": keras3_hard_sigmoid, "HardSilu": keras3_hard_swish, "Softplus": tf.nn.softplus, "Elu": tf.nn.elu},
    "Softmax": lambda x, axis=-1: tf.nn.softmax(x, axis),
    "Gelu": lambda x, approximate=True: tf.nn.gelu(x, approximate),
    "LeakyRelu": lambda x, negative_slope=0.2: tf.nn.leaky_relu(x, negative_slope),
    "Mean": lambda x, axis=None, keepdims=False: tf.reduce_mean(x, axis, keepdims),
    "Sum": lambda x, axis=None, keepdims=False: tf.reduce_sum(x, axis, keepdims),
    "Max": lambda x, axis=None, keepdims=False: tf.reduce_max(x, axis, keepdims),
    "Min": lambda x, axis=None, keepdims=False: tf.reduce_min(x, axis, keepdims),
    "Clip": lambda x, x_min, x_max: tf.clip_by_value(x, x_min, x_max),
    "Concatenate": lambda xs, axis=0: tf.concat(xs, axis),
    "Reshape": lambda x, newshape: tf.reshape(x, newshape),
    "Transpose": lambda x, axes=None: tf.transpose(x, axes),
    "ExpandDims": lambda x, axis: tf.expand_dims(x, axis),
    "Squeeze": lambda x, axis=None: tf.squeeze(x, axis),
    "Cast": lambda x, dtype: tf.cast(x, dtype),
    "GetItem": _item,
}
"""By class in Keras 3: a function of its tensors, then of its arguments by name."""


def is_operation(config: Mapping[str, Any]) -> bool:
    """Returns whether arguments are those of an operation: it has no weights, and so no flag to train them."""
    return "trainable" not in config


def operation(kind: str, config: Mapping[str, Any], name: str) -> Callable[..., tf.Tensor]:
    """Returns an operation as a function of its tensors.

    Args:
        kind: class of the operation in Keras 3.
        config: its arguments, as the file gives them.
        name: of the operation, for the error.

    Raises:
        UserError: it has no counterpart here.
    """
    if kind not in _OPERATIONS:
        raise UserError(
            f"operation {name} ({kind}) has no counterpart in Keras 2: replace it by layers, and save the network again"
        )
    return functools.partial(_OPERATIONS[kind], **{key: value for key, value in config.items() if key != "name"})
