"""python -m envise_tf.export.coldstart BUNDLE NETWORK ROWS: one cold start, as a line of JSON; for the benchmark.

A fresh process imports the runtime, loads one network or cascade of a bundle and answers images for the first time. The
files are in the system's cache by then, and Python's own imports are told apart: a phone has neither of them.

Memory is the process' peak. Linux lets a new process inherit the `ru_maxrss` of the one that started it, so it would
be the peak of the benchmark; the peak of this process alone is VmHWM in /proc/self/status. Where there is no such
file, `resource.getrusage` has to do.
"""

from __future__ import annotations

import functools
import json
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_STATUS = Path("/proc/self/status")


def peak_bytes() -> int:
    """Returns the most memory that this process has held so far, in bytes."""
    if _STATUS.exists():
        kibibytes = re.search(r"^VmHWM:\s*(\d+) kB$", _STATUS.read_text(), re.MULTILINE)
        if kibibytes is not None:
            return 1024 * int(kibibytes[1])
    import resource  # there is none on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def cold_start(folder: str, which: str, rows: dict[str, int]) -> dict[str, float]:
    """Returns the milliseconds and peaks of memory of the first start in this process.

    Args:
        folder: of the bundle.
        which: "teacher" alone, or "student" or "student_builtin" for its cascade.
        rows: image of the golden file for each first answer, by the answer's name; asked in this order.

    Returns:
        "libraries_ms" to import the runtime, "load_ms" to check the bundle and start the network, "libraries_bytes"
        and "load_bytes", the peaks by then; and so for each answer, "NAME_ms" and "NAME_bytes".

    Raises:
        UserError: see `envise_tf.export.runtime.Cascade.load`.
    """
    measured: dict[str, float] = {}

    def step(name: str, work: Callable[[], Any]) -> Any:
        begun = time.perf_counter()
        result = work()
        measured[f"{name}_ms"] = 1000 * (time.perf_counter() - begun)
        measured[f"{name}_bytes"] = peak_bytes()
        return result

    step("libraries", _import_runtime)
    ask, images = step("load", lambda: _loaded(folder, which))
    for name, row in rows.items():
        image = images()[row]
        step(name, functools.partial(ask, image))
    return measured


def _import_runtime() -> None:
    import envise_tf.export.runtime  # noqa: F401 - what it takes is measured


def _loaded(folder: str, which: str) -> tuple[Callable[[Any], Any], Callable[[], Any]]:
    """Returns what answers an image, and what reads the golden images."""
    import numpy as np

    from envise_tf.export.bundle import load_bundle
    from envise_tf.export.runtime import Cascade, network_of

    bundle = load_bundle(folder)

    def images() -> np.ndarray:
        with np.load(bundle.path("golden"), allow_pickle=False) as file:
            return file["images"]

    if which == "teacher":
        teacher = network_of(bundle, "teacher")
        return (lambda image: teacher(image[np.newaxis])), images
    return Cascade(bundle, builtin=which == "student_builtin").classify, images


if __name__ == "__main__":
    print(json.dumps(cold_start(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]))))
