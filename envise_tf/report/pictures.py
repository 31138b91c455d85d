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


def svg_uri(figure: Figure) -> str:
    """Returns a figure as the URI of an SVG, sharp on a phone and in print."""
    content = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "envise"}):  # the same figure gives the same file
        figure.savefig(content, format="svg", metadata={"Date": None})
    return _uri(content, "svg+xml")


def png_uri(image: np.ndarray) -> str:
    """Returns an image, uint8 (height, width, 3), as the URI of a PNG, its pixels kept square when enlarged."""
    return _png(_enlarged(image))


def overlaid_uri(image: np.ndarray, attention: np.ndarray) -> str:
    """Returns an attention map laid over its image, as the URI of a PNG.

    Args:
        image: uint8 (height, width, 3).
        attention: float (h, w) >= 0, of any grid; its largest value becomes the warmest colour. A map of zeros leaves
            the image dark.
    """
    base = _enlarged(image).convert("L").convert("RGB")
    scaled = attention / max(float(attention.max()), 1e-12)
    heat = Image.fromarray((255 * mpl.colormaps["inferno"](scaled)[..., :3]).astype(np.uint8))
    return _png(Image.blend(base, heat.resize(base.size, Image.Resampling.BILINEAR), 0.6))


def _enlarged(image: np.ndarray) -> Image.Image:
    picture = Image.fromarray(image)
    if picture.width < _SIDE:
        return picture.resize((_SIDE, round(_SIDE * picture.height / picture.width)), Image.Resampling.NEAREST)
    return picture


def _png(picture: Image.Image) -> str:
    content = io.BytesIO()
    picture.save(content, format="PNG", optimize=True)
    return _uri(content, "png")


def _uri(content: io.BytesIO, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content.getvalue()).decode()}"
