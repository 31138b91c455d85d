"""Augmentation of a whole batch at once, the same for teacher and student.

Flip and shift are one projective transform for the batch, cutout one mask: no loop over images. Every random
number comes from a seed pair, so a resumed run sees the pixels that an uninterrupted one would have seen.
"""

from __future__ import annotations

import tensorflow as tf


def augmented(
    images: tf.Tensor,
    seed: tf.Tensor,
    *,
    flip: bool,
    shift: float,
    cutout: float,
    mixup: float = 0.0,
    mixed: float = 1.0,
) -> tf.Tensor:
    """Returns the images, each flipped, shifted, partly covered and blended with another by its own draw.

    Args:
        images: uint8, (batch, height, width, 3), 0..255.
        seed: int64, (2,); the same seed gives the same result.
        flip: mirror every second image (at random) from left to right.
        shift: largest shift along each axis, as a share of the side; what comes in is a reflection of the image.
        cutout: side of a grey square laid over each image, as a share of the side [DeVries and Taylor 2017].
        mixup: largest share of the image before it in the batch that is blended into each, drawn uniformly from
            0 to this [after Zhang et al. 2018]. For distillation: the teacher says what the blend shows.
        mixed: share of the images that are blended at all, each by its own draw.

    Returns:
        uint8, the shape of `images`.
    """
    seeds = tf.random.split(seed, 3)
    images = _moved(images, seeds[0], seeds[1], flip, shift)
    images = _covered(images, seeds[2], cutout) if cutout else images
    return _blended(images, seed, mixup, mixed) if mixup else images


def _moved(images: tf.Tensor, flip_seed: tf.Tensor, shift_seed: tf.Tensor, flip: bool, shift: float) -> tf.Tensor:
    count, height, width = tf.shape(images)[0], tf.shape(images)[1], tf.shape(images)[2]
    sides = tf.cast(tf.stack([width, height]), tf.float32)
    offset = tf.round(tf.random.stateless_uniform((count, 2), shift_seed, -shift, shift) * sides)
    mirror = tf.random.stateless_uniform((count,), flip_seed) < (0.5 if flip else 0.0)
    ones, zeros = tf.ones((count,)), tf.zeros((count,))
    # Rows of a projective transform: output (x, y) shows input (a0 x + a1 y + a2, b0 x + b1 y + b2).
    x_scale = tf.where(mirror, -ones, ones)
    x_start = tf.where(mirror, (sides[0] - 1) * ones, zeros) + offset[:, 0]
    transform = tf.stack([x_scale, zeros, x_start, zeros, ones, offset[:, 1], zeros, zeros], axis=1)
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=transform,
        output_shape=tf.stack([height, width]),
        interpolation="NEAREST",
        fill_mode="REFLECT",
        fill_value=0.0,
    )


def _covered(images: tf.Tensor, seed: tf.Tensor, cutout: float) -> tf.Tensor:
    count, height, width = tf.shape(images)[0], tf.shape(images)[1], tf.shape(images)[2]
    centre = tf.random.stateless_uniform((count, 2), seed)
    rows = tf.abs(_pixel_centres(height) - centre[:, :1]) < cutout / 2
    columns = tf.abs(_pixel_centres(width) - centre[:, 1:]) < cutout / 2
    hidden = rows[:, :, tf.newaxis, tf.newaxis] & columns[:, tf.newaxis, :, tf.newaxis]
    return tf.where(hidden, tf.constant(127, images.dtype), images)


def blended_labels(labels: tf.Tensor, classes: int, seed: tf.Tensor, mixup: float, mixed: float = 1.0) -> tf.Tensor:
    """Returns what the images that `augmented` blends show: float32 (batch, classes), each row's sum 1.

    Args:
        labels: int, (batch,), in 0..classes - 1.
        classes: how many there are.
        seed: the one that `augmented` was given.
        mixup: likewise.
        mixed: likewise.
    """
    return _blend(tf.one_hot(labels, classes), seed, mixup, mixed)


def _blended(images: tf.Tensor, seed: tf.Tensor, mixup: float, mixed: float) -> tf.Tensor:
    return tf.cast(tf.round(_blend(tf.cast(images, tf.float32), seed, mixup, mixed)), images.dtype)


def _blend(rows: tf.Tensor, seed: tf.Tensor, mixup: float, mixed: float) -> tf.Tensor:
    """Returns each row with some of the row before it, the same shares whatever the rows hold."""
    blend_seed, mixed_seed = (tf.random.experimental.stateless_fold_in(seed, number) for number in (3, 4))
    share = tf.random.stateless_uniform((tf.shape(rows)[0],), blend_seed, 0.0, mixup)
    is_mixed = tf.random.stateless_uniform(tf.shape(share), mixed_seed) < mixed
    share = tf.where(is_mixed, share, tf.zeros_like(share))
    share = tf.reshape(share, (-1, *[1] * (rows.shape.rank - 1)))
    return rows + share * (tf.roll(rows, 1, axis=0) - rows)


def _pixel_centres(count: tf.Tensor) -> tf.Tensor:
    """Returns where the pixels of a row lie, as shares of its length: float32 (1, count)."""
    return (tf.range(count, dtype=tf.float32)[tf.newaxis] + 0.5) / tf.cast(count, tf.float32)
