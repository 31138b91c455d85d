"""The pictures of a sweep's report: records of trials in, a matplotlib figure out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator

from envise_tf.report.axes import CASCADE, GREY, OUTLIER, TEACHER, framed_axes
from envise_tf.tuning.importance import WINDOWS, Importance
from envise_tf.tuning.positions import position, positions
from envise_tf.tuning.ranking import FIGURES, IN_PERCENT, baseline_of, is_measured, last_rungs, longest_trials, students
from envise_tf.tuning.space import Choices, Dimension, Space, setting_text
from envise_tf.tuning.trials import BASELINE, TrialRecord

_FAINT = "#c4c4c4"
_COLOURS = "viridis_r"
"""Its dark end is for the best: the light one hardly shows on white."""

_LEAST_GAP = 0.11
"""Between two ticks, as a share of the axis."""

_SPREAD = 0.05
"""Lines through one choice are drawn so far apart at most, as a share of the axis."""


def course(records: Sequence[TrialRecord], objective: str) -> Figure:
    """Returns the figure of each trial, and the best so far, by number of the trial.

    Args:
        records: of the trials, in any order, at least one with a figure.
        objective: name of the figure.
    """
    scale = _scale(objective)
    figure, axes = framed_axes(xlabel="trial", ylabel=axis_label(objective))
    measured = [record for record in records if record.trial != BASELINE and is_measured(record)]
    longest = longest_trials(records)
    shorter = [record for record in measured if record not in longest]
    for chosen, fill, label in (
        (longest, CASCADE, "all windows" if shorter else "trial"),
        (shorter, "white", "fewer windows"),
    ):
        if chosen:
            numbers = [record.number for record in chosen]
            values = [scale * record.figures[objective] for record in chosen]
            axes.plot(numbers, values, "o", ms=4.5, color=CASCADE, mfc=fill, zorder=3, label=label)
    if longest:
        best = np.maximum.accumulate([scale * record.figures[objective] for record in longest])
        numbers = [record.number for record in longest]
        last = max(record.number for record in records)
        axes.step([*numbers, last], [*best, best[-1]], where="post", color=CASCADE, lw=1.3, label="best so far")
    _draw_baseline(axes, records, objective)
    failed = [record.number for record in records if record.trial != BASELINE and not is_measured(record)]
    if failed:
        # In the frame's units, below: a failed trial has no figure.
        axes.plot(
            failed, [0.03] * len(failed), "x", color="black", transform=axes.get_xaxis_transform(), label="failed"
        )
        axes.margins(y=0.12)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _draw_legend(figure)
    return figure


def agreement_curves(records: Sequence[TrialRecord], best: TrialRecord | None) -> Figure:
    """Returns the agreement of each student on held-back images after each window; those with no window are left out.

    Args:
        records: of the trials, in any order.
        best: the trial that is drawn on top.
    """
    figure, axes = framed_axes(xlabel="window", ylabel="agreement, held back [%]")
    kinds: dict[str, dict[str, Any]] = {
        "completed": {"color": _FAINT, "lw": 0.9},
        "stopped": {"color": OUTLIER, "lw": 0.9, "ls": "--"},
        "failed": {"color": "black", "lw": 0.9, "ls": ":"},
        "preset": {"color": TEACHER, "lw": 1.6, "zorder": 3},
        "best": {"color": CASCADE, "lw": 1.8, "zorder": 4},
    }
    shown: set[str] = set()
    for record in last_rungs(records):
        kind = "best" if record == best else "preset" if record.trial == BASELINE else record.status
        if record.curve:
            label = kind if kind not in shown else None
            percents = 100 * np.array(record.curve)
            axes.plot(range(1, record.windows + 1), percents, marker=".", ms=3, label=label, **kinds[kind])
            shown.add(kind)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _draw_legend(figure)
    return figure


def importance_bars(found: Importance) -> Figure:
    """Returns the importance of each setting with its spread, the largest first."""
    names = [_two_lines(name) for name in found.names]
    figure, axes = framed_axes(size=(4.2, 0.9 + 0.36 * len(names)), xlabel="growth of the squared error [%]")
    order = np.argsort(found.values)
    colours = [GREY if found.names[row] == WINDOWS else CASCADE for row in order]
    axes.barh(
        [names[row] for row in order],
        100 * found.values[order],
        xerr=100 * found.spreads[order],
        color=colours,
        error_kw={"lw": 1, "capsize": 2.5},
    )
    axes.axvline(0, color="black", lw=0.8)
    axes.tick_params(axis="y", labelsize=8)
    axes.grid(visible=False, axis="y")
    return figure


def parallel_coordinates(
    space: Space, records: Sequence[TrialRecord], objective: str, best: TrialRecord | None, size: tuple[float, float]
) -> Figure:
    """Returns a line a student through its values, an axis a setting, coloured by its figure.

    The axes stand side by side in a wide figure, and lie below each other in a high one.

    Args:
        space: of the settings.
        records: of the trials, in any order; failed ones are left out. At least one has a figure.
        objective: name of the figure.
        best: the trial that is drawn on top.
        size: width and height in inches.
    """
    is_wide = size[0] > size[1]
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    shown = students(records)
    lines = _spread(space, positions(space, [record.values for record in shown]))
    longest = longest_trials(records)
    figures = [_scale(objective) * record.figures[objective] for record in longest]
    least, most = min(figures), max(figures)
    colours = ScalarMappable(Normalize(least if least < most else most - 1, most), mpl.colormaps[_COLOURS])
    for line in (line for record, line in zip(shown, lines, strict=True) if record not in longest):
        _draw_line(axes, line, is_wide, color=_FAINT, lw=0.8)
    for row in np.argsort(figures, kind="stable"):
        is_best = longest[row] == best
        style = {"lw": 3.2, "zorder": 4, "label": "best"} if is_best else {"lw": 1.2, "alpha": 0.85, "zorder": 3}
        line = lines[shown.index(longest[row])]
        _draw_line(axes, line, is_wide, color=colours.to_rgba(figures[row]), **style)
    baseline = baseline_of(records)
    if baseline is not None:
        line = positions(space, [baseline.values])[0]
        style = {"color": TEACHER, "lw": 1.6, "ls": "--", "ms": 5, "zorder": 5}
        _draw_line(axes, line, is_wide, label="preset", **style)
    for number, (key, dimension) in enumerate(space.dimensions.items()):
        _draw_axis(axes, number, key, dimension, is_wide)
    last = len(space.dimensions) - 1
    ends = ((-0.15, last + 0.6), (-0.06, 1.06)) if is_wide else ((-0.06, 1.06), (last + 0.35, -0.45))
    axes.set(xlim=ends[0], ylim=ends[1])
    axes.set_axis_off()
    place: dict[str, Any] = {"location": "right", "shrink": 0.85} if is_wide else {"location": "bottom", "shrink": 0.9}
    figure.colorbar(colours, ax=axes, label=axis_label(objective), aspect=30, pad=0.01, **place)
    _draw_legend(figure)
    return figure


def axis_label(objective: str) -> str:
    """Returns what an axis of this figure is called, with its unit."""
    return FIGURES[objective] + (" [%]" if objective in IN_PERCENT else "")


def _scale(objective: str) -> int:
    """Returns what a figure is multiplied by to be shown."""
    return 100 if objective in IN_PERCENT else 1


def _draw_baseline(axes: Axes, records: Sequence[TrialRecord], objective: str) -> None:
    baseline = baseline_of(records)
    if baseline is not None:
        axes.axhline(_scale(objective) * baseline.figures[objective], color=TEACHER, lw=1.3, ls="--", label="preset")


def _draw_legend(figure: Figure) -> None:
    if figure.axes[0].get_legend_handles_labels()[0]:
        figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8)


def _spread(space: Space, lines: np.ndarray) -> np.ndarray:
    """Returns the positions with those of choices moved apart a little, so that equal ones do not hide each other."""
    moved = lines.copy()
    for column, dimension in enumerate(space.dimensions.values()):
        if isinstance(dimension, Choices):
            for choice in np.unique(lines[:, column]):
                rows = np.flatnonzero(lines[:, column] == choice)
                moved[rows, column] += np.linspace(-_SPREAD, _SPREAD, len(rows) + 2)[1:-1]
    return moved


def _draw_line(axes: Axes, line: np.ndarray, is_wide: bool, **style: Any) -> None:
    numbers = np.arange(len(line))
    style = {"marker": "o", "ms": 2.5 if len(line) > 1 else 7, **style}  # a space of one setting has no lines
    axes.plot(*((numbers, line) if is_wide else (line, numbers)), **style)


def _draw_axis(axes: Axes, number: int, key: str, dimension: Dimension, is_wide: bool) -> None:
    """Draws the axis of one setting: its name at the end or above it, its values beside it or below it."""
    ends, here = (0.0, 1.0), (number, number)
    axes.plot(*((here, ends) if is_wide else (ends, here)), color="black", lw=0.9, zorder=2)
    for text, where in _ticks(dimension):
        point = (number, where) if is_wide else (where, number)
        # On a phone long texts at the ends would leave the figure.
        along = "left" if is_wide or where == 0 else "right" if where == 1 else "center"
        offset, aligned = ((5, 0), (along, "center")) if is_wide else ((0, -5), (along, "top"))
        _write(axes, text, point, offset, ha=aligned[0], va=aligned[1], fontsize=7.5)
    name_style = {"va": "bottom", "fontsize": 8, "fontweight": "bold"}
    if is_wide:
        _write(axes, _two_lines(key).replace("_", "_\n"), (number, 1.0), (0, 14), ha="center", **name_style)
    else:
        _write(axes, short_name(key), (0.0, number), (0, 5), ha="left", **name_style)


def _write(axes: Axes, text: str, point: tuple[float, float], offset: tuple[int, int], **style: Any) -> None:
    """Writes on a pale ground, over the lines, so many typographic points away from a point."""
    ground = {"boxstyle": "round,pad=0.1", "fc": "white", "ec": "none", "alpha": 0.75}
    axes.annotate(text, point, offset, textcoords="offset points", zorder=6, bbox=ground, **style)


def _ticks(dimension: Dimension) -> list[tuple[str, float]]:
    """Returns texts along an axis, and where they are in 0..1: all choices, or the ends of a range and some between."""
    if isinstance(dimension, Choices):
        return [(setting_text(value), position(dimension, value)) for value in dimension.values]
    is_log = dimension.scale == "log"
    locator = LogLocator(subs=(1, 3)) if is_log else MaxNLocator(5, integer=isinstance(dimension.least, int))
    found = [(f"{end:g}", position(dimension, end)) for end in (dimension.least, dimension.most)]
    for tick in locator.tick_values(dimension.least, dimension.most):
        where = position(dimension, tick)  # NaN outside the range
        if all(abs(where - other) >= _LEAST_GAP for _, other in found):
            found.append((f"{tick:g}", where))
    return found


def short_name(key: str) -> str:
    """Returns a setting's name as pictures and tables show it."""
    return key.removeprefix("objectives.")


def _two_lines(key: str) -> str:
    return short_name(key).replace(".", "\n")
