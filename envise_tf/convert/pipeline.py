"""Converts a network of Keras 3: rebuilt in Keras 2, written, loaded again, and compared with the original."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from envise_tf.errors import UserError, as_word, reason_of
from envise_tf.files import require_writable, whole
from envise_tf.images.photographs import decoded_square, images_below, read_photograph, skipped
from envise_tf.networks.keras3.comparison import Comparison, compared
from envise_tf.networks.keras3.file import keras_version
from envise_tf.networks.keras3.network import rebuilt
from envise_tf.networks.keras3.original import NoAnswerError, original_outputs
from envise_tf.networks.loading import as_classifier, load_network
from envise_tf.networks.tracing import traced
from envise_tf.settings import ConvertSettings

_RANDOM = 64
_MOST_PHOTOGRAPHS = 256
_OPEN_SIZE = 224
"""Side of the images on which a network of any size is compared."""


def convert(settings: ConvertSettings) -> None:
    """Writes a network of Keras 3 as a .keras file of Keras 2.

    Raises:
        UserError: the file holds no such network or no image classifier, something in it has no counterpart in Keras 2,
            the two networks answer differently, or the file to write exists or cannot be written. Nothing is written.
    """
    model = Path(settings.model)
    out = Path(settings.out or f"{model.with_suffix('')}-keras2.keras")
    require_writable(out)
    if out.exists():
        raise UserError(f"{out} exists already: expected a new file; remove it, or choose another --out")
    if out.suffix != ".keras":
        raise UserError(f"--out {out} given: expected a name that ends in .keras")
    photographs = [] if settings.images is None else _photographs(settings.images)
    network = rebuilt(model)
    as_classifier(network, settings.model)
    with whole(out) as unfinished:
        network.save(unfinished)
        written = load_network(unfinished, known=[])
        try:
            for about, images in _images(written, photographs):
                _show(about, _comparison(model, written, images))
        except NoAnswerError as error:
            print(f"nothing was compared: {error}; Keras {keras_version(model)} wrote {model}")
    print(f"written: {out}")
    print(f"next: python -m envise_tf.train --teacher {as_word(out)} --stream photos/")


def _comparison(model: Path, written: tf.keras.Model, images: np.ndarray) -> Comparison:
    """Returns how both networks answer.

    Raises:
        UserError: differently.
    """
    precision = min((layer.compute_dtype for layer in written.submodules if hasattr(layer, "compute_dtype")), key=_bits)
    found = compared(original_outputs(model, images), traced(written)(images), precision)
    if not found.is_same:
        raise UserError(
            f"the network of Keras 2 answers otherwise than {model}: outputs differ by up to {found.largest:.2g}, "
            f"where rounding explains {found.allowed:.2g}, and {100 * found.same_class:.1f} % of {found.images} images "
            "get the same class; nothing was written; please report which layers the network has"
        )
    return found


def _images(network: tf.keras.Model, photographs: Sequence[str]) -> Iterator[tuple[str, np.ndarray]]:
    """Yields images by what they are, as the network takes them.

    Where they are no whole numbers, each image is there twice, in 0..255 and in 0..1: the file does not say which of
    the two the network was trained on, and on the other its outputs may be the same for every image.
    """
    size = network.input_shape[1] or _OPEN_SIZE
    yield (
        "random images",
        _ranged(np.random.default_rng(0).integers(0, 256, (_RANDOM, size, size, 3), np.uint8), network),
    )
    if photographs:
        yield "photographs", _ranged(_decoded(photographs, size), network)


def _ranged(images: np.ndarray, network: tf.keras.Model) -> np.ndarray:
    dtype = network.inputs[0].dtype
    if not dtype.is_floating:
        return images.astype(dtype.as_numpy_dtype)
    return np.concatenate([images, images / 255.0]).astype(np.float32)


def _photographs(folder: str) -> list[str]:
    found = images_below(folder)
    if not found:
        raise UserError(f"--images {folder} given: expected a folder of JPEG, PNG or WebP files")
    return found[:_MOST_PHOTOGRAPHS]


def _decoded(paths: Sequence[str], size: int) -> np.ndarray:
    """Returns photographs, uint8 (n, size, size, 3); unreadable files are left out.

    Raises:
        UserError: none can be read.
    """
    squares = []
    for path in paths:
        try:
            squares.append(decoded_square(read_photograph(path), size))
        except Exception as error:  # whatever a broken file makes a decoder raise
            print(skipped(path, reason_of(error)))
    if not squares:
        raise UserError(f"none of the {len(paths)} files of --images can be read: expected JPEG, PNG or WebP")
    return np.stack(squares)


def _bits(precision: str) -> int:
    return tf.as_dtype(precision).size


def _show(about: str, found: Comparison) -> None:
    print(
        f"{about}: largest difference of the outputs {found.largest:.2g} ({found.allowed:.2g} allowed for rounding), "
        f"same class on {100 * found.same_class:.1f} % of {found.images}"
    )
