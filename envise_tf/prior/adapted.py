"""The adapted teacher as a network: z / T + b + log(pi / pi0) at the end of any classifier.

It is a Keras model like the one it was made of, so every later room takes it as it takes a teacher: it is saved as
.keras, cut into trunk and head, and its attention maps are those of its own logits. With NumPy alone the same numbers
are `shift.adapted_logits(calibration.logits(z), prior, source_prior)`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import numpy as np
import tensorflow as tf

from envise_tf.errors import UserError
from envise_tf.networks.graph import is_graph, unrolled
from envise_tf.networks.loading import Classifier
from envise_tf.networks.split import check_output, last_that_computes, without_softmax
from envise_tf.prior.adaptation import Adaptation, adaptation_to
from envise_tf.prior.calibration import Calibration


@tf.keras.utils.register_keras_serializable(package="envise_tf")
class PriorShift(tf.keras.layers.Layer):
    """Turns a teacher's logits into those of the adapted teacher; never trained, always float32.

    Its weights are the temperature T, the bias b and log(pi / pi0), so that another prior can be assigned without
    building the network anew.

    Call with float (batch, classes); returns float32 of the same shape. A fresh layer changes nothing.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "trainable": False, "dtype": "float32"})

    def build(self, input_shape: tf.TensorShape) -> None:
        classes = (input_shape[-1],)
        self.temperature = self.add_weight("temperature", (), initializer="ones", trainable=False)
        self.bias = self.add_weight("bias", classes, initializer="zeros", trainable=False)
        self.log_ratio = self.add_weight("log_ratio", classes, initializer="zeros", trainable=False)
        super().build(input_shape)

    def call(self, logits: tf.Tensor) -> tf.Tensor:
        return logits / self.temperature + (self.bias + self.log_ratio)

    def assign(self, calibration: Calibration, log_ratio: np.ndarray) -> None:
        """Sets what is added from the next call on.

        Args:
            calibration: of the teacher.
            log_ratio: float (classes,), log(pi / pi0), finite.
        """
        self.temperature.assign(calibration.temperature)
        self.bias.assign(calibration.bias)
        self.log_ratio.assign(log_ratio)


def adapted_teacher(model: tf.keras.Model, calibration: Calibration, log_ratio: np.ndarray) -> tf.keras.Model:
    """Returns a teacher adapted to a prior: images -> float32 (batch, classes), its adapted logits.

    The given model keeps its graph. Its layers are shared, except where it ends in softmax: then its logits are
    recovered in a clone with the same weights.

    Args:
        model: functional or sequential classifier of one image input, with logits or their softmax at its end.
        calibration: of the model's logits.
        log_ratio: float (classes,), log(pi / pi0), finite; see `shift.log_prior_ratio`.

    Raises:
        UserError: the model cannot be followed to its logits, or has another number of classes.
    """
    classes = model.output_shape[-1]
    if len(calibration.bias) != classes or np.shape(log_ratio) != (classes,) or not np.isfinite(log_ratio).all():
        raise UserError(
            f"a teacher of {classes} classes with {len(calibration.bias)} biases and log prior ratios of shape "
            f"{np.shape(log_ratio)}: expected one finite number per class"
        )
    logits = ending_in_logits(model)
    shift = PriorShift(name="prior_shift")
    # The graph is made longer, not nested: Keras cannot load a custom layer of a nested model before it is imported.
    adapted = tf.keras.Model(logits.inputs, shift(logits.outputs[0]), name=f"{model.name}_adapted")
    shift.assign(calibration, log_ratio)
    return adapted


def adapted_to(
    teacher: Classifier, stream: Iterable[np.ndarray | tf.Tensor], outlier_rate: float = 0.05
) -> tuple[Classifier, Adaptation]:
    """Returns the teacher adapted to a stream, and what the stream tells of its classes.

    Args:
        teacher: its labelled images, if it has any, calibrate it.
        stream: uint8 batches (n, size, size, 3), some thousands of images in all.
        outlier_rate: share of the stream that is expected to come from classes that it has not shown yet, in [0, 1).

    Raises:
        UserError: there is no image, or the model cannot be followed to its logits.
    """
    teacher = dataclasses.replace(teacher, model=ending_in_logits(teacher.model))
    logits = [teacher(np.asarray(images)) for images in stream]
    if not logits:
        raise UserError("the stream has no image: expected some hundreds, to see which classes occur in it")
    adaptation = adaptation_to(np.concatenate(logits), teacher.labelled, outlier_rate=outlier_rate)
    return adapted(teacher, adaptation), adaptation


def adapted(teacher: Classifier, adaptation: Adaptation) -> Classifier:
    """Returns the teacher with the adapted model in its model's place."""
    model = adapted_teacher(teacher.model, adaptation.calibration, adaptation.log_ratio)
    return dataclasses.replace(teacher, model=model)


def raw_teacher(model: tf.keras.Model) -> tf.keras.Model:
    """Returns the teacher that an adapted one was made of, with shared layers; any other model as it is."""
    last = model.layers[-1]
    return tf.keras.Model(model.inputs, last.input, name=model.name) if isinstance(last, PriorShift) else model


def ending_in_logits(model: tf.keras.Model) -> tf.keras.Model:
    """Returns the model itself where it ends in logits, else a clone without its softmax.

    Raises:
        UserError: the model cannot be followed to its logits.
    """
    check_output(model)
    graph = unrolled(model)
    if without_softmax(graph, model) is graph:
        return model
    last = graph.calls[last_that_computes(graph)].layer

    def clone(layer: tf.keras.layers.Layer) -> tf.keras.layers.Layer:
        if layer is last:
            return _without_activation(layer)
        if is_graph(layer):
            return tf.keras.models.clone_model(layer, clone_function=clone)
        return layer.__class__.from_config(layer.get_config())

    cloned = tf.keras.models.clone_model(model, clone_function=clone)
    cloned.set_weights(model.get_weights())
    return cloned


def _without_activation(layer: tf.keras.layers.Layer) -> tf.keras.layers.Layer:
    """Returns a new layer that does the same but for the softmax at its end."""
    if layer.weights:
        return layer.__class__.from_config({**layer.get_config(), "activation": "linear"})
    return tf.keras.layers.Activation("linear", name=layer.name, dtype=layer.dtype_policy)
