"""What a student says of images beyond its class: logits and penultimate features of one forward pass.

The last dense layer computes logits = features @ kernel + bias; most outlier scores are functions of these four. Only
ODIN looks further, at the gradient with respect to the image.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from envise_tf.errors import UserError
from envise_tf.networks.tracing import traced_function

_GRADIENT_BATCH = 100
"""Images whose gradient is taken at once: it keeps every activation of the network in memory."""


class Observer:
    """Runs a student in inference mode and tells more of it than its class.

    Responsible for the forward pass and for the gradient with respect to the image. Must not know any score, and does
    not change the student.

    Attributes:
        kernel: float32 (d, classes), of the student's last dense layer.
        bias: float32 (classes,), of the same; zeros where it has none.
    """

    def __init__(self, student: tf.keras.Model) -> None:
        """Finds the student's last dense layer.

        Args:
            student: a functional or built sequential Keras classifier, uint8 (batch, height, width, 3) -> logits
                (batch, classes), whose last layer is dense.

        Raises:
            UserError: the student has no graph of layers, or does not end in a dense layer that gives logits.
        """
        last = _last_dense(student)
        self._student = student
        parts = tf.keras.Model(student.inputs, [student.outputs[0], last.input])
        self.kernel: np.ndarray = last.kernel.numpy().astype(np.float32)
        self.bias: np.ndarray = last.bias.numpy().astype(np.float32) if last.use_bias else np.zeros(last.units, "f")
        self._forward = traced_function(lambda images: parts(images, training=False), student.inputs[0])

    def __call__(self, images: np.ndarray) -> Outputs:
        """Returns what the student says of uint8 images (n, height, width, 3), 0..255, in one forward pass."""
        logits, features = self._forward(images)
        return Outputs(images, _float32(logits), _float32(features), self)

    def perturbed_logits(self, images: np.ndarray, magnitudes: Sequence[float], temperature: float) -> np.ndarray:
        """Returns the logits of images moved towards the predicted class, float32 (magnitudes, n, classes).

        x' = x + magnitude * sign(d log softmax_c(z(x) / T) / dx), c the predicted class [Liang et al. 2018].
        The image x is float here, from the student's input on, in pixels (0..255), and x' is not clipped to that range
        (our choice). Through a binary activation the gradient is the straight-through one of the training.

        Args:
            images: uint8 (n, height, width, 3).
            magnitudes: how far each pixel moves, in pixel values of 0..255, at least one; all share one gradient.
            temperature: T > 0.
        """
        logits = [np.zeros((len(magnitudes), 0, len(self.bias)), np.float32)]
        for i in range(0, len(images), _GRADIENT_BATCH):
            pixels = tf.cast(images[i : i + _GRADIENT_BATCH], tf.float32)
            step = self._step(pixels, tf.constant(temperature, tf.float32))
            moved = [self._float_forward(pixels + magnitude * step) for magnitude in magnitudes]
            logits.append(np.stack([_float32(each) for each in moved]))
        return np.concatenate(logits, axis=1)

    @functools.cached_property
    def _float_student(self) -> tf.keras.Model:
        return with_float_input(self._student)

    @functools.cached_property
    def _float_forward(self) -> Callable[..., tf.Tensor]:
        model = self._float_student
        return traced_function(lambda pixels: model(pixels, training=False), model.inputs[0])

    @functools.cached_property
    def _step(self) -> Callable[..., tf.Tensor]:
        model = self._float_student

        def step(pixels: tf.Tensor, temperature: tf.Tensor) -> tf.Tensor:
            with tf.GradientTape() as tape:
                tape.watch(pixels)
                log_probability = tf.nn.log_softmax(tf.cast(model(pixels, training=False), tf.float32) / temperature)
                largest = tf.reduce_max(log_probability, axis=-1)
            return tf.sign(tape.gradient(largest, pixels))

        return traced_function(step, model.inputs[0], tf.constant(0.0))


@dataclass(frozen=True, eq=False)
class Outputs:
    """What a student says of n images.

    Attributes:
        images: uint8 (n, height, width, 3).
        logits: float32 (n, classes).
        features: float32 (n, d), what the last dense layer sees.
        observer: who said it.
    """

    images: np.ndarray
    logits: np.ndarray
    features: np.ndarray
    observer: Observer

    def chosen(self, which: np.ndarray) -> Outputs:
        """Returns the outputs of some images: bool (n,) or integer (m,)."""
        return Outputs(self.images[which], self.logits[which], self.features[which], self.observer)

    @classmethod
    def concatenated(cls, parts: Sequence[Outputs]) -> Outputs:
        """Returns the outputs of one observer on several batches, at least one, as those of one batch."""
        images, logits, features = (
            np.concatenate([getattr(part, name) for part in parts]) for name in ("images", "logits", "features")
        )
        return cls(images, logits, features, parts[0].observer)


def _last_dense(student: tf.keras.Model) -> tf.keras.layers.Dense:
    """Returns the last layer of a student, once it is known to give logits."""
    if not getattr(student, "_is_graph_network", False):
        raise UserError(
            f"cannot observe {student.name!r}: expected a functional or built sequential Keras model; "
            "wrap the layers as tf.keras.Model(inputs, outputs)"
        )
    last = student.layers[-1]
    activation = getattr(getattr(last, "activation", None), "__name__", "linear")
    if not isinstance(last, tf.keras.layers.Dense) or activation != "linear" or last.input.shape.rank != 2:
        raise UserError(
            f"cannot observe {student.name!r}: its last layer is {last.name!r} ({type(last).__name__}, {activation}), "
            "expected a Dense layer without activation; let the student end in logits"
        )
    return last


def with_float_input(student: tf.keras.Model) -> tf.keras.Model:
    """Returns a copy of a student that takes float32 pixels: a uint8 input passes no gradient."""
    pixels = tf.keras.Input(student.input_shape[1:], dtype=tf.float32)
    copied = tf.keras.models.clone_model(student, input_tensors=pixels)
    copied.set_weights(student.get_weights())
    return copied


def _float32(values: tf.Tensor) -> np.ndarray:
    return values.numpy().astype(np.float32)
