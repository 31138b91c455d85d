"""Images that are none, or not what they say, through every reader of photographs that the commands have.

Where what was done to an image does not change what it shows (another encoding, an EXIF rotation and the pixels turned
back, a wrong suffix, a foreign name), the readers must see the same picture.
"""

from __future__ import annotations

import csv
import io
import os
import shutil
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from envise_tf.errors import UserError
from envise_tf.export.answering import Unreadable, answered
from envise_tf.export.classify import ClassifySettings, classify
from envise_tf.export.runtime import Cascade
from envise_tf.images.folder import Folder
from envise_tf.images.frames import PhotographFrames
from envise_tf.images.photographs import central_square
from trust.feeding import WrongAnswer

_ORIENTATION = 0x0112
_FORMATS = {"png": "PNG", "jpg": "JPEG", "webp": "WEBP"}
_TURNED_BACK = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""What is done to an upright image so that the tag's instruction turns it upright again."""


@dataclass(frozen=True)
class Made:
    """An input.

    Attributes:
        content: of the file; a function of its path makes what is no plain file.
        shown: what it shows, RGB; None where nobody can say.
        name: of the file.
        tolerance: mean absolute difference of pixels that its encoding explains.
    """

    content: bytes | Callable[[Path], None]
    shown: Image.Image | None = None
    name: str = "image.png"
    tolerance: float = 0.0


class Feeder:
    """See `trust.feeding.Feeder`."""

    readings = 4

    def __init__(self, folder: Path, bundle: Path) -> None:
        self._folder, self._bundle = folder / "images", bundle
        self._cascade = Cascade.load(bundle, builtin=True)

    def made(self, seed: int) -> tuple[str, Made]:
        random = np.random.default_rng(seed)
        kind = list(_KINDS)[seed % len(_KINDS)]
        return kind, _KINDS[kind](random, _picture(random))

    def read(self, given: Made) -> str | None:
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir()
        path = self._folder / given.name
        if callable(given.content):
            given.content(path)
        else:
            path.write_bytes(given.content)
        square, refusal = self._seen_by_all(path)
        if square is not None and given.shown is not None:
            expected = central_square(given.shown, self._cascade.bundle.image_size)
            difference = float(np.abs(square.astype(float) - expected).mean())
            if difference > given.tolerance:
                raise WrongAnswer(f"pixels differ by {difference:.1f} on average")
        return refusal

    def _seen_by_all(self, path: Path) -> tuple[np.ndarray | None, str | None]:
        """Returns the square that all readers see, or why they refuse the file.

        Raises:
            WrongAnswer: they do not agree.
        """
        size = self._cascade.bundle.image_size
        refusal = None
        try:
            answer = answered(self._cascade, str(path))
        except Unreadable as error:
            refusal = str(error) or "no reason"
        frames = [frame.image for frame in PhotographFrames(str(self._folder), size).frames(0)]
        source = Folder(str(self._folder), size, labelled=False)
        examples = [example["image"] for example in source.examples("train").as_numpy_iterator()]
        if {len(frames), len(examples)} != {int(refusal is None)}:
            raise WrongAnswer(f"classify {refusal or 'answers'}, stream reads {len(frames)}, a folder {len(examples)}")
        row = self._row(path)
        if refusal is not None:
            return None, refusal
        if row != [os.fsencode(path), answer.label.encode()] or not np.array_equal(frames[0], examples[0]):
            raise WrongAnswer(f"classify writes {row!r} for {answer.label}, or folder and stream see other pixels")
        return frames[0], None

    def _row(self, path: Path) -> list[bytes] | None:
        """Returns path and class that the command writes of the file; None where it refuses it."""
        out = self._folder / ".predictions.csv"
        try:
            classify(ClassifySettings(str(self._bundle), [str(path)], str(out), builtin=True))
        except UserError:
            return None
        with open(out, encoding="utf-8", errors="surrogateescape", newline="") as file:
            rows = list(csv.reader(file))
        return [os.fsencode(rows[1][0]), rows[1][1].encode()]


# --- Pictures and their files -----------------------------------------------------------------------------------------


def _picture(random: np.random.Generator) -> Image.Image:
    """Returns a smooth picture, wider or higher than long, of 20 to 300 pixels a side."""
    size = tuple(int(side) for side in random.integers(20, 301, 2))
    return Image.fromarray(random.integers(0, 256, (5, 5, 3), np.uint8)).resize(size, Image.Resampling.BICUBIC)


