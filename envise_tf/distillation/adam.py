"""The optimiser of a binary student: its binary kernels have a learning rate of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import larq
import tensorflow as tf

from envise_tf.networks.students import is_binary


def adam_for(network: tf.keras.Model, rate: Any = 1e-3, binary_rate: Any = None) -> tf.keras.optimizers.Optimizer:
    """Returns one Adam for the binary kernels and another for all other trained variables [Kingma and Ba 2015].

    A binary kernel counts by its sign alone, so its latent weights want a rate of their own; Larq's constraint clips
    them to -1..1 after each step, beyond which the sign's gradient is zero.

    Args:
        network: an `ObjectiveModel`, or its student where no objective has a companion to train; may have no binary
            kernel.
        rate: learning rate or schedule.
        binary_rate: of the binary kernels; None takes `rate`.
    """
    kernels = [variable for variable in network.trainable_variables if is_binary(variable)]
    others = [variable for variable in network.trainable_variables if not is_binary(variable)]
    if not kernels:
        return _adam(rate, others)
    binary = _adam(rate if binary_rate is None else binary_rate, kernels)
    both = larq.optimizers.CaseOptimizer((is_binary, binary), default_optimizer=_adam(rate, others))
    _ = both.iterations  # as in `_adam`
    return both


def _adam(rate: Any, variables: Sequence[tf.Variable]) -> tf.keras.optimizers.Optimizer:
    """Returns an Adam that has its own variables already: made in the first step, they would have it traced twice."""
    adam = tf.keras.optimizers.legacy.Adam(rate)
    adam._create_all_weights(variables)
    return adam
