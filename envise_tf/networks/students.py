"""Students: a residual network of binary convolutions, and its real-valued twin from the same definition.

After Bi-Real Net [Liu et al. 2018]: every binary convolution has a shortcut of its own, so that real values flow
past each sign. The order sign, convolution padded with ones, batch normalisation is what Larq Compute Engine fuses
into one operator; its kernels want channels in multiples of 32. In the block "bireal" a PReLU follows, as in ReActNet
[Liu et al. 2020]: the sign of the next convolution is all the non-linearity that a binary network needs, but with the
PReLU ours learned much faster. In the block "react" [Liu et al. 2020, figure 3] a learned shift stands before the sign,
and the PReLU, between two more, after the sum with the shortcut. The stem, the 1x1 convolutions where the grid is
halved and the last dense layer stay real-valued: they hold a few percent of the multiplications and most of the
accuracy [Rastegari et al. 2016].

The stem "plain" is one convolution; "deep" is two (after ResNet-C [He et al. 2019], which has three): a quarter of the
channels on the grid of the plain one, then all of them on half its side. There twice the widths take the same binary
work.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import larq
import tensorflow as tf

from envise_tf.errors import UserError
from envise_tf.networks.macs import macs
from envise_tf.networks.normalisation import Normalisation
from envise_tf.networks.shift import Shift
from envise_tf.networks.teachers import BATCH_MOMENTUM

layers = tf.keras.layers

CHANNEL_MULTIPLE = 32

Block = Literal["bireal", "react"]
Stem = Literal["plain", "deep"]

Convolution = Callable[[tf.Tensor, int, int], tf.Tensor]
"""Takes maps, channels and a stride, and returns the maps of a 3x3 convolution."""


def residual_student(
    size: int,
    classes: int,
    widths: Sequence[int],
    blocks: Sequence[int],
    binary: bool = True,
    block: Block = "bireal",
    stem: Stem = "plain",
    student_size: int | None = None,
    real_kernels: bool = False,
) -> tf.keras.Model:
    """Returns a student.

    Args:
        size: side of the square image in pixels.
        classes: number of logits.
        widths: channels of each stage, of a binary student multiples of 32; the grid is halved before every stage but
            the first.
        blocks: binary convolutions in each stage.
        binary: False gives the real-valued twin: the same layers without their two quantisers.
        block: what surrounds each binary convolution, see the module.
        stem: what the first of them looks at, see the module.
        student_size: side to which the student shrinks its images; None keeps their size. A plain stem turns 224
            pixels into a grid of 56 and 64 into one of 32, and leaves 32 as they are.
        real_kernels: the binary convolutions take signs, as always, and multiply them by their kernels as these are:
            how a student learns in the first of two stages. It has the weights of one with binary kernels, one by one,
            and they count as binary ones.

    Returns:
        A model from uint8 (batch, size, size, 3) to float32 logits (batch, classes).

    Raises:
        UserError: widths and blocks differ in length, or a width is less than 1, or a binary one no multiple of 32, or
            the student's size is larger than the images'.
    """
    if len(widths) != len(blocks) or not widths or min(blocks) < 1:
        raise UserError(
            f"widths {list(widths)} and blocks {list(blocks)}: expected one positive number per stage in both"
        )
    if min(widths) < 1:
        raise UserError(f"widths {list(widths)}: expected positive numbers")
    if binary and any(width % CHANNEL_MULTIPLE for width in widths):
        raise UserError(f"widths {list(widths)}: expected multiples of {CHANNEL_MULTIPLE}, as the mobile kernels need")
    student_size = student_size or size
    if student_size > size:
        raise UserError(f"student_size {student_size} for images of {size} pixels: expected at most theirs")
    images = layers.Input((size, size, 3), dtype="uint8", name="image")
    shrunk = _shrunk(Normalisation("symmetric", name="normalisation")(images), size, student_size)
    x = (_deep_stem if stem == "deep" else _plain_stem)(shrunk, student_size, widths[0])
    unit = _react_unit if block == "react" else _bireal_unit
    convolution = _real_convolution if not binary else _unsigned_convolution if real_kernels else _binary_convolution
    for stage, (width, count) in enumerate(zip(widths, blocks, strict=True)):
        for number in range(count):
            x = unit(x, width, 2 if stage and not number else 1, convolution)
    x = layers.GlobalAveragePooling2D(name="pool")(layers.ReLU(name="features")(x))
    logits = layers.Dense(classes, dtype="float32", name="logits")(x)
    return tf.keras.Model(images, logits, name="student" if binary else "twin")


def widest_widths(
    size: int,
    classes: int,
    blocks: Sequence[int],
    most_flops: float,
    binary: bool,
    block: Block = "bireal",
    stem: Stem = "plain",
    student_size: int | None = None,
) -> tuple[int, ...]:
    """Returns the channels of the widest student that costs no more than this; of the cheapest if none is so cheap.

    The channels double from stage to stage, as the sides of the grid are halved (our choice: the widths 32-64-128 of
    three stages, their multiples by powers of two, and their halves and quarters, of at least 32 channels).

    Args:
        size: like the next, as for `residual_student`.
        classes: number of logits.
        blocks: binary convolutions in each stage.
        most_flops: FLOPs of an image, see `macs`.
        binary: False for the real-valued twin.
        block: what surrounds each binary convolution, see the module.
        stem: what the first of them looks at, see the module.
        student_size: side to which the student shrinks its images; None keeps their size.

    Raises:
        UserError: a stage has no block, or as in `residual_student`.
    """
    found: tuple[int, ...] = ()
    for first in (CHANNEL_MULTIPLE * 2**power for power in range(-2, 5)):
        widths = tuple(max(CHANNEL_MULTIPLE, int(first * 2**stage)) for stage in range(len(blocks)))
        if widths == found:
            continue
        student = residual_student(size, classes, widths, blocks, binary, block, stem, student_size)
        if found and macs(student).flops > most_flops:
            break
        found = widths
    return found


def is_binary(variable: tf.Variable) -> bool:
    """Returns whether a variable is the kernel of a binary convolution."""
    return larq.optimizers.Bop.is_binary_variable(variable)


def stored_bytes(network: tf.keras.Model) -> int:
    """Returns the bytes of a network's weights in a bundle: a bit for one of a binary convolution, else 4 bytes."""
    bits = sum(math.prod(weight.shape) * (1 if is_binary(weight) else 32) for weight in network.weights)
    return math.ceil(bits / 8)


