"""Does the attention lie on the object? Attention maps against the bounding boxes of a data set.

Two figures an image, both the larger the better, and beside them what a map that knows nothing would get:

- pointing game (Zhang et al. 2016, "Top-down neural attention by excitation backprop"): is the map's maximum inside
  the box? The paper lets the point miss by some pixels; here it may not (our choice: our images are small).
- share inside (our choice): the part of the map's mass that lies in the box, sum of A_ij |cell_ij and box| / |cell_ij|
  over sum of A_ij, with the exact areas. A map of h x w cells is constant within a cell.
- chance: the box's share of the image. A uniform map has exactly that share inside, and a point drawn at random hits
  the box as often.

A map of zeros points nowhere. It has no verdict, NaN in both figures, and is counted apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from envise_tf.errors import UserError


@dataclass(frozen=True)
class Localisation:
    """Means over the images whose map is not all zero; NaN where there is none.

    Attributes:
        images: number of images, those without a verdict included.
        without_verdict: number of images whose map is all zero.
        pointing: share of the images whose maximum is inside the box, 0..1.
        share_inside: mean share of the attention inside the box, 0..1.
        chance: mean share of the image that the box covers, 0..1.
    """

    images: int
    without_verdict: int
    pointing: float
    share_inside: float
    chance: float


def localisation(maps: np.ndarray, boxes: np.ndarray) -> Localisation:
    """Returns how well attention maps find the boxes.

    Args:
        maps: float (n, h, w) >= 0, as `attention.grad_cam(...)[:, 0]`, on a grid that spans the image.
        boxes: float (n, 4), ymin, xmin, ymax, xmax in 0..1 of the image's sides, as `Source.examples` has them.

    Raises:
        UserError: `maps` or `boxes` have another shape, or values out of their range.
    """
    inside = share_inside(maps, boxes)
    has_verdict = ~np.isnan(inside)
    columns = [column[has_verdict] for column in (pointing_game(maps, boxes), inside, box_area(boxes))]
    means = [float(column.mean()) if has_verdict.any() else float("nan") for column in columns]
    return Localisation(len(inside), int((~has_verdict).sum()), *means)


def pointing_game(maps: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Returns whether each map's maximum is inside the box: float64 (n,), 1 inside, 0 outside, NaN for a map of zeros.

    The maximum stands at the centre of its cell (our choice: bilinear resizing to the image, with half-pixel centres,
    has its maximum there too). A centre on the box's edge is inside. Where k cells share the maximum, the result is
    the share of the k that are inside: what a fair draw among them would give.

    Args:
        maps: float (n, h, w) >= 0.
        boxes: float (n, 4), ymin, xmin, ymax, xmax in 0..1.

    Raises:
        UserError: as in `localisation`.
    """
    maps, boxes = _checked(maps, boxes)
    top, left, bottom, right = boxes.T[..., np.newaxis]
    y, x = _centres(maps.shape[1]), _centres(maps.shape[2])
    rows, columns = (top <= y) & (y <= bottom), (left <= x) & (x <= right)
    is_maximum = (maps == maps.max(axis=(1, 2), keepdims=True)) & (maps > 0)
    return _weighted_mean(is_maximum.astype(np.float64), rows, columns)


def share_inside(maps: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Returns the share of each map's mass that lies in the box: float64 (n,) in 0..1, NaN for a map of zeros.

    Args:
        maps: float (n, h, w) >= 0.
        boxes: float (n, 4), ymin, xmin, ymax, xmax in 0..1.

    Raises:
        UserError: as in `localisation`.
    """
    maps, boxes = _checked(maps, boxes)
    top, left, bottom, right = boxes.T
    rows, columns = _covered(top, bottom, maps.shape[1]), _covered(left, right, maps.shape[2])
    return _weighted_mean(maps, rows, columns)


def box_area(boxes: np.ndarray) -> np.ndarray:
    """Returns the share of the image that each box covers, the chance level of both figures: float64 (n,) in 0..1.

    Args:
        boxes: float (n, 4), ymin, xmin, ymax, xmax in 0..1.

    Raises:
        UserError: as in `localisation`.
    """
    top, left, bottom, right = _checked_boxes(boxes).T
    return (bottom - top) * (right - left)


def _centres(count: int) -> np.ndarray:
    return (np.arange(count) + 0.5) / count


def _covered(start: np.ndarray, end: np.ndarray, count: int) -> np.ndarray:
    """Returns which part of each of `count` equal cells of 0..1 lies between start and end: (n, count) in 0..1."""
    edges = np.arange(count)
    start, end = start[:, np.newaxis] * count, end[:, np.newaxis] * count
    return np.clip(np.minimum(end, edges + 1) - np.maximum(start, edges), 0, 1)


def _weighted_mean(weights: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Returns the mean of rows (n, h) times columns (n, w) under weights (n, h, w), NaN where they are all zero."""
    total = weights.sum(axis=(1, 2))
    inside = np.minimum(np.einsum("nhw,nh,nw->n", weights, rows, columns), total)  # rounding may bring it above
    return np.divide(inside, total, out=np.full(len(total), np.nan), where=total > 0)


def _checked(maps: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    maps = np.asarray(maps)
    if maps.ndim != 3 or 0 in maps.shape[1:]:
        raise UserError(
            f"attention maps have shape {maps.shape}, expected (images, height, width): choose the maps of one class, "
            "as grad_cam(...)[:, 0]"
        )
    right = np.isfinite(maps) & (maps >= 0)
    if not right.all():
        raise UserError(
            f"attention map {_first_wrong(right)} holds negative or infinite values, expected Grad-CAM maps"
        )
    boxes = _checked_boxes(boxes)
    if len(boxes) != len(maps):
        raise UserError(f"{len(maps)} attention maps and {len(boxes)} boxes were given, expected one box a map")
    return maps.astype(np.float64), boxes


def _checked_boxes(boxes: np.ndarray) -> np.ndarray:
    boxes = np.asarray(boxes)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise UserError(f"boxes have shape {boxes.shape}, expected (images, 4): ymin, xmin, ymax, xmax")
    is_right = (boxes >= 0).all(axis=1) & (boxes <= 1).all(axis=1) & (boxes[:, :2] <= boxes[:, 2:]).all(axis=1)
    if not is_right.all():
        wrong = _first_wrong(is_right)
        raise UserError(
            f"box {wrong} is {boxes[wrong].tolist()}, expected ymin <= ymax and xmin <= xmax in 0..1: divide pixels by "
            "the image's height and width"
        )
    return boxes.astype(np.float64)


def _first_wrong(is_right: np.ndarray) -> int:
    return int(np.argwhere(~is_right)[0, 0])