def _encoded(image: Image.Image, format_: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()


def _some_file(random: np.random.Generator, picture: Image.Image) -> tuple[bytes, str]:
    suffix = list(_FORMATS)[random.integers(len(_FORMATS))]
    return _encoded(picture, _FORMATS[suffix]), f"image.{suffix}"


def _truncated(random: np.random.Generator, picture: Image.Image) -> Made:
    content, name = _some_file(random, picture)
    return Made(content[: random.integers(len(content))], name=name)


def _flipped(random: np.random.Generator, picture: Image.Image) -> Made:
    content, name = _some_file(random, picture)
    changed = bytearray(content)
    for place in random.integers(len(changed), size=random.integers(1, 30)):
        changed[place] ^= 1 << int(random.integers(8))
    return Made(bytes(changed), name=name)


def _wrong_suffix(random: np.random.Generator, picture: Image.Image) -> Made:
    suffix = ("jpg", "JPEG", "webp", "WebP")[random.integers(4)]
    return Made(_encoded(picture, "PNG"), picture, f"image.{suffix}")


def _foreign(random: np.random.Generator, picture: Image.Image) -> Made:
    """A file of a format that nobody promised to read: refused, or read as it is."""
    format_ = ("BMP", "GIF", "TIFF", "ICO", "PPM", "TGA", "PCX", "PDF", "EPS")[random.integers(9)]
    return Made(_encoded(picture, format_))


def _zeros(random: np.random.Generator, picture: Image.Image) -> Made:
    return Made(bytes(int(random.choice([0, 1, 8, 100, 100_000]))))


def _noise(random: np.random.Generator, picture: Image.Image) -> Made:
    start = (b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"RIFF\x00\x01\x00\x00WEBPVP8 ")[random.integers(4)]
    return Made(start + random.bytes(int(random.integers(1, 5000))))


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _claimed_png(random: np.random.Generator, picture: Image.Image) -> Made:
    """A header that claims up to 2^31 pixels a side."""
    width, height = (int(2 ** random.uniform(8, 31)) for _ in range(2))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return Made(b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _encoded(picture, "PNG")[33:])


def _claimed_jpeg(random: np.random.Generator, picture: Image.Image) -> Made:
    content = bytearray(_encoded(picture, "JPEG"))
    at = content.index(b"\xff\xc0") + 5
    content[at : at + 4] = struct.pack(">HH", *random.integers(1000, 65536, 2))
    return Made(bytes(content), name="image.jpg")


def _bomb(random: np.random.Generator, picture: Image.Image) -> Made:
    """Few bytes that are truly as many pixels as they claim, of any depth, some of them half transparent."""
    width, height = (int(300 * 45 ** random.random()) for _ in range(2))
    colour_type, channels = ((0, 1), (2, 3), (6, 4), (4, 2))[random.integers(4)]
    depth = int(random.choice([8, 16]))
    row = b"\0" + b"\x80" * (width * channels * depth // 8)
    packer = zlib.compressobj(1)
    packed = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    return Made(b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", packed) + _chunk(b"IEND", b""))


def _text_bomb(random: np.random.Generator, picture: Image.Image) -> Made:
    """A comment that unpacks to up to half a gigabyte."""
    text = _chunk(b"zTXt", b"comment\0\0" + zlib.compress(bytes(int(2 ** random.uniform(16, 29))), 1))
    content = _encoded(picture, "PNG")
    return Made(content[:33] + text + content[33:], picture)


def _cmyk(random: np.random.Generator, picture: Image.Image) -> Made:
    return Made(_encoded(picture.convert("CMYK"), "JPEG", quality=95), picture, "image.jpg", 6.0)


def _sixteen_bit(random: np.random.Generator, picture: Image.Image) -> Made:
    grey = picture.convert("L")
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    return Made(_encoded(deep, "PNG"), grey.convert("RGB"), tolerance=0.5)


def _animated(random: np.random.Generator, picture: Image.Image) -> Made:
    suffix = ("png", "webp")[random.integers(2)]
    others = [_picture(random).resize(picture.size) for _ in range(random.integers(1, 4))]
    options = {"lossless": True} if suffix == "webp" else {}
    content = _encoded(picture, _FORMATS[suffix], save_all=True, append_images=others, **options)
    return Made(content, picture, f"image.{suffix}")


def _alpha(random: np.random.Generator, picture: Image.Image) -> Made:
    alpha = np.asarray(Image.fromarray(random.integers(0, 256, (4, 4), np.uint8)).resize(picture.size)) / 255
    pixels = np.dstack([np.asarray(picture), np.round(alpha * 255)]).astype(np.uint8)
    shown = np.asarray(picture) * alpha[..., np.newaxis] + 255 * (1 - alpha[..., np.newaxis])
    suffix = ("png", "webp")[random.integers(2)]
    options = {"lossless": True, "exact": True} if suffix == "webp" else {}
    content = _encoded(Image.fromarray(pixels), _FORMATS[suffix], **options)
    return Made(content, Image.fromarray(np.round(shown).astype(np.uint8)), f"image.{suffix}", 1.0)


def _palette(random: np.random.Generator, picture: Image.Image) -> Made:
    reduced = picture.quantize(int(random.integers(2, 257)))
    return Made(_encoded(reduced, "PNG"), reduced.convert("RGB"))


def _one_bit(random: np.random.Generator, picture: Image.Image) -> Made:
    reduced = picture.convert("1")
    return Made(_encoded(reduced, "PNG"), reduced.convert("RGB"))


def _turned(random: np.random.Generator, picture: Image.Image) -> Made:
    """Pixels turned, and the tag that turns them back."""
    orientation = int(random.integers(2, 9))
    return Made(_tagged(picture.transpose(_TURNED_BACK[orientation]), orientation), picture)


def _lied(random: np.random.Generator, picture: Image.Image) -> Made:
    """A tag with a value that there is not."""
    return Made(_tagged(picture, int(random.choice([0, 9, 10, 255, 65535]))), picture)


def _tagged(picture: Image.Image, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[_ORIENTATION] = orientation
    return _encoded(picture, "PNG", exif=exif)


def _broken_exif(random: np.random.Generator, picture: Image.Image) -> Made:
    """A tag block of noise, or a true one with noise in it."""
    exif = Image.Exif()
    exif[_ORIENTATION] = 1
    block = bytearray(exif.tobytes())
    for place in random.integers(6, len(block), size=random.integers(1, 10)):
        block[place] = int(random.integers(256))
    return Made(_encoded(picture, "JPEG", quality=95, exif=bytes(block)), name="image.jpg")


def _broken_profile(random: np.random.Generator, picture: Image.Image) -> Made:
    return Made(_encoded(picture, "PNG", icc_profile=random.bytes(int(random.integers(1, 4000)))), picture)


def _slim(random: np.random.Generator, picture: Image.Image) -> Made:
    """One pixel wide or high, or both."""
    sides = (1, int(random.choice([1, 2, 1000, 60_000])))
    slim = picture.resize(sides if random.integers(2) else sides[::-1])
    return Made(_encoded(slim, "PNG"), slim)


def _progressive(random: np.random.Generator, picture: Image.Image) -> Made:
    content = _encoded(picture, "JPEG", quality=95, progressive=True, subsampling=0)
    return Made(content, picture, "image.jpg", 6.0)


def _named(random: np.random.Generator, picture: Image.Image) -> Made:
    """A name that is no UTF-8, of two lines, as long as a file system allows, or like a flag, mark-up or a pattern."""
    foreign = os.fsdecode(bytes(int(code) for code in random.integers(128, 256, 20)))
    names = (foreign, "a\nb", '"a",b', "x" * 251, "--out", "[bold]a[\\bold]", "*", "a;b", "\u202egnp", " ", "é\u0301")
    return Made(_encoded(picture, "PNG"), picture, f"{names[random.integers(len(names))]}.png")


def _no_file(random: np.random.Generator, picture: Image.Image) -> Made:
    """A link to itself, to nowhere or to a device without end, a pipe, or a folder."""

    def loop(path: Path) -> None:
        path.symlink_to(path)

    def nowhere(path: Path) -> None:
        path.symlink_to("nowhere.png")

    def endless(path: Path) -> None:
        path.symlink_to("/dev/zero")

    def forbidden(path: Path) -> None:
        path.symlink_to("/proc/self/mem")

    return Made((loop, nowhere, endless, os.mkfifo, forbidden)[random.integers(5)])


_KINDS: dict[str, Callable[[np.random.Generator, Image.Image], Made]] = {
    "truncated": _truncated,
    "bits flipped": _flipped,
    "wrong suffix": _wrong_suffix,
    "foreign format": _foreign,
    "zero bytes": _zeros,
    "noise": _noise,
    "PNG that claims": _claimed_png,
    "JPEG that claims": _claimed_jpeg,
    "bomb": _bomb,
    "bomb of text": _text_bomb,
    "CMYK": _cmyk,
    "16 bit": _sixteen_bit,
    "animated": _animated,
    "alpha": _alpha,
    "palette": _palette,
    "one bit": _one_bit,
    "EXIF rotation": _turned,
    "EXIF lie": _lied,
    "EXIF broken": _broken_exif,
    "profile broken": _broken_profile,
    "slim": _slim,
    "progressive": _progressive,
    "name": _named,
    "no file": _no_file,
}