def with_classes(
    student: tf.keras.Model, other: tf.keras.Model, classes: Sequence[int], known: Sequence[int] | None = None
) -> None:
    """Gives a student the weights of another one, with the logits of just `classes`.

    Args:
        student: a student with len(classes) logits; changed in place.
        other: the same network with other logits.
        classes: the teacher's class of each of the student's logits.
        known: the teacher's class of each of the other's logits, -1 where the teacher has none. The logits of classes
            that it lacks stay as they are. None for a generic student, which has a logit for every class of the
            teacher, in the teacher's order.

    Raises:
        UserError: the two are not the same network, or the generic one lacks a class.
    """
    if known is None:
        known = range(other.output_shape[-1])
        if max(classes) >= len(known):
            raise UserError(
                f"the student to start from knows {len(known)} classes, but class {max(classes)} of the teacher is "
                "asked for: give a student of all the teacher's classes, or --student_init scratch"
            )
    weights, given = student.get_weights(), other.get_weights()
    trunk = [weight.shape for weight in given[:-2]]
    if [weight.shape for weight in weights[:-2]] != trunk or len(weights[-2]) != len(given[-2]):
        raise UserError(
            f"the student to start from is {_shape_in_words(other)}, but {_shape_in_words(student)} was asked for: "
            "give the same, or --student_init scratch"
        )
    rows = {label: row for row, label in enumerate(known)}
    stays = [row for row, label in enumerate(classes) if label in rows]
    for head, given_head in zip(weights[-2:], given[-2:], strict=True):  # kernel and bias of the logits
        head[..., stays] = given_head[..., [rows[classes[row]] for row in stays]]
    student.set_weights([*given[:-2], *weights[-2:]])


