"""Sources of images by name: data sets, archives and folders, at the side that is asked for."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

import tensorflow as tf

from envise_tf.errors import UserError
from envise_tf.images.source import Source, Split


def load_source(name: str, data_dir: str | None = None, size: int | None = None) -> Source:
    """Returns the source of that name.

    Args:
        name: "digits", "tiny_imagenet", a data set of TensorFlow Datasets, or the path of a folder of images.
        data_dir: where data sets are prepared or their archives lie.
        size: side in pixels that images are resized to; None keeps the source's own.

    Raises:
        UserError: no such source, it cannot be read, or its images differ in size and none is given.
    """
    if data_dir is not None and not Path(data_dir).is_dir():
        raise UserError(f"no folder {data_dir}: expected the one that holds the prepared data sets (--data_dir)")
    # Imported on demand: TensorFlow Datasets takes seconds to import, and not every source needs it.
    if os.sep in name or Path(name).is_dir():
        from envise_tf.images.folder import Folder

        return Folder(name, _required(size, name))
    if name == "digits":
        from envise_tf.images.digits import Digits

        source: Source = Digits()
    else:
        from envise_tf.images.tfds import TensorFlowDataset

        source = TensorFlowDataset(name, data_dir)
    return source if source.size == _required(size or source.size, name) else _Resized(source, size or 0)


class _Resized(Source):
    """Another source, its images resized to size x size (bilinear, antialiased)."""

    def __init__(self, source: Source, size: int) -> None:
        self.name, self.class_names, self.size = source.name, source.class_names, size
        self.has_boxes = source.has_boxes
        self._source = source

    def examples(self, split: Split, labels: Collection[int] | None = None) -> tf.data.Dataset:
        return self._source.examples(split, labels).map(self._resized, tf.data.AUTOTUNE, deterministic=True)

    def count(self, split: Split, labels: Collection[int] | None = None) -> int:
        return self._source.count(split, labels)

    def _resized(self, example: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        resized = tf.image.resize(example["image"], (self.size, self.size), antialias=True)
        return {**example, "image": tf.saturate_cast(tf.round(resized), tf.uint8)}


def _required(size: int | None, name: str) -> int:
    if size is None:
        raise UserError(f"the images of {name} differ in size: give the side in pixels as --image_size")
    return size
