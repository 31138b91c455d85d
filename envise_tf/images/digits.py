"""scikit-learn's handwritten digits: embedded in the library, so it needs no network. The offline default."""

from __future__ import annotations

from collections.abc import Collection
from functools import cached_property

import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits

from envise_tf.images.holding_back import fingerprints
from envise_tf.images.source import Source, SplitName

_SIDE = 32
_TEST_EVERY = 5


class Digits(Source):
    """1,797 digits of 8x8 pixels, shown as 32x32 RGB; every fifth image is a test image (our choice)."""

    name = "digits"
    class_names = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    size = _SIDE

    def examples(self, split: SplitName, labels: Collection[int] | None = None) -> tf.data.Dataset:
        chosen = (np.arange(len(self._all["label"])) % _TEST_EVERY == 0) == (split == "test")
        if labels is not None:
            chosen &= np.isin(self._all["label"], list(labels))
        return tf.data.Dataset.from_tensor_slices({name: values[chosen] for name, values in self._all.items()})

    @cached_property
    def _all(self) -> dict[str, np.ndarray]:
        """The examples of both splits, in memory: they are few and small, and every pass would enlarge them anew."""
        digits = load_digits()
        grey = np.round(digits.images * (255 / 16)).astype(np.uint8)[..., np.newaxis]
        large = tf.saturate_cast(tf.round(tf.image.resize(grey, (_SIDE, _SIDE), "bicubic")), tf.uint8).numpy()
        return {
            "image": np.repeat(large, 3, axis=-1),
            "label": digits.target.astype(np.int64),
            "fingerprint": fingerprints(grey),
        }
