"""Figures that a phone has measured: what the benchmark of the Android library prints, checked and read.

The library (`envise.Benchmark` in export/android) gives plain times; ratios are made here alone. The file names the
manifest of the bundle that was measured by its SHA-256, so that figures of another bundle are never taken for this
one's. schema/phone.schema.json describes every key.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from envise_tf.errors import UserError
from envise_tf.export.bundle import MANIFEST, Bundle, File
from envise_tf.export.json_schema import schema_problem, strict_json

_EXPECTED = "expected what the sample app's benchmark has printed on a phone; see docs/android.md"

Times = dict[int, dict[tuple[File, float | None], np.ndarray]]
"""By number of threads, what was timed and its outlier rate (None for a network alone): float64 (rounds, 20) in ms."""


def phone_times(path: str | Path, bundle: Bundle) -> tuple[Times, dict[str, Any]]:
    """Returns the times of a phone's file, and what it says beside them: "device" and "load_ms".

    Raises:
        UserError: the file cannot be read, is no such file, is of another bundle, or lacks the teacher alone.
    """
    try:
        written = strict_json(Path(path).read_text("utf-8"))
    except OSError as error:
        raise UserError(f"cannot read {path} ({error.strerror}): {_EXPECTED}") from None
    except (ValueError, RecursionError):
        raise UserError(f"{path} is not JSON: {_EXPECTED}") from None
    broken = schema_problem(written, "phone")
    if broken is not None:
        raise UserError(f"{path} {broken}; {_EXPECTED}")
    if written["manifest_sha256"] != hashlib.sha256((bundle.folder / MANIFEST).read_bytes()).hexdigest():
        raise UserError(
            f"{path} is of another bundle {written['bundle']}: expected figures of {bundle.folder}; measure the app "
            "again with this bundle in it"
        )
    times: Times = {}
    for row in written["times"]:
        if row["what"] not in bundle.files:
            raise UserError(f"{path} has times of {row['what']}, which the bundle does not have: {_EXPECTED}")
        times.setdefault(row["threads"], {})[row["what"], row["outlier_rate"]] = np.array(row["milliseconds"], float)
    for threads, taken in times.items():
        alone = {(what, None) for what, _ in taken} | {("teacher", None)}
        for what, _ in sorted(alone - set(taken)):
            raise UserError(f"{path} has no times of {what} alone with {threads} threads: {_EXPECTED}")
    return times, {name: written[name] for name in ("device", "load_ms")}
