import io
import os
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image

from envise_tf.images.photographs import MOST_BYTES, decoded_square, images_below, is_image, read_photograph


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def test_a_single_pixel_fills_the_square():
    image = decoded_square(encoded(Image.new("RGB", (1, 1), (9, 80, 200))), 8)
    assert image.dtype == np.uint8
    assert image.shape == (8, 8, 3)
    assert (image == (9, 80, 200)).all()


@pytest.mark.parametrize(
    ("image", "pixel"),
    [
        (Image.new("L", (8, 8), 77), (77, 77, 77)),
        (Image.new("1", (8, 8), 1), (255, 255, 255)),
        (Image.fromarray(np.full((8, 8), 100 * 257, np.uint16)), (100, 100, 100)),
        (Image.new("RGBA", (8, 8), (255, 0, 0, 0)), (255, 255, 255)),
        (Image.new("RGBA", (8, 8), (255, 0, 0, 51)), (255, 204, 204)),  # a fifth of red over white
        (Image.new("LA", (8, 8), (0, 255)), (0, 0, 0)),
    ],
)
def test_grey_transparent_and_16_bit_images_become_rgb(image, pixel):
    assert (decoded_square(encoded(image), 8) == pixel).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_is_turned_upright(orientation):
    upright = np.kron([[10, 90], [170, 250]], np.ones((16, 16))).astype(np.uint8)
    # What the camera stores, so that undoing the orientation gives `upright` [EXIF 2.3, tag 274].
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.T,
        6: np.rot90(upright),
        7: upright[::-1, ::-1].T,
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[274] = orientation
    photograph = encoded(Image.fromarray(np.ascontiguousarray(stored)), "JPEG", quality=100, exif=exif)
    assert np.abs(decoded_square(photograph, 32)[..., 0].astype(int) - upright).max() <= 2


@pytest.mark.parametrize("content", [b"", b"no image", encoded(Image.new("RGB", (64, 64)), "JPEG")[:-200]])
def test_what_cannot_be_decoded_is_an_error(content):
    with pytest.raises(OSError):  # noqa: PT011 - its text is the decoder's
        decoded_square(content, 8)


def test_images_are_found_below_a_folder_by_their_endings(tmp_path):
    names = ("b.JPG", "a/z.webp", "a/b/c.jpeg", "d.Png")
    for name in (*names, ".hidden.png", ".cache/e.png", "notes.txt", "png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert images_below(tmp_path) == sorted(str(tmp_path / name) for name in names)
    assert not is_image("png")


def test_tensorflow_is_not_imported():
    code = "import sys, envise_tf.images.photographs; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(("side", "colour_type", "most"), [(12_000, 2, 120_000_000), (9_000, 6, 60_000_000)])
def test_more_pixels_than_memory_is_for_are_refused_before_they_are_decoded(side, colour_type, most):
    header = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, colour_type, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    with pytest.raises(OSError, match=f"of {side} x {side} pixels, expected at most {most} in all"):
        decoded_square(content + encoded(Image.new("RGB", (8, 8)))[33:], 8)


@pytest.mark.parametrize("kind", ["GIF", "BMP", "EPS"])
def test_other_formats_are_refused_whatever_their_name(kind):
    with pytest.raises(OSError, match="of no known format"):
        decoded_square(encoded(Image.new("RGB", (8, 8)), kind), 8)


def test_what_may_never_end_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "device.png").symlink_to("/dev/zero")
    (tmp_path / "large.png").touch()
    os.truncate(tmp_path / "large.png", MOST_BYTES + 1)
    for name, reason in (("pipe", "no file"), ("device", "no file"), ("large", "of 268435457 bytes")):
        with pytest.raises(OSError, match=reason):
            read_photograph(tmp_path / f"{name}.png")


@pytest.mark.parametrize("size", [(8, 8), (12, 8), (8, 12)])
def test_16_bits_are_rounded_to_the_nearest_of_8(size):
    deep = np.random.default_rng(0).integers(0, 65536, size[::-1], np.uint16)
    deep.flat[:2] = 0, 65535
    side = min(size)
    left, top = (size[0] - side) // 2, (size[1] - side) // 2
    square = decoded_square(encoded(Image.fromarray(deep)), side)
    expected = np.round(deep[top : top + side, left : left + side] / 257)
    np.testing.assert_array_equal(square[..., 0], expected)
