"""The course of a training as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

_OF_TRAINING = ("window", "seconds", "loss", "zero_maps")


def save_curves(
    entries: Sequence[dict[str, Any]],
    path: Path,
    share: str = "agreement",
    about: str = "agreement with the teacher",
) -> None:
    """Writes a PNG with the losses on the left and, on the right, how much the student gets right, by window.

    Args:
        entries: the run's log: "loss", the share, such as "agreement" (on the stream) and "val_agreement" (held back),
            by window, and each objective under its name.
        path: where to write.
        share: what the share of images that the student gets right is called in the log.
        about: what it is, for the axis.
    """
    figure = Figure(figsize=(10, 4), layout="constrained")
    losses, right = figure.subplots(1, 2)
    windows = [entry["window"] + 1 for entry in entries]
    for name in ["loss", *sorted(set(entries[-1]) - {*_OF_TRAINING, share, f"val_{share}"})]:
        losses.plot(windows, [entry[name] for entry in entries], label=name.replace("_", " "))
    for name, label in ((share, "stream, while training"), (f"val_{share}", "held-back images")):
        right.plot(windows, [100 * entry[name] for entry in entries], label=label)
    losses.set(xlabel="window", ylabel="loss", ylim=(0, None), title="Losses")
    right.set(xlabel="window", ylabel=f"{about} [%]", title=share.capitalize())
    for axes in (losses, right):
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    figure.savefig(path, dpi=120)
