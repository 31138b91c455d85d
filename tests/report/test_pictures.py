"""Photographs inside a page: exact where they are small, light where they are not."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from envise_tf.report.pictures import overlaid_uri, photograph_uri


def opened(uri):
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


def textured(side):
    """A smooth picture with a little noise, as cameras make them."""
    slope = np.linspace(0, 200, side)
    noise = np.random.default_rng(1).integers(0, 20, (side, side, 3))
    return (slope[:, None, None] + noise).astype(np.uint8)


def test_a_small_image_is_enlarged_with_square_pixels():
    image = textured(32)
    picture = opened(photograph_uri(image))
    assert (picture.format, picture.size) == ("PNG", (160, 160))
    np.testing.assert_array_equal(np.asarray(picture)[2::5, 2::5], image)


def test_a_photograph_stays_its_size_and_takes_a_fraction_of_its_bytes():
    image = textured(224)
    uri = photograph_uri(image)
    picture = opened(uri)
    assert (picture.format, picture.size) == ("JPEG", (224, 224))
    assert np.abs(np.asarray(picture).astype(int) - image).mean() < 8
    assert len(uri) < image.nbytes / 4


@pytest.mark.parametrize(("side", "kind"), [(32, "PNG"), (224, "JPEG")])
def test_an_attention_map_is_warm_where_it_is_large(side, kind):
    attention = np.zeros((2, 2))
    attention[0, 0] = 3.0
    picture = opened(overlaid_uri(np.full((side, side, 3), 90, np.uint8), attention))
    assert picture.format == kind
    pixels = np.asarray(picture.convert("RGB")).astype(int)
    assert pixels[3, 3].sum() > pixels[-3, -3].sum() + 100
