"""scikit-learn's handwritten digits: embedded in the library, so it needs no network. The offline default."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits

from envise_tf.images.source import Source, SplitName, fingerprint, keeps_label

_SIDE = 32
_TEST_EVERY = 5


class Digits(Source):
    """1,797 digits of 8x8 pixels, shown as 32x32 RGB; every fifth image is a test image (our choice)."""

    name = "digits"
    class_names = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    size = _SIDE

    def __init__(self) -> None:
        digits = load_digits()
        self._grey = np.round(digits.images * (255 / 16)).astype(np.uint8)
        self._labels = digits.target.astype(np.int64)

    def examples(self, split: SplitName, labels: Collection[int] | None = None) -> tf.data.Dataset:
        is_test = np.arange(len(self._labels)) % _TEST_EVERY == 0
        chosen = is_test if split == "test" else ~is_test
        examples = tf.data.Dataset.from_tensor_slices({"image": self._grey[chosen], "label": self._labels[chosen]})
        if labels is not None:
            examples = examples.filter(keeps_label(labels))
        return examples.map(_as_rgb, num_parallel_calls=tf.data.AUTOTUNE)


def _as_rgb(example: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    grey = example["image"][..., tf.newaxis]
    large = tf.saturate_cast(tf.round(tf.image.resize(grey, (_SIDE, _SIDE), "bicubic")), tf.uint8)
    return {
        "image": tf.repeat(large, 3, axis=-1),
        "label": example["label"],
        "fingerprint": fingerprint(example["image"]),
    }
