"""Images inside a page: as data URIs, so that a report is one file."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from PIL import Image


@dataclass(frozen=True)
class Picture:
    """A picture inside a page: its data URI and its caption."""

    uri: str
    caption: str


_SIDE = 160
"""Pixels: smaller images are enlarged to this, so that browsers need not guess how."""

_QUALITY = 85
"""Of JPEG, for images that are no smaller: as PNG a hundred photographs of 224 pixels would make a page of 15 MB."""


def svg_uri(figure: Figure) -> str:
    """Returns a figure as the URI of an SVG, sharp on a phone and in print."""
    content = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "envise"}):  # the same figure gives the same file
        figure.savefig(content, format="svg", metadata={"Date": None})
    return _uri(content, "svg+xml")


def photograph_uri(image: np.ndarray) -> str:
    """Returns an image, uint8 (height, width, 3), as a URI: a PNG with square pixels if it is small, else a JPEG."""
    return _photograph(_enlarged(image), is_small=image.shape[1] < _SIDE)


def overlaid_uri(image: np.ndarray, attention: np.ndarray) -> str:
    """Returns an attention map laid over its image, as `photograph_uri` has the image.

    Args:
        image: uint8 (height, width, 3).
        attention: float (h, w) >= 0, of any grid; its largest value becomes the warmest colour. A map of zeros leaves
            the image dark.
    """
    base = _enlarged(image).convert("L").convert("RGB")
    scaled = attention / max(float(attention.max()), 1e-12)
    heat = Image.fromarray((255 * mpl.colormaps["inferno"](scaled)[..., :3]).astype(np.uint8))
    blended = Image.blend(base, heat.resize(base.size, Image.Resampling.BILINEAR), 0.6)
    return _photograph(blended, is_small=image.shape[1] < _SIDE)


def _enlarged(image: np.ndarray) -> Image.Image:
    picture = Image.fromarray(image)
    if picture.width < _SIDE:
        return picture.resize((_SIDE, round(_SIDE * picture.height / picture.width)), Image.Resampling.NEAREST)
    return picture


def _photograph(picture: Image.Image, is_small: bool) -> str:
    content = io.BytesIO()
    if is_small:
        picture.save(content, format="PNG", optimize=True)
        return _uri(content, "png")
    picture.save(content, format="JPEG", quality=_QUALITY)
    return _uri(content, "jpeg")


def _uri(content: io.BytesIO, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content.getvalue()).decode()}"
