"""The class shares of a stream over time, as the teacher was adapted to them, beside the true ones where known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from envise_tf.stream.record import Record
from envise_tf.stream.summary import WINDOW

_MOST_CLASSES = 60
_LEAST_SHARE = 0.01
"""Classes that never have so much are left out."""


def estimates(record: Record) -> tuple[np.ndarray, np.ndarray]:
    """Returns the images from which on each estimate held, int64 (m,), and the estimates, float64 (m, classes)."""
    told = [event for event in record.events if "prior" in event]
    return np.array([event["image"] for event in told], np.int64), np.array([event["prior"] for event in told])


def class_shares(record: Record, class_names: Sequence[str], size: tuple[float, float]) -> Figure:
    """Returns a heat map of the class shares: estimated, and below in windows of the stream the true ones.

    Args:
        record: with at least one estimate.
        class_names: of the teacher.
        size: width and height in inches.
    """
    begun, shares = estimates(record)
    bounds = np.append(begun, max(int(record.image[-1]), int(begun[-1])) + 1)
    parts = [("as estimated", bounds, shares)]
    if (record.truth >= 0).any():
        parts.append(("true", *_true_shares(record, len(class_names))))
    largest = np.max([part.max(axis=0) for _, _, part in parts], axis=0)
    shown = np.argsort(-largest, kind="stable")[:_MOST_CLASSES]
    shown = _by_appearance(shown[largest[shown] >= _LEAST_SHARE], shares)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(1, len(parts), sharey=True, squeeze=False)[0]
    top = 100 * float(np.quantile([part[:, shown].max() for _, _, part in parts], 0.5))
    for one, (name, edges, part) in zip(axes, parts, strict=True):
        mesh = _draw(one, edges, 100 * part[:, shown].T, top)
        one.set(title=name, xlabel="image", xlim=(record.image[0], record.image[-1] + 1))
    axes[0].set_yticks(np.arange(len(shown)) + 0.5, [class_names[each] for each in shown], fontsize=7)
    axes[0].invert_yaxis()
    figure.colorbar(mesh, ax=axes, label="share of the stream [%]", location="bottom", shrink=0.5, aspect=40)
    return figure


def _draw(axes: Axes, edges: np.ndarray, percent: np.ndarray, top: float) -> QuadMesh:
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
    axes.locator_params(axis="x", nbins=5)
    return axes.pcolormesh(edges, np.arange(len(percent) + 1), percent, vmin=0, vmax=top, cmap="Blues", rasterized=True)


def _by_appearance(classes: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Returns the classes in the order in which they first become frequent, and by number among these."""
    is_frequent = shares[:, classes] >= _LEAST_SHARE
    first = np.where(is_frequent.any(axis=0), is_frequent.argmax(axis=0), len(shares))
    return classes[np.lexsort((classes, first))]


def _true_shares(record: Record, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the edges of windows of the stream, int64 (m + 1,), and the true shares there, float64 (m, classes)."""
    edges = np.append(np.arange(record.image[0], record.image[-1] + 1, WINDOW), record.image[-1] + 1)
    window = (record.image - record.image[0]) // WINDOW
    known = record.truth >= 0
    counts = np.zeros((len(edges) - 1, classes))
    np.add.at(counts, (window[known], record.truth[known]), 1)
    return edges, counts / np.maximum(np.bincount(window, minlength=len(counts)), 1)[:, np.newaxis]
