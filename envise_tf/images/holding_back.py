"""Which images are held back from training, and for which of two uses: one hash for every part of the project.

Each image of a stream has one use. Four in five are trained on. The others are held back, a third of them to choose by
(when to stop training, what a score is fitted on) and the rest to make the promise of a threshold on: what was chosen
by some images looks better on them than it is, and a promise made there would be broken more often than it says.

The use follows from a hash, so that a repeated image never changes sides: of the image itself where images are
independent; in a video or another ordered stream of the block of time that it comes in, for a frame's neighbours are
its near-twins. Only those at the border of two blocks are then on both sides.
"""

from __future__ import annotations

from typing import Any

import numpy as np

HELD_BACK_EVERY = 5
"""One stream image in five is held back (our choice: 20 % still gives a standard error below 1.5 points on 1,000)."""

CHOOSING_EVERY = 3
"""One held-back image in three is for choosing, the others are for the promise (our choice: most scores have little to
fit, while a promise takes at least 59 images at its defaults)."""

BLOCK = 64
"""Consecutive images of an ordered stream that share one use (our choice: 2.6 s of a video of 25 frames a second)."""


def is_held_back(fingerprint: Any) -> Any:
    """Returns whether an image is never trained on: bool, of the shape of `fingerprint`.

    The lowest bit of a fingerprint is left alone: it decides between teacher and stream, see `halves`.

    Args:
        fingerprint: int64 >= 0, an array or a tensor of any shape.
    """
    return (fingerprint // 2) % HELD_BACK_EVERY == 0


def is_promising(fingerprint: Any) -> Any:
    """Returns whether an image is held back to make a promise on, and so chooses nothing: bool, as in `is_held_back`.

    Args:
        fingerprint: int64 >= 0, an array or a tensor of any shape.
    """
    return is_held_back(fingerprint) & ((fingerprint // (2 * HELD_BACK_EVERY)) % CHOOSING_EVERY != 0)


def fingerprints(rows: np.ndarray) -> np.ndarray:
    """Returns the fingerprint of each of n images as in `source.fingerprint`, int64 (n,) in [0, 2^62).

    Args:
        rows: uint8 (n, height, width, 3), or other uint8 rows; n > 0.
    """
    import tensorflow as tf  # here, as the runtime of a phone reads thresholds, and with them this file, without it

    digests = tf.raw_ops.Fingerprint(data=rows.reshape(len(rows), -1), method="farmhash64").numpy()
    return (digests.view("<u8")[:, 0] >> np.uint64(2)).astype(np.int64)


def block_fingerprints(first: int, count: int, block: int) -> np.ndarray:
    """Returns the fingerprint of the block of time that each of `count` > 0 images comes in, int64 (count,).

    Args:
        first: position of the first of them in the stream, >= 0.
        count: how many follow each other.
        block: length of a block in images, >= 1.
    """
    blocks = np.arange(first, first + count, dtype="<i8") // block
    return fingerprints(blocks[:, np.newaxis].view(np.uint8))
