"""The course of a training as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

_OF_TRAINING = ("window", "seconds", "loss", "agreement", "val_agreement", "zero_maps")


def save_curves(entries: Sequence[dict[str, Any]], path: Path) -> None:
    """Writes a PNG with the losses on the left and the agreement with the teacher on the right, by window.

    Args:
        entries: the run's log: "loss", "agreement" (on the stream) and "val_agreement" (held back) by window, and
            each objective under its name.
        path: where to write.
    """
    figure = Figure(figsize=(10, 4), layout="constrained")
    losses, agreement = figure.subplots(1, 2)
    windows = [entry["window"] + 1 for entry in entries]
    for name in ["loss", *sorted(set(entries[-1]) - set(_OF_TRAINING))]:
        losses.plot(windows, [entry[name] for entry in entries], label=name.replace("_", " "))
    for name, label in (("agreement", "stream, while training"), ("val_agreement", "held-back images")):
        agreement.plot(windows, [100 * entry[name] for entry in entries], label=label)
    losses.set(xlabel="window", ylabel="loss", ylim=(0, None), title="Losses")
    agreement.set(xlabel="window", ylabel="agreement with the teacher [%]", title="Agreement")
    for axes in (losses, agreement):
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    figure.savefig(path, dpi=120)
