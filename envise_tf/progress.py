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
