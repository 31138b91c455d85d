"""Milliseconds that a network takes for an image, measured on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from envise_tf.errors import UserError


def measured_milliseconds(
    run: Callable[[np.ndarray], Any], images: np.ndarray, repeats: int = 20, warm_up: int = 3
) -> float:
    """Returns the median time per image in milliseconds that `run(images)` takes, after some calls that do not count.

    Measure student and teacher in one process, on the runtime and the machine that will serve, with batches of the
    size that will be served. An x86 figure says nothing of a phone: Keras runs the binary network in float, and Larq
    Compute Engine's kernels are made for 64-bit Arm. Two such figures in place of FLOPs give the measured `gie`.

    Args:
        run: answers a batch; returns when the work is done, as `model.predict_on_batch` does.
        images: (batch, ...), what `run` takes.
        repeats: calls that count, at least 1.
        warm_up: calls before them, at least 0.

    Raises:
        UserError: no images, or a number of calls out of its range.
    """
    if len(images) < 1 or repeats < 1 or warm_up < 0:
        raise UserError(
            f"{len(images)} images, {repeats} repeats, {warm_up} calls to warm up: expected at least 1, 1 and 0"
        )
    for _ in range(warm_up):
        run(images)
    return 1000 * float(np.median([_seconds(run, images) for _ in range(repeats)])) / len(images)


def _seconds(run: Callable[[np.ndarray], Any], images: np.ndarray) -> float:
    start = time.perf_counter()
    run(images)
    return time.perf_counter() - start
