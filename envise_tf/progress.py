"""How far a long job has come, and how long it still takes, shown on the terminal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import rich.progress
import tensorflow as tf
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


def track(dataset: tf.data.Dataset, about: str, total: int | None = None) -> Iterable[Any]:
    """Returns an iterator over a dataset that shows how far it has come."""
    return rich.progress.track(dataset, about, total=total, transient=True)


def bar(counted: str, console: Console | None = None) -> Progress:
    """Returns a bar with what is done, how long it has taken and how long it will.

    Args:
        counted: stands behind the numbers, such as "steps, time".
        console: where it is shown; None is the terminal.
    """
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(counted),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
    )


class ProgressBar(tf.keras.callbacks.Callback):
    """One bar over all steps of a `fit`, with the time left; after each window, a line with its metrics.

    Args:
        windows: number of windows of the whole training.
        steps_a_window: steps in each.
    """

    def __init__(self, windows: int, steps_a_window: int) -> None:
        super().__init__()
        self._progress = bar("steps, time", Console())
        self._windows, self._steps_a_window = windows, steps_a_window
        self._task = self._progress.add_task("", total=windows * steps_a_window)

    def __enter__(self) -> ProgressBar:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        done = epoch * self._steps_a_window  # a resumed training begins in the middle
        self._progress.update(self._task, description=f"window {epoch + 1}/{self._windows}", completed=done)

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        self._progress.advance(self._task)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        values = "  ".join(f"{name} {value:.4g}" for name, value in (logs or {}).items())
        self._progress.print(f"window {epoch + 1:>3}  {values}", soft_wrap=True)
