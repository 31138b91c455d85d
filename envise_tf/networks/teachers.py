"""Teachers: wide pre-activation ResNets for small images and Keras Applications for large ones."""

from __future__ import annotations

import tensorflow as tf

from envise_tf.errors import UserError, nearest_names
from envise_tf.networks.normalisation import Normalisation, PixelRange

layers = tf.keras.layers

APPLICATIONS: dict[str, PixelRange] = {
    "ConvNeXtTiny": "raw",
    "DenseNet121": "torch",
    "EfficientNetB0": "raw",
    "EfficientNetV2B0": "raw",
    "MobileNet": "symmetric",
    "MobileNetV2": "symmetric",
    "MobileNetV3Large": "raw",
    "MobileNetV3Small": "raw",
    "NASNetMobile": "symmetric",
    "ResNet50": "caffe",
    "ResNet101": "caffe",
    "ResNet50V2": "symmetric",
    "ResNet101V2": "symmetric",
    "VGG16": "caffe",
    "Xception": "symmetric",
}
"""Networks of keras.applications and the pixel range that each was trained on."""

IMAGENET_CLASSES = 1000

BATCH_MOMENTUM = 0.9
"""Of the moving mean and variance: Keras' 0.99 lags behind in a training of a few hundred steps."""


def wide_resnet(size: int, classes: int, depth: int = 16, width: int = 2) -> tf.keras.Model:
    """Returns a wide pre-activation ResNet, WRN-depth-width [Zagoruyko and Komodakis 2016, table 1].

    The first convolution is as wide as the first stage; the paper's always has 16 channels (ours: one shortcut less).

    Args:
        size: side of the square image in pixels; 32 gives a last feature map of 8x8, 64 of 16x16.
        classes: number of logits.
        depth: 6 n + 4 convolutions, n blocks of two in each of the three stages.
        width: the stages have 16, 32 and 64 times this many channels.

    Returns:
        A model from uint8 (batch, size, size, 3) to float32 logits (batch, classes).

    Raises:
        UserError: depth is not 6 n + 4, or a number is not positive.
    """
    if depth < 10 or depth % 6 != 4 or width < 1:
        raise UserError(f"wide ResNet of depth {depth}, width {width}: expected depth 10, 16, 22, ... and width >= 1")
    images = layers.Input((size, size, 3), dtype="uint8", name="image")
    x = Normalisation("symmetric", name="normalisation")(images)
    x = _convolution(x, 16 * width, 3, 1)
    for stage in range(3):
        for block in range((depth - 4) // 6):
            x = _block(x, 16 * width * 2**stage, stride=2 if stage and not block else 1)
    x = layers.GlobalAveragePooling2D(name="pool")(_activated(x))
    logits = layers.Dense(classes, dtype="float32", name="logits")(x)
    return tf.keras.Model(images, logits, name=f"wide_resnet_{depth}_{width}")


def _block(x: tf.Tensor, channels: int, stride: int) -> tf.Tensor:
    activated = _activated(x)
    fits = stride == 1 and x.shape[-1] == channels
    shortcut = x if fits else _convolution(activated, channels, 1, stride)
    y = _convolution(activated, channels, 3, stride)
    return layers.Add()([shortcut, _convolution(_activated(y), channels, 3, 1)])


def _activated(x: tf.Tensor) -> tf.Tensor:
    return layers.ReLU()(layers.BatchNormalization(momentum=BATCH_MOMENTUM)(x))


def _convolution(x: tf.Tensor, channels: int, kernel: int, stride: int) -> tf.Tensor:
    initialiser = tf.keras.initializers.HeNormal()
    return layers.Conv2D(channels, kernel, stride, "same", use_bias=False, kernel_initializer=initialiser)(x)


def keras_application(name: str, size: int, classes: int, weights: str | None = None) -> tf.keras.Model:
    """Returns a network of keras.applications with its normalisation inside and logits at its end.

    Args:
        name: one of `APPLICATIONS`.
        size: side of the square image in pixels.
        classes: number of logits. With "imagenet" weights and 1000 classes the pretrained classifier is kept;
            otherwise pooling and a new dense layer are put on the convolutional part.
        weights: None, "imagenet" (downloaded by Keras) or a file of weights for the convolutional part.

    Raises:
        UserError: unknown name, or the weights cannot be had.
    """
    if name not in APPLICATIONS:
        raise UserError(
            f"no network is called {name}: expected wide_resnet or one of Keras Applications; "
            + nearest_names(name, ["wide_resnet", *APPLICATIONS])
        )
    build = getattr(tf.keras.applications, name)
    whole = weights == "imagenet" and classes == IMAGENET_CLASSES
    try:
        if whole:
            inner = build(weights=weights, input_shape=(size, size, 3), classifier_activation=None)
        else:
            inner = build(weights=weights, input_shape=(size, size, 3), include_top=False)
    except Exception as error:
        raise UserError(
            f"{name} for {size}x{size} images with weights {weights}: {str(error).splitlines()[0]}"
        ) from error
    images = layers.Input((size, size, 3), dtype="uint8", name="image")
    x = inner(Normalisation(APPLICATIONS[name], name="normalisation")(images))
    if not whole:
        x = layers.Dense(classes, dtype="float32", name="logits")(layers.GlobalAveragePooling2D(name="pool")(x))
    return tf.keras.Model(images, x, name=name.lower())
