"""What every image source offers: decoded examples of one split, through tf.data."""

from __future__ import annotations

import abc
import re
from collections.abc import Collection
from typing import Literal

import numpy as np
import tensorflow as tf

SplitName = Literal["train", "test"]

UNLABELLED = -1
"""The label of an example that has none."""

_WORDNET_ID = re.compile(r"[nvars]\d{8}")
"""As ImageNet's folders are named: part of speech and offset in WordNet 3.0."""


class Source(abc.ABC):
    """A set of images with two splits, read as a tf.data pipeline; nothing but file names is held in memory.

    Responsible for finding, decoding and fingerprinting images. Not for choosing which of them a stream draws
    (`windows.py`) nor for changing pixels (`augmentation.py`).
    """

    name: str
    class_names: tuple[str, ...]
    """The class of each label; empty where the source is unlabelled."""
    size: int | None
    """Height and width in pixels that all images share; None where they differ and must be resized."""
    has_boxes: bool = False
    """Whether every example says where its object is."""
    unreadable: Collection[str] = ()
    """The paths of the files that could not be read so far."""

    @property
    def wordnet_ids(self) -> tuple[str, ...]:
        """The WordNet id of each class, such as "n01440764"; empty where nobody has said."""
        are_ids = all(_WORDNET_ID.fullmatch(name) for name in self.class_names)
        return self.class_names if are_ids else ()

    @abc.abstractmethod
    def examples(self, split: SplitName, labels: Collection[int] | None = None) -> tf.data.Dataset:
        """Returns the examples of a split, always in the same order.

        Args:
            split: "train" or "test".
            labels: keep only these labels; filtered before anything is decoded. None keeps all.

        Returns:
            A dataset of dicts with "image" (uint8, (height, width, 3), 0..255), "label" (int64 scalar,
            `UNLABELLED` where there is none) and "fingerprint" (int64 scalar >= 0, a hash of the content); where the
            source has boxes also "box" (float32, (4,), ymin, xmin, ymax, xmax as shares of the sides, 0..1).

        Raises:
            UserError: the source has no such split.
        """

    def count(self, split: SplitName, labels: Collection[int] | None = None) -> int:
        """Returns how many examples there are, as cheaply as the source can tell; unreadable files may count too.

        Args:
            split: "train" or "test".
            labels: count only these labels; None counts all.
        """
        return int(self.examples(split, labels).reduce(np.int64(0), lambda count, _: count + 1))


def fingerprint(content: tf.Tensor) -> tf.Tensor:
    """Returns a hash of an example's content: int64 scalar in [0, 2^62), the same on every machine.

    FarmHash64 of the bytes, so that it depends neither on the order of a data set nor on its file names.

    Args:
        content: the decoded uint8 image, or a string scalar of the encoded file.
    """
    data = content if content.dtype == tf.uint8 else tf.io.decode_raw(content, tf.uint8)
    digest = tf.raw_ops.Fingerprint(data=tf.reshape(data, (1, -1)), method="farmhash64")
    return tf.cast(tf.bitwise.right_shift(tf.bitcast(digest[0], tf.uint64), tf.constant(2, tf.uint64)), tf.int64)


def keeps_label(labels: Collection[int]) -> tf.types.experimental.Callable:
    """Returns a predicate for `Dataset.filter`: is the example's label one of `labels`?"""
    wanted = tf.constant(sorted(labels), tf.int64)
    return lambda example: tf.reduce_any(tf.equal(tf.cast(example["label"], tf.int64), wanted))
