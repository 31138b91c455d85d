"""Photographs as users have them: which files are images, and how one becomes the square that a network takes.

Pillow and NumPy alone, so that sources of training images and the runtime on a small board decode in the same way.
"""

from __future__ import annotations

import functools
import io
import logging
import os
import stat
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

_LOG = logging.getLogger("envise_tf")

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp"})


MOST_PIXELS = 120_000_000
"""In an image that is decoded, so that a phone's 108 megapixels are read; half as many where some are transparent, as
these take twice the memory. Some kilobytes of a file can hold any number of them."""

MOST_BYTES = 2**28
"""In a file that is read."""

_FORMATS = ("JPEG", "PNG", "WEBP")
"""By Pillow's names; every other decoder is one more that a stranger's file could harm."""


def read_photograph(path: str | Path) -> bytes:
    """Returns the content of a file.

    Raises:
        OSError: it cannot be read, is no file but a pipe or a device, which may never end, or is too large.
    """
    found = os.stat(path)
    if not stat.S_ISREG(found.st_mode):
        raise OSError("no file")
    if found.st_size > MOST_BYTES:
        raise OSError(f"of {found.st_size} bytes, expected at most {MOST_BYTES}")
    return Path(path).read_bytes()


def decoded_square(content: bytes, size: int) -> np.ndarray:
    """Returns the upright central square of an encoded image, resized: uint8 RGB, (size, size, 3), 0..255.

    It is turned upright by its EXIF tag; transparency is laid over white; resizing is bilinear and antialiased.

    Raises:
        OSError or another error of the decoder: the bytes are damaged or no image.
    """
    try:
        with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
            most = MOST_PIXELS // (2 if image.has_transparency_data else 1)
            if image.width * image.height > most:
                raise OSError(f"of {image.width} x {image.height} pixels, expected at most {most} in all")
            ImageOps.exif_transpose(image, in_place=True)
            return central_square(_as_rgb(image), size)
    except UnidentifiedImageError:  # which would name an object in memory
        raise OSError("of no known format" if content else "empty") from None


def central_square(image: Image.Image, size: int) -> np.ndarray:
    """Returns the central square of an RGB image, resized (bilinear, antialiased): uint8 (size, size, 3), 0..255."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image if image.width == image.height else image.crop((left, top, left + side, top + side))
    return np.asarray(square.resize((size, size), Image.Resampling.BILINEAR))


def images_below(folder: str | Path) -> list[str]:
    """Returns the paths of all images below a folder, sorted; names that start with a dot are skipped."""
    found = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [os.path.join(parent, name) for name in names if is_image(name)]
    return sorted(found)


def is_image(name: str) -> bool:
    """Returns whether a file is an image by its name: JPEG, PNG or WebP, in any case, not hidden."""
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in SUFFIXES


def skipped(name: str | Path, reason: object) -> str:
    """Returns the line that names a file which cannot be read.

    Args:
        name: of the file, or of a frame.
        reason: why, such as the decoder's error.
    """
    return f"skipped {name}: it cannot be read as an image ({reason})"


def log_skipped(name: str, reason: str) -> None:
    """Logs `skipped`, once in a process: a training and its evaluation read the same folder."""
    _log_once(skipped(os.path.abspath(name), reason))


@functools.cache
def _log_once(line: str) -> None:
    _LOG.warning("%s", line)


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit grey, which Pillow would clip at 255 rather than scale
        image = Image.fromarray(((np.asarray(image).astype(np.uint32) + 128) // 257).astype(np.uint8))
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        # Pillow's convert copies an image that is RGBA already.
        image = Image.alpha_composite(white, image if image.mode == "RGBA" else image.convert("RGBA"))
    return image if image.mode == "RGB" else image.convert("RGB")
