"""Pictures as cameras and decoders hand them out, and the squares that Python makes of them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from android_vectors.cases import FOLDER, text
from envise_tf.images.photographs import decoded_square

PHOTOGRAPHS = FOLDER.parent / "photographs"


def pictures() -> list[dict]:
    random = np.random.default_rng(1)
    sides = [(1, 1), (2, 3), (5, 4), (7, 7), (16, 9), (9, 16), (31, 20), (40, 30), (33, 48)]
    cases = [
        _random_rgba(random, width, height, 1 + index % 8, size)
        for index, (width, height) in enumerate(sides)
        for size in (1, 4, 7, 16)
    ]
    cases += [_random_rgba(random, 13, 10, exif, 6) for exif in range(1, 9)]
    cases += [_random_nv21(random, 12 + exif, 20 - exif, exif, size) for exif in range(1, 9) for size in (5, 16)]
    return cases


def _random_rgba(random: np.random.Generator, width: int, height: int, exif: int, size: int) -> dict:
    pixels = random.integers(0, 256, (height, width, 4), np.uint8)
    pixels[..., 3] = np.where(random.random((height, width)) < 0.7, 255, pixels[..., 3])
    return _case("rgba", Image.fromarray(pixels), exif, size) | {"pixels": text(pixels.tobytes())}


def _random_nv21(random: np.random.Generator, width: int, height: int, exif: int, size: int) -> dict:
    y = random.integers(0, 256, (height, width), np.uint8)
    vu = random.integers(64, 192, ((height + 1) // 2, (width + 1) // 2, 2), np.uint8)
    v, u = (vu[..., channel].repeat(2, 0).repeat(2, 1)[:height, :width] for channel in (0, 1))
    image = Image.fromarray(np.stack([y, u, v], axis=-1), "YCbCr").convert("RGB")
    return _case("nv21", image, exif, size) | {"pixels": text(y.tobytes() + vu.tobytes())}


def photographs(folder: Path = PHOTOGRAPHS) -> list[dict]:
    """Returns cases of the PNG files in a folder, which Kotlin decodes for itself: to the same pixels, unlike JPEG."""
    cases = []
    for path in sorted(folder.glob("*.png")):
        image = Image.open(path).convert("RGB")
        for exif, size in ((1, 32), (6, 32), (3, 20), (1, 64)):
            cases.append(_case("png", image, exif, size) | {"file": path.name})
        cases += [_nv21(image, exif, 32) for exif in (1, 6)]
    return cases


def _nv21(image: Image.Image, exif: int, size: int) -> dict:
    """Returns a photograph as a camera's frame of even sides: colours halved by Pillow, as a camera halves them."""
    y, u, v = image.convert("YCbCr").split()
    half = (image.width // 2, image.height // 2)
    u, v = (channel.resize(half, Image.Resampling.BOX) for channel in (u, v))
    stored = np.asarray(y).tobytes() + np.stack([v, u], axis=-1).tobytes()
    upright = Image.merge("YCbCr", (y, *(channel.resize(image.size, Image.Resampling.NEAREST) for channel in (u, v))))
    return _case("nv21", upright.convert("RGB"), exif, size) | {"pixels": text(stored)}


def _case(layout: str, image: Image.Image, exif: int, size: int) -> dict:
    tags = Image.Exif()
    tags[0x0112] = exif
    file = io.BytesIO()
    image.save(file, "PNG", exif=tags)
    square = decoded_square(file.getvalue(), size)
    assert ImageOps.exif_transpose(Image.open(file)).size == (image.size if exif < 5 else image.size[::-1])
    return {
        "name": f"{layout} {image.width} x {image.height}, orientation {exif}, to {size}",
        "layout": layout,
        "width": image.width,
        "height": image.height,
        "orientation": exif,
        "size": size,
        "square": text(square.tobytes()),
    }