def _shape_in_words(network: tf.keras.Model) -> str:
    """Returns the flags of train that ask for a student like this, or what is known of another network."""
    names = {layer.name for layer in network.layers}
    if "stem" not in names:
        return f"no student of this package (it has {network.count_params():,} parameters)"
    units = [
        layer
        for layer in network.layers
        if isinstance(layer, layers.Conv2D) and layer.kernel_size == (3, 3) and not layer.name.startswith("stem")
    ]
    starts = [place for place, layer in enumerate(units) if not place or layer.strides == (2, 2)]
    blocks = [end - start for start, end in zip(starts, [*starts[1:], len(units)], strict=True)]
    is_react = any(isinstance(layer, Shift) for layer in network.layers)
    flags = {
        "widths": [units[start].filters for start in starts],
        "blocks": blocks,
        "block": "react" if is_react else "bireal",
        "stem": "deep" if "stem_2" in names else "plain",
        "twin": "false" if any(map(is_binary, network.variables)) else "true",
    }
    return " ".join(f"--{flag} {value}".replace(", ", ",") for flag, value in flags.items())


def _shrunk(x: tf.Tensor, size: int, smaller: int) -> tf.Tensor:
    """Returns images of a smaller side: means of whole pixels as far as they go, lest texture alias."""
    if (factor := size // smaller) > 1:
        x = layers.AveragePooling2D(factor, name="shrinking")(x)
    return x if x.shape[1] == smaller else layers.Resizing(smaller, smaller, "bilinear", name="resizing")(x)


def _plain_stem(x: tf.Tensor, size: int, channels: int) -> tf.Tensor:
    x = _normalised(layers.Conv2D(channels, 3, 2 if size >= 64 else 1, "same", use_bias=False, name="stem")(x))
    return layers.MaxPooling2D()(x) if size >= 128 else x


def _deep_stem(x: tf.Tensor, size: int, channels: int) -> tf.Tensor:
    x = layers.ReLU()(_plain_stem(x, size, math.ceil(channels / 4)))
    return _normalised(layers.Conv2D(channels, 3, 2, "same", use_bias=False, name="stem_2")(x))


def _bireal_unit(x: tf.Tensor, channels: int, stride: int, convolution: Convolution) -> tf.Tensor:
    # The shortcut first: in this order layers draw their first weights, and the same seed gives the same student.
    shortcut = _shortcut(x, channels, stride)
    y = _normalised(convolution(x, channels, stride))
    return layers.Add()([shortcut, _prelu(y)])


def _react_unit(x: tf.Tensor, channels: int, stride: int, convolution: Convolution) -> tf.Tensor:
    shortcut = _shortcut(x, channels, stride)
    y = _normalised(convolution(Shift()(x), channels, stride))
    both = layers.Add()([shortcut, y])
    return Shift()(_prelu(Shift()(both)))


def _shortcut(x: tf.Tensor, channels: int, stride: int) -> tf.Tensor:
    if stride == 1 and x.shape[-1] == channels:
        return x
    pooled = layers.AveragePooling2D(stride)(x) if stride > 1 else x
    return _normalised(layers.Conv2D(channels, 1, use_bias=False)(pooled))


def _prelu(x: tf.Tensor) -> tf.Tensor:
    return layers.PReLU(tf.keras.initializers.Constant(0.25), shared_axes=[1, 2])(x)


def _real_convolution(x: tf.Tensor, channels: int, stride: int) -> tf.Tensor:
    return layers.Conv2D(channels, 3, stride, "same", use_bias=False)(x)


def _binary_convolution(
    x: tf.Tensor, channels: int, stride: int, kernel_quantizer: larq.quantizers.QuantizerType = "ste_sign"
) -> tf.Tensor:
    return larq.layers.QuantConv2D(
        channels,
        3,
        stride,
        "same",
        pad_values=1.0,
        use_bias=False,
        input_quantizer="approx_sign",
        kernel_quantizer=kernel_quantizer,
        kernel_constraint="weight_clip",
    )(x)


def _unsigned_convolution(x: tf.Tensor, channels: int, stride: int) -> tf.Tensor:
    return _binary_convolution(x, channels, stride, larq.quantizers.NoOp(precision=1))


def _normalised(x: tf.Tensor) -> tf.Tensor:
    return layers.BatchNormalization(momentum=BATCH_MOMENTUM)(x)
