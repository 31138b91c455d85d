"""A folder of JPEG, PNG and WebP files: the user's own photographs, labelled by sub-folder or not at all."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection
from pathlib import Path

import numpy as np
import tensorflow as tf

from envise_tf.errors import UserError, reason_of
from envise_tf.images.photographs import decoded_square, images_below, is_image, log_skipped, read_photograph
from envise_tf.images.source import UNLABELLED, Source, SplitName, fingerprint

_LOG = logging.getLogger("envise_tf")
_SPLIT_FOLDERS: dict[SplitName, tuple[str, ...]] = {"train": ("train",), "test": ("test", "val")}
_TEST_EVERY = 5
_ORDER_SEED = 0

_File = tuple[str, int]
"""The path of an image and its label."""


class Folder(Source):
    """A tree of image files, found below `path` with any case of extension, in one of three layouts.

    - `train/CLASS/**`, `test/CLASS/**` (or `val` where there is no `test`): the splits are these folders.
    - `CLASS/**`: every fifth file of a class, by name, is a test image (our choice), the first one included.
    - images in `path` itself and no class folders: unlabelled, and without a test split.

    Classes are sorted by name; a folder without images is no class, and names that start with a dot are skipped.
    Each image is turned upright by its EXIF tag, cut to its central square, and resized to `size` x `size`
    (bilinear, antialiased); transparency is laid over white. The order is one fixed shuffle of the sorted paths, so
    that the classes are mixed and two runs agree.

    A file that cannot be read is logged once, skipped, and kept in `unreadable`.

    Args:
        path: the folder.
        size: height and width in pixels of the images that come out, >= 1.
        labelled: False takes all images below the folder as one unlabelled set, whatever its sub-folders mean.

    Raises:
        UserError: no such folder, no images in it, or its splits disagree about the classes.
    """

    name = "folder"

    def __init__(self, path: str, size: int, labelled: bool = True) -> None:
        if size < 1:
            raise UserError(f"image size {size} given: expected at least 1 pixel")
        self.size: int = size
        self.unreadable: set[str] = set()
        self._path = Path(path).expanduser()
        self.class_names, self._files = _found(self._path, labelled)

    def examples(self, split: SplitName, labels: Collection[int] | None = None) -> tf.data.Dataset:
        """See `Source.examples`; the fingerprint is that of the encoded file. Unreadable files are left out."""
        files = self._files_of(split, labels)
        # Typed by hand, because both may be empty.
        paths = tf.constant([os.fsencode(path) for path, _ in files], tf.string)
        examples = tf.data.Dataset.from_tensor_slices((paths, tf.constant([label for _, label in files], tf.int64)))
        examples = examples.map(self._example, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        return examples.filter(lambda example, is_readable: is_readable).map(lambda example, _: example)

    def count(self, split: SplitName, labels: Collection[int] | None = None) -> int:
        return len(self._files_of(split, labels))

    def _files_of(self, split: SplitName, labels: Collection[int] | None) -> list[_File]:
        if split not in self._files:
            expected = " or ".join(f"{folder}/" for folder in _SPLIT_FOLDERS[split])
            raise UserError(
                f"{self._path} has no images for '{split}': expected {expected} with class folders beside the other "
                "split's; add it or choose another folder"
            )
        return [file for file in self._files[split] if labels is None or file[1] in labels]

    def _example(self, path: tf.Tensor, label: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        # Pillow rather than TensorFlow, which knows no WebP, no EXIF rotation and no 16-bit grey.
        image, content, is_readable = tf.numpy_function(self._read, [path], [tf.uint8, tf.uint8, tf.bool])
        image.set_shape((self.size, self.size, 3))
        is_readable.set_shape(())
        return {"image": image, "label": label, "fingerprint": fingerprint(content)}, is_readable

    def _read(self, path: bytes) -> tuple[np.ndarray, np.ndarray, np.bool_]:
        """Returns the image, the bytes of its file (uint8, (bytes,)), and whether it could be read."""
        name = os.fsdecode(path)
        try:
            content = read_photograph(name)
            image = decoded_square(content, self.size)
        except Exception as error:  # whatever a broken file makes a decoder raise
            self.unreadable.add(name)
            log_skipped(name, reason_of(error))
            return np.zeros((self.size, self.size, 3), np.uint8), np.zeros(0, np.uint8), np.False_
        return image, np.frombuffer(content, np.uint8), np.True_


def _found(path: Path, labelled: bool) -> tuple[tuple[str, ...], dict[SplitName, list[_File]]]:
    """Returns the class names, and the files of each split that there is, in reading order."""
    if not path.is_dir():
        raise UserError(f"there is no folder {path}: expected one of JPEG, PNG or WebP files; check the path")
    class_names: tuple[str, ...] = ()
    split_folders = _split_folders(path)
    if not labelled:
        files = _unlabelled(path)
    elif split_folders:
        class_names, files = _from_splits(path, split_folders)
    elif classes := _classes(path):
        class_names, files = tuple(classes), _split_by_name(classes)
        _warn_of_loose_files(path)
    else:
        files = _unlabelled(path)
    if not any(files.values()):
        raise UserError(f"folder {path} holds no JPEG, PNG or WebP file: expected images or class folders of images")
    return class_names, {split: _shuffled(found) for split, found in files.items()}


def _split_folders(path: Path) -> dict[SplitName, Path]:
    folders: dict[SplitName, Path] = {}
    for split, names in _SPLIT_FOLDERS.items():
        there = [path / name for name in names if (path / name).is_dir()]
        if there:
            folders[split] = there[0]
    return folders


def _from_splits(path: Path, folders: dict[SplitName, Path]) -> tuple[tuple[str, ...], dict[SplitName, list[_File]]]:
    classes = {split: _classes(folder) for split, folder in folders.items()}
    for split, folder in folders.items():
        if not classes[split]:
            raise UserError(f"{folder} has no class folders with images: expected {folder.name}/CLASS/IMAGE; add them")
    class_names = tuple(classes.get("train") or classes["test"])
    strangers = sorted(set(classes.get("test", ())) - set(class_names))
    if strangers:
        raise UserError(
            f"{path} has test classes that its train folder lacks ({', '.join(strangers[:5])}): "
            "expected the same class folders in both"
        )
    files = {
        split: [(file, class_names.index(name)) for name, images in of_split.items() for file in images]
        for split, of_split in classes.items()
    }
    return class_names, files


def _unlabelled(path: Path) -> dict[SplitName, list[_File]]:
    return {"train": [(name, UNLABELLED) for name in images_below(path)]}


def _split_by_name(classes: dict[str, list[str]]) -> dict[SplitName, list[_File]]:
    files: dict[SplitName, list[_File]] = {"train": [], "test": []}
    for label, images in enumerate(classes.values()):
        for number, file in enumerate(images):
            files["test" if number % _TEST_EVERY == 0 else "train"].append((file, label))
    return files


def _classes(path: Path) -> dict[str, list[str]]:
    """Returns the images of each class folder that has some, both sorted by name."""
    folders = sorted(entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    found = {folder.name: images_below(folder) for folder in folders}
    return {name: images for name, images in found.items() if images}


def _warn_of_loose_files(path: Path) -> None:
    loose = sorted(entry.name for entry in path.iterdir() if is_image(entry.name))
    if loose:
        _LOG.warning("skipped %d images beside the class folders of %s, such as %s", len(loose), path, loose[0])


def _shuffled(files: list[_File]) -> list[_File]:
    return [files[index] for index in np.random.default_rng(_ORDER_SEED).permutation(len(files))]
