"""EfficientNet-Lite: strong teachers that convert to TensorFlow Lite without custom operators.

EfficientNet [Tan and Le 2019, table 1] without squeeze-and-excitation, with ReLU6 for swish, and with a stem and a head
that are the same in all sizes [Google's EfficientNet-Lite, 2020]. Images of any size are enlarged or shrunk inside the
network, so that whoever feeds it keeps to his own size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import tensorflow as tf

from envise_tf.errors import UserError, nearest_names

layers = tf.keras.layers

LEAST_SIZE = 32
"""Pixels a side that leave one position to the last feature map, which has a 32nd of the image's side."""

_STEM_CHANNELS = 32
_HEAD_CHANNELS = 1280
_EPSILON = 1e-3
"""Of batch normalisation, as the published weights were trained."""


@dataclass(frozen=True)
class Scale:
    """Compound scaling of the stages between stem and head [Tan and Le 2019, section 3.3].

    Args:
        width: multiplies the channels, depth the blocks of each stage.
        resolution: side in pixels that the published weights were trained at.
        dropout: of the pooled features.
    """

    width: float
    depth: float
    resolution: int
    dropout: float


SCALES = {
    "lite0": Scale(1.0, 1.0, 224, 0.2),
    "lite1": Scale(1.0, 1.1, 240, 0.2),
    "lite2": Scale(1.1, 1.2, 260, 0.3),
    "lite3": Scale(1.2, 1.4, 280, 0.3),
    "lite4": Scale(1.4, 1.8, 300, 0.3),
}
"""Google's efficientnet_lite_builder.py."""


@dataclass(frozen=True)
class _Stage:
    blocks: int
    kernel: int
    stride: int
    expansion: int
    channels: int


_STAGES = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)
"""EfficientNet-B0 [Tan and Le 2019, table 1]."""


def efficientnet_lite(scale: str, size: int | None, classes: int, network_size: int) -> tf.keras.Model:
    """Returns an EfficientNet-Lite with random weights, normalisation and resizing inside.

    Layers are named by their place: stem, block0_depthwise, block0_project, block1_expand, ..., head, pool, logits; the
    batch normalisation of each convolution has its name and "_bn".

    Args:
        scale: one of `SCALES`.
        size: side of the square images in pixels; None takes images of any size and shape.
        classes: number of logits.
        network_size: side that the network works at, to which it resizes the images bilinearly.

    Returns:
        A model from uint8 (batch, size, size, 3) to float32 logits (batch, classes); its last feature map has
        ceil(network_size / 32) positions a side and 1,280 channels.

    Raises:
        UserError: unknown scale, or a network size of less than `LEAST_SIZE`.
    """
    if scale not in SCALES:
        raise UserError(f"no EfficientNet-Lite is called {scale}: {nearest_names(scale, list(SCALES))}")
    if network_size < LEAST_SIZE:
        raise UserError(f"EfficientNet-Lite at {network_size} pixels: expected at least {LEAST_SIZE}; make them larger")
    images = layers.Input((size, size, 3), dtype="uint8", name="image")
    x = images
    if network_size != size:
        x = layers.Resizing(network_size, network_size, "bilinear", name="resizing")(x)
    x = layers.Rescaling(1 / 128, -127 / 128, name="normalisation")(x)
    x = _convolution(x, _STEM_CHANNELS, 3, 2, "stem")
    for number, block in enumerate(_blocks(SCALES[scale])):
        x = _block(x, block, f"block{number}")
    x = _convolution(x, _HEAD_CHANNELS, 1, 1, "head")
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = layers.Dropout(SCALES[scale].dropout, name="dropout")(x)
    logits = layers.Dense(classes, dtype="float32", name="logits")(x)
    return tf.keras.Model(images, logits, name=f"efficientnet_{scale}")


def with_frozen_blocks(model: tf.keras.Model, count: int) -> tf.keras.Model:
    """Returns the network itself, the stem and so many blocks after it no longer trainable; with 0 all of it is.

    Frozen batch normalisation uses its moving moments. Where features are large and few images teach them, this saves
    most of a training step.
    """
    frozen = ("stem", *(f"block{number}_" for number in range(count))) if count else ()
    for layer in model.layers:
        layer.trainable = not layer.name.startswith(frozen)
    return model


def _blocks(scale: Scale) -> list[_Stage]:
    """Returns the blocks of all stages after scaling, each as a stage of one block."""
    blocks = []
    for place, stage in enumerate(_STAGES):
        is_outer = place in (0, len(_STAGES) - 1)  # not deepened, as stem and head are not widened
        count = stage.blocks if is_outer else math.ceil(scale.depth * stage.blocks)
        channels = _rounded(scale.width * stage.channels)
        for number in range(count):
            blocks.append(_Stage(1, stage.kernel, 1 if number else stage.stride, stage.expansion, channels))
    return blocks


def _rounded(channels: float, divisor: int = 8) -> int:
    """Returns the nearest multiple of the divisor that is at least 90 % of the channels."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


def _block(x: tf.Tensor, block: _Stage, name: str) -> tf.Tensor:
    """Returns an inverted residual block [Sandler et al. 2018] of x."""
    y = x
    if block.expansion > 1:
        y = _convolution(y, block.expansion * x.shape[-1], 1, 1, f"{name}_expand")
    y = layers.DepthwiseConv2D(block.kernel, block.stride, "same", use_bias=False, name=f"{name}_depthwise")(y)
    y = layers.ReLU(6.0, name=f"{name}_depthwise_relu")(_normalised(y, f"{name}_depthwise"))
    y = layers.Conv2D(block.channels, 1, use_bias=False, name=f"{name}_project")(y)
    y = _normalised(y, f"{name}_project")
    return layers.Add(name=f"{name}_add")([x, y]) if y.shape == x.shape else y


def _convolution(x: tf.Tensor, channels: int, kernel: int, stride: int, name: str) -> tf.Tensor:
    initialiser = tf.keras.initializers.VarianceScaling(2.0, "fan_out")
    x = layers.Conv2D(channels, kernel, stride, "same", use_bias=False, kernel_initializer=initialiser, name=name)(x)
    return layers.ReLU(6.0, name=f"{name}_relu")(_normalised(x, name))


def _normalised(x: tf.Tensor, name: str) -> tf.Tensor:
    return layers.BatchNormalization(epsilon=_EPSILON, name=f"{name}_bn")(x)
