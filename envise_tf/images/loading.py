"""Sources of images by name: data sets and folders, their images square and of the side that is asked for."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

import tensorflow as tf

from envise_tf.errors import UserError
from envise_tf.images.source import Source, SplitName


def load_source(name: str, data_dir: str | None = None, size: int | None = None) -> Source:
    """Returns the source of that name.

    Args:
        name: "digits", "tiny_imagenet", a data set of TensorFlow Datasets, or the path of a folder of images.
        data_dir: where data sets are prepared or their archives lie.
        size: side in pixels that the central square of each image is resized to; None keeps the source's own.

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
    return source if source.size == _required(size or source.size, name) else _Squared(source, size or 0)


class _Squared(Source):
    """Another source, each image cut to its central square and resized to size x size (bilinear, antialiased).

    The way of `photographs.central_square`, so that training sees what a phone, a folder and a video show. A box is
    given in shares of the square; what lies outside of it is cut off, and nothing is left of a box that it misses.
    """

    def __init__(self, source: Source, size: int) -> None:
        self.name, self.class_names, self.size = source.name, source.class_names, size
        self.has_boxes = source.has_boxes
        self._source = source

    @property
    def wordnet_ids(self) -> tuple[str, ...]:
        return self._source.wordnet_ids

    def examples(self, split: SplitName, labels: Collection[int] | None = None) -> tf.data.Dataset:
        return self._source.examples(split, labels).map(self._squared, tf.data.AUTOTUNE, deterministic=True)

    def count(self, split: SplitName, labels: Collection[int] | None = None) -> int:
        return self._source.count(split, labels)

    def _squared(self, example: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        image = example["image"]
        sides = tf.shape(image)[:2]
        side = tf.reduce_min(sides)
        first = (sides - side) // 2
        square = tf.slice(image, [first[0], first[1], 0], [side, side, 3])
        square.set_shape((None, None, 3))
        resized = tf.image.resize(square, (self.size, self.size), antialias=True)
        squared = {**example, "image": tf.saturate_cast(tf.round(resized), tf.uint8)}
        if self.has_boxes:
            squared["box"] = _in_square(example["box"], *(tf.cast(part, tf.float32) for part in (sides, first, side)))
        return squared


def _in_square(box: tf.Tensor, sides: tf.Tensor, first: tf.Tensor, side: tf.Tensor) -> tf.Tensor:
    """Returns a box in shares of a square of the image.

    Args:
        box: float32 (4,), ymin, xmin, ymax, xmax in shares of the image's sides.
        sides: float32 (2,), height and width of the image in pixels.
        first: float32 (2,), the first row and column of the square.
        side: float32 (), of the square in pixels.
    """
    pixels = box * tf.tile(sides, [2]) - tf.tile(first, [2])
    return tf.clip_by_value(pixels / side, 0.0, 1.0)


def _required(size: int | None, name: str) -> int:
    if size is None:
        raise UserError(f"the images of {name} differ in size: give the side in pixels as --image_size")
    return size
