"""Bundles, intact and damaged in many ways, and what Python says of them."""

from __future__ import annotations

import base64
import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from android_vectors.cases import adaptation_of, files, kind, manifest_of, plain, text
from envise_tf.errors import UserError
from envise_tf.export.bundle import Bundle, load_bundle
from envise_tf.export.golden import golden_arrays


def _changes() -> list[tuple[list[str | int], Any]]:
    """Returns changes of the manifest: where, and the value that is put there; ... takes what is there away."""
    shares = [0.2] * 5
    tops = ("schema_version", "name", "input", "class_names", "teacher_classes", "student_builtin", "teacher", "golden")
    return [
        *(([key], ...) for key in (*tops, "student", "adaptation")),
        *((["schema_version"], value) for value in (0, 1, 3, "1", 2.0, 3.0, None)),
        *((["date"], value) for value in ("2026-1-31", "yesterday", 5)),
        *((["input", "size"], value) for value in (0, -1, 4.5, "4", True, 4.0)),
        (["input", "dtype"], "float32"),
        (["input", "range"], [0, 1]),
        (["input", "range"], [0.0, 255.0]),
        (["class_names"], []),
        *((["class_names", 1], value) for value in ("", "two\nlines", 7, "wasp")),
        *((["teacher_classes"], value) for value in ([], [0, 0, 2], [0, 1], [0, 1, 5], [0, True, 2], [0, -1, 2])),
        (["teacher_classes"], [0.0, 1.0, 2.0]),
        *((["student", "threshold", "values", 0], value) for value in ("x", True, 1e39, -1e39, None, 3.4e38, 1)),
        (["student", "threshold", "values"], [0.5]),
        (["student", "outputs", "score"], 2),
        (["student", "outputs", "score"], ...),
        (["student", "runtime"], "tflite"),
        (["student_builtin", "network"], "binary"),
        (["student_builtin", "expected", "gie"], 1),
        (["student_builtin", "expected", "speedup"], 0),
        (["student_builtin", "note"], "of another precision"),
        (["student_builtin", "surplus"], 1),
        (["student_builtin", "threshold", "options", "epsilon"], [0.05]),
        *((["teacher", "file"], value) for value in ("../teacher.tflite", "student.tflite")),
        *((["teacher", "bytes"], value) for value in (0, 1, 19, 10**9)),
        *((["teacher", "sha256"], value) for value in ("0" * 64, "0" * 63, "A" * 64)),
        (["golden", "images"], 3),
        (["labels", "sha256"], "1" * 64),
        *((["adaptation", "temperature"], value) for value in (0, 1e-4, 1e4, "1", 1)),
        *((["adaptation", "bias"], value) for value in ([0] * 4, [0] * 6, [0, 0, 0, 0, 1001], [0] * 5)),
        *(
            (["adaptation", "prior"], value)
            for value in ([0.3] * 5, [-0.2, 0.6, 0.2, 0.2, 0.2], shares, [1, 0, 0, 0, 0])
        ),
        *((["adaptation", "source_prior"], value) for value in ([1, 0, 0, 0, 0], shares, [0.25] * 4)),
    ]


def bundles() -> dict[str, Any]:
    """Returns an intact bundle, and cases: files in place of it (null: missing), and what Python says of them."""
    intact = files()
    manifest = manifest_of([0.5, None, -0.25], adaptation_of(np.random.default_rng(4)))
    intact["manifest.json"] = json.dumps(manifest, ensure_ascii=False).encode()
    intact["manifest.sha256"] = _checksum(intact["manifest.json"])
    cases = [{"name": "intact", "change": None, "files": {}}]
    for where, value in _changes():
        name = f"{'.'.join(map(str, where))} {'missing' if value is ... else json.dumps(value)}"
        cases.append({"name": name, "change": {"at": where} | ({} if value is ... else {"value": value}), "files": {}})
    for name, content in intact.items():
        damaged = {
            "missing": None,
            "empty": b"",
            "cut short": content[:-1],
            "longer": content + b"x",
            "one bit": content[:-2] + bytes([content[-2] ^ 1]) + content[-1:],
        }
        for what, other in damaged.items():
            put = {name: None if other is None else text(other)}
            cases.append({"name": f"{name} {what}", "change": None, "files": put})
    broken = [b"{", b"no", b'{"schema_version": NaN}', b"\xff", b"[]", b"3", b'{"a": 1} x', b"[" * 100_000, b"{'a': 1}"]
    for content in broken:
        case = {"name": f"manifest.json {content[:24]!r}", "files": {"manifest.json": text(content)}}
        cases.append(case | {"change": None})
    first = json.dumps(manifest_of([0.5, None, -0.25], None) | {"schema_version": 1}).encode()
    put = {"manifest.json": text(first), "manifest.sha256": text(_checksum(first))}
    cases.append({"name": "schema version 1", "change": None, "files": put})
    told = [case | _told(intact, manifest, case) for case in cases]
    return {"files": {name: text(content) for name, content in intact.items()}, "cases": told}


def _checksum(manifest: bytes) -> bytes:
    return f"{hashlib.sha256(manifest).hexdigest()}  manifest.json\n".encode()


def _told(intact: dict[str, bytes], manifest: dict, case: dict) -> dict[str, Any]:
    """Returns what Python calls wrong with a case, its golden file too; where nothing is, what it reads."""
    contents = dict(intact)
    if case["change"] is not None:
        contents["manifest.json"] = json.dumps(_changed(manifest, **case["change"])).encode()
        contents["manifest.sha256"] = _checksum(contents["manifest.json"])
    contents |= {
        name: None if content is None else base64.b64decode(content) for name, content in case["files"].items()
    }
    with tempfile.TemporaryDirectory() as folder:
        for name, content in contents.items():
            if content is not None:
                Path(folder, name).write_bytes(content)
        try:
            bundle = load_bundle(folder)
            golden_arrays(bundle)
        except UserError as error:
            return {"error": kind(error)}
    return {"error": None, "read": _read(bundle)}


def _read(bundle: Bundle) -> dict[str, Any]:
    """Returns what decides, as Python reads it."""
    students = [name for name in ("student", "student_builtin") if name in bundle.files]
    return {
        "size": bundle.image_size,
        "class_names": list(bundle.class_names),
        "teacher_classes": list(bundle.teacher_classes),
        "thresholds": {name: plain(bundle.thresholds(name)) for name in students},
        "outputs": {name: bundle.manifest[name]["outputs"] for name in students},
        "adapted": bundle.adaptation is not None,
    }


def _changed(manifest: dict, at: list, value: Any = ...) -> dict:
    # Not a deep copy, in which both students would go on sharing their threshold.
    changed = json.loads(json.dumps(manifest))
    inside: Any = changed
    for key in at[:-1]:
        inside = inside[key]
    if value is ...:
        del inside[at[-1]]
    else:
        inside[at[-1]] = value
    return changed
