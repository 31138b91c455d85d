"""The look that all figures share: colours, and axes narrow enough to be read on a phone.

Colours are Okabe and Ito's, which colour-blind readers tell apart and which differ in grey when printed.
"""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

STUDENT, TEACHER, CASCADE, GREY = "#0072B2", "#D55E00", "#009E73", "#7f7f7f"
INLIER, OUTLIER = "#0072B2", "#E69F00"

LEGEND: dict[str, Any] = {"frameon": False, "fontsize": 8.5}
"""Of all figures: 10 pixels on a phone, where a figure of 4.2 inches is as wide as the screen."""

_SIZE = (4.2, 3.3)


def framed_axes(size: tuple[float, float] = _SIZE, **labels: Any) -> tuple[Figure, Axes]:
    """Returns a figure with one pair of axes, in the look of all reports, and the axes.

    Args:
        size: width and height in inches.
        labels: what `Axes.set` takes.
    """
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    axes.set(**labels)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    return figure, axes


def colours_of(count: int) -> list[Any]:
    """Returns that many colours of a map of 20, the ten strong ones before the ten pale ones."""
    order = [*range(0, 20, 2), *range(1, 20, 2)]
    return [mpl.colormaps["tab20"](order[i % 20]) for i in range(count)]
