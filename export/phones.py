"""Figures that a phone has measured: what the benchmark of the Android library prints, checked and read.

The library (`envise.Benchmark` in export/android) gives plain times; ratios are made here alone. The file names the
manifest of the bundle that was measured by its SHA-256, so that figures of another bundle are never taken for this
one's. schema/phone.schema.json describes every key.
"""

from __future__ import annotations

import hashlib
import json
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from envise_tf.errors import UserError
from envise_tf.export.bundle import MANIFEST, Bundle, File

_EXPECTED = "expected what the sample app's benchmark has printed on a phone; see docs/android.md"

Times = dict[int, dict[tuple[File, float | None], np.ndarray]]
"""By number of threads, what was timed and its outlier rate (None for a network alone): float64 (rounds, 20) in ms."""


def phone_times(path: str | Path, bundle: Bundle) -> tuple[Times, dict[str, Any]]:
    """Returns the times of a phone's file, and what it says beside them: "device" and "load_ms".

    Raises:
        UserError: the file cannot be read, is no such file, is of another bundle, or lacks the teacher alone.
    """
    try:
        written = json.loads(Path(path).read_text("utf-8"), parse_constant=_refuse_constant)
    except OSError as error:
        raise UserError(f"cannot read {path} ({error.strerror}): {_EXPECTED}") from None
    except ValueError:
        raise UserError(f"{path} is not JSON: {_EXPECTED}") from None
    schema = json.loads((resources.files("envise_tf.export") / "schema" / "phone.schema.json").read_text("utf-8"))
    broken = best_match(Draft202012Validator(schema).iter_errors(written))
    if broken is not None:
        place = broken.json_path.removeprefix("$").removeprefix(".") or "its top"
        raise UserError(f"{path} breaks the schema at {place}: {broken.message[:200]}; {_EXPECTED}")
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


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")
