"""Functions and networks traced once, so that no later call builds a graph or runs layer by layer.

Run eagerly, a network is slower by far, and each call leaves some 4 kB of memory behind, which an endless stream does
not have.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Collection
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.framework import ops

_OF_CUSTOM_GRADIENTS = "CustomGradient-"


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


def custom_gradients() -> frozenset[str]:
    """Returns the names under which TensorFlow has registered gradients: one for each sign in each graph."""
    return frozenset(name for name in ops.gradient_registry.list() if name.startswith(_OF_CUSTOM_GRADIENTS))


def forget_networks(kept: Collection[str]) -> None:
    """Lets go of what TensorFlow would keep for good of each network that is no longer used, some megabytes.

    A gradient that tf.custom_gradient registers holds the graph in which it was traced, and so the network; it is
    looked up only where a function that has been traced already is differentiated, which none of ours is. The cache of
    kernels holds one for each traced function that was called. What is left are circles, which Python would look for
    late. Networks in use are not harmed. Keras begins anew to count names.

    Args:
        kept: `custom_gradients()` as they were before the first network of this kind was built: somebody's teacher may
            be such a function.
    """
    for name in custom_gradients().difference(kept):
        del ops.gradient_registry._registry[name]  # TensorFlow has no other way to take one off
    tf.keras.backend.clear_session()
    gc.collect()
