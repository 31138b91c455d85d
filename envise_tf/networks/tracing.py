"""Functions and networks traced once, so that no later call builds a graph or runs layer by layer.

Run eagerly, a network is slower by far, and each call leaves some 4 kB of memory behind, which an endless stream does
not have.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf


def traced_function(function: Callable[..., Any], *examples: tf.Tensor) -> Callable[..., Any]:
    """Returns a function of tensors or arrays as one graph, for batches of any number of images.

    Args:
        function: of tensors, to a tensor or a structure of them.
        examples: what each argument looks like; of type and shape alone, whose first axis, if there is one, counts the
            images. Symbolic tensors, such as `model.inputs[0]`, will do.
    """
    specs = [tf.TensorSpec([None, *each.shape[1:]] if each.shape.rank else [], each.dtype) for each in examples]
    return tf.function(function, specs, autograph=False)


def traced(model: tf.keras.Model) -> Callable[[np.ndarray], np.ndarray]:
    """Returns a model of one input and one output, in inference mode, as a function from array to array."""
    run = traced_function(lambda images: model(images, training=False), model.inputs[0])
    return lambda images: run(images).numpy()
