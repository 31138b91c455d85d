"""Images with one bright cell, which is their class, and networks that are right about them without any training."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

SIZE, CLASSES = 8, 10
"""Side in pixels; a cell is 2x2 of them, so that there are 16, of which the last one holds the image's number."""


def images_of(classes: Sequence[int] | np.ndarray, seed: int = 0, first: int = 0) -> np.ndarray:
    """Returns an image of each class, uint8 (n, 8, 8, 3), all different; they are numbered from `first` on."""
    random = np.random.default_rng(seed)
    images = random.integers(0, 60, (len(classes), SIZE, SIZE, 3), np.uint8)
    for number, (image, label) in enumerate(zip(images, classes, strict=True), first):
        row, column = 2 * (label // 4), 2 * (label % 4)
        image[row : row + 2, column : column + 2] = random.integers(200, 256, (2, 2, 3))
        image[-1, -1] = number // 65536, number // 256 % 256, number % 256
    return images


def stream_of(classes: Sequence[int], count: int, seed: int = 0, first: int = 0) -> np.ndarray:
    """Returns `count` images of these classes in random order."""
    return images_of(np.random.default_rng(seed).choice(list(classes), count), seed, first)


def numbers_of(images: np.ndarray) -> np.ndarray:
    """Returns the number of each image, int64 (n,)."""
    return images[:, -1, -1].astype(np.int64) @ [65536, 256, 1]


def cell_network(classes: Sequence[int], scale: float = 20.0) -> tf.keras.Model:
    """Returns a network whose logits are the brightness, 0..`scale`, of the cells of these classes."""
    image = tf.keras.Input((SIZE, SIZE, 3), dtype="uint8")
    pixels = tf.keras.layers.Rescaling(1 / 255)(image)
    cells = tf.keras.layers.Conv2D(1, 2, 2, use_bias=False)(pixels)
    logits = tf.keras.layers.Dense(len(classes), name="logits")(tf.keras.layers.Flatten()(cells))
    network = tf.keras.Model(image, logits)
    kernel = np.zeros((16, len(classes)), np.float32)
    kernel[list(classes), range(len(classes))] = scale
    network.set_weights([np.full((2, 2, 3, 1), 1 / 12, np.float32), kernel, np.zeros(len(classes), np.float32)])
    return network
