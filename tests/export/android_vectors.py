"""Test vectors for the Kotlin library: cases with the answers that Python gives today.

    python tests/export/android_vectors.py      # writes them anew

Kotlin's tests must satisfy all of them; tests/export/test_android.py asks whether they are still what Python says.
Numbers that JSON has no word for are the texts NaN, Infinity and -Infinity; float32 are written as exact doubles.
"""

from __future__ import annotations

import base64
import copy
import hashlib
import io
import json
import re
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from PIL import Image, ImageOps
from small_bundle import about

from envise_tf.errors import UserError
from envise_tf.export import runtime
from envise_tf.export.bundle import Bundle, load_bundle
from envise_tf.export.golden import golden_arrays
from envise_tf.export.runtime import TensorSpec
from envise_tf.images.photographs import decoded_square

FOLDER = Path(__file__).parents[2] / "export/android/envise-core/src/test/resources/vectors"
SIZE, NAMES, CLASSES = 4, ("ant", "bee", "cat", "dögs", "elk"), (4, 0, 2)

KINDS = {
    r"cannot read": "UnreadableFile",
    r"is not JSON": "NotJson",
    r"has schema version": "UnknownSchemaVersion",
    r"breaks the schema": "BrokenSchema",
    r"is not what manifest.sha256": "UnvouchedManifest",
    r"has \S+ (bytes|as SHA-256), expected": "DamagedFile",
    r"has \d+ labels, beginning": "WrongLabels",
    r"thresholds, expected|has the threshold|has the outputs|has class|adaptation has a": "Misfit",
    r"is no golden file|holds images of": "WrongGolden",
    r"logits that are not numbers": "NotNumbers",
}
"""What each of Python's messages is called in Kotlin."""


def kind(error: UserError) -> str:
    (found,) = {name for pattern, name in KINDS.items() if re.search(pattern, str(error))}
    return found


def text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def plain(values: Any) -> list:
    """Returns numbers as JSON has them."""
    texts = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
    return [texts.get(repr(float(value)), float(value)) for value in np.ravel(values)]


# --- Pictures ---------------------------------------------------------------------------------------------------------


def pictures() -> list[dict]:
    random = np.random.default_rng(1)
    sides = [(1, 1), (2, 3), (5, 4), (7, 7), (16, 9), (9, 16), (31, 20), (40, 30), (33, 48)]
    cases = [
        _rgba(random, width, height, 1 + index % 8, size)
        for index, (width, height) in enumerate(sides)
        for size in (1, 4, 7, 16)
    ]
    cases += [_rgba(random, 13, 10, exif, 6) for exif in range(1, 9)]
    cases += [_nv21(random, 12 + exif, 20 - exif, exif, size) for exif in range(1, 9) for size in (5, 16)]
    return cases


def _rgba(random: np.random.Generator, width: int, height: int, exif: int, size: int) -> dict:
    pixels = random.integers(0, 256, (height, width, 4), np.uint8)
    pixels[..., 3] = np.where(random.random((height, width)) < 0.7, 255, pixels[..., 3])
    return _picture("rgba", Image.fromarray(pixels), pixels.tobytes(), exif, size)


def _nv21(random: np.random.Generator, width: int, height: int, exif: int, size: int) -> dict:
    y = random.integers(0, 256, (height, width), np.uint8)
    vu = random.integers(64, 192, ((height + 1) // 2, (width + 1) // 2, 2), np.uint8)
    v, u = (vu[..., channel].repeat(2, 0).repeat(2, 1)[:height, :width] for channel in (0, 1))
    image = Image.fromarray(np.stack([y, u, v], axis=-1), "YCbCr").convert("RGB")
    return _picture("nv21", image, y.tobytes() + vu.tobytes(), exif, size)


def _picture(layout: str, image: Image.Image, stored: bytes, exif: int, size: int) -> dict:
    tags = Image.Exif()
    tags[0x0112] = exif
    file = io.BytesIO()
    image.save(file, "PNG", exif=tags)
    square = decoded_square(file.getvalue(), size)
    assert ImageOps.exif_transpose(Image.open(file)).size == (image.size if exif < 5 else image.size[::-1])
    return {
        "name": f"{layout} {image.width} x {image.height}, orientation {exif}, to {size}",
        "layout": layout,
        "width": image.width,
        "height": image.height,
        "orientation": exif,
        "size": size,
        "pixels": text(stored),
        "square": text(square.tobytes()),
    }


# --- Decisions --------------------------------------------------------------------------------------------------------


class Saying:
    """A network that says the same of every image."""

    def __init__(self, *outputs: np.ndarray) -> None:
        self._said = [np.asarray(output, np.float32)[np.newaxis] for output in outputs]
        self.input = TensorSpec("uint8", (1, SIZE, SIZE, 3))
        self.outputs = [TensorSpec("float32", output.shape) for output in self._said]

    def __call__(self, image: np.ndarray) -> list[np.ndarray]:
        return self._said


def decisions() -> list[dict]:
    random = np.random.default_rng(2)
    nan, inf = np.nan, np.inf
    thresholds = [0.5, None, -0.25]
    logits = [
        [2, 1, 0],
        [1, 2, 0],
        [0, 1, 2],
        [1, 1, 1],
        [0, 2, 2],
        [nan, 1, 0],
        [0, 1, nan],
        [inf, 0, inf],
        [-inf] * 3,
    ]
    just_below = float(np.nextafter(np.float32(0.5), np.float32(0)))
    scores = [0.5, just_below, -0.25, nan, inf, -inf]
    teacher = [0, 1, 1, -3, 1]
    cases = [(thresholds, one, score, teacher, None) for one in logits for score in scores]
    for said in ([0, 0, 0, 0, 0], [1, 2, 2, 1, 0], [-inf, -inf, 3, inf, inf], [nan, 0, 0, 0, 0], [0, 0, 0, 0, nan]):
        cases += [(thresholds, [0, 1, 0], 0.0, said, adaptation) for adaptation in (None, _adaptation(random))]
    for _ in range(30):
        limits = [float(value) for value in random.normal(size=3)]
        said = 5 * random.normal(size=5)
        cases.append((limits, random.normal(size=3), float(random.normal()) - 1, said, _adaptation(random)))
    return [_decision(*case) for case in cases]


def _adaptation(random: np.random.Generator) -> dict:
    prior, source = random.dirichlet(np.full(5, 0.3)), random.dirichlet(np.full(5, 5.0))
    return {
        "temperature": float(random.uniform(0.5, 3)),
        "bias": random.normal(size=5).tolist(),
        "prior": (np.array([0, *(prior[1:] / prior[1:].sum())])).tolist(),
        "source_prior": source.tolist(),
        "images": 100,
        "calibration_images": 10,
    }


def _decision(thresholds: list, logits: Any, score: float, teacher: Any, adaptation: dict | None) -> dict:
    """Returns a case as export/runtime.py answers it, with networks that say just this."""
    manifest = _manifest(thresholds, adaptation)
    outputs = {"score": [score], "logits": logits, "probabilities": np.zeros(3)}
    order = sorted(outputs, key=manifest["student"]["outputs"].__getitem__)
    networks = {"student": Saying(*(outputs[name] for name in order)), "teacher": Saying(teacher)}
    bundle = Bundle(Path("bundle"), manifest)
    case = {
        "thresholds": thresholds,
        "student_logits": plain(np.float32(logits)),
        "score": plain(np.float32(score))[0],
        "teacher_logits": plain(np.float32(teacher)),
        "adaptation": adaptation,
    }
    with mock.patch.object(runtime, "network_of", lambda _, which, threads: networks[which]):
        cascade = runtime.Cascade(bundle)
        try:
            answers = cascade.classify_batch(np.zeros((1, SIZE, SIZE, 3), np.uint8))
        except UserError as error:
            return case | {"error": kind(error)}
    case |= {"label": int(answers.label[0]), "by_student": bool(answers.by_student[0])}
    if adaptation is not None:
        case["adapted"] = plain(bundle.adaptation.adapted(np.float32([teacher])))
    return case


# --- Bundles ----------------------------------------------------------------------------------------------------------


def _files() -> dict[str, bytes]:
    golden = io.BytesIO()
    random = np.random.default_rng(3)
    np.savez(
        golden,
        images=random.integers(0, 256, (2, SIZE, SIZE, 3), np.uint8),
        label=np.array([4, 1]),
        by_student=np.array([True, False]),
        student_score=np.float32([0.75, 0.25]),
    )
    networks = {f"{name}.tflite": f"the network {name}".encode() for name in ("student", "student_builtin", "teacher")}
    return {**networks, "labels.txt": "".join(f"{name}\n" for name in NAMES).encode(), "golden.npz": golden.getvalue()}


def _manifest(thresholds: list, adaptation: dict | None) -> dict:
    files = _files()

    def entry(name: str) -> dict:
        return {"file": name, "bytes": len(files[name]), "sha256": hashlib.sha256(files[name]).hexdigest()}

    network = {"float_macs": 1000, "binary_macs": 64000, "flops": 4000.0}
    threshold = {"values": thresholds, "rule": "risk", "options": {"epsilon": 0.05}, "promise": "some", "coverage": 0.5}
    student = network | {
        "outputs": {"logits": 2, "probabilities": 0, "score": 1},
        "score": "msp",
        "threshold": {**threshold, "disagreement": None, "why_all_deferred": None},
        "expected": {"deferral_rate": 0.5, "gie": 0.4, "speedup": 1.5},
    }
    manifest = {
        **about(2, SIZE, NAMES, CLASSES),
        "student": {**entry("student.tflite"), **student, "runtime": "lce", "network": "binary"},
        "student_builtin": {**entry("student_builtin.tflite"), **student, "runtime": "tflite", "network": "twin_int8"},
        "teacher": {
            **entry("teacher.tflite"),
            **network,
            "runtime": "tflite",
            "network": "teacher",
            "precision": "float32",
            "outputs": {"logits": 0},
        },
        "labels": entry("labels.txt"),
        "golden": {**entry("golden.npz"), "images": 2},
    }
    return manifest if adaptation is None else manifest | {"adaptation": adaptation}


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
    intact = _files()
    manifest = _manifest([0.5, None, -0.25], _adaptation(np.random.default_rng(4)))
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
            files = {name: None if other is None else text(other)}
            cases.append({"name": f"{name} {what}", "change": None, "files": files})
    broken = [b"{", b"no", b'{"schema_version": NaN}', b"\xff", b"[]", b"3", b'{"a": 1} x', b"[" * 100_000, b"{'a': 1}"]
    for content in broken:
        case = {"name": f"manifest.json {content[:24]!r}", "files": {"manifest.json": text(content)}}
        cases.append(case | {"change": None})
    told = [case | {"error": _told(intact, manifest, case)} for case in cases]
    return {"files": {name: text(content) for name, content in intact.items()}, "cases": told}


def _checksum(manifest: bytes) -> bytes:
    return f"{hashlib.sha256(manifest).hexdigest()}  manifest.json\n".encode()


def _told(intact: dict[str, bytes], manifest: dict, case: dict) -> str | None:
    """Returns what Python calls wrong with a case, its golden file too; None where nothing is."""
    files = dict(intact)
    if case["change"] is not None:
        files["manifest.json"] = json.dumps(_changed(manifest, **case["change"])).encode()
        files["manifest.sha256"] = _checksum(files["manifest.json"])
    files |= {name: None if content is None else base64.b64decode(content) for name, content in case["files"].items()}
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            if content is not None:
                Path(folder, name).write_bytes(content)
        try:
            golden_arrays(load_bundle(folder))
        except UserError as error:
            return kind(error)
    return None


def _changed(manifest: dict, at: list, value: Any = ...) -> dict:
    changed = copy.deepcopy(manifest)
    inside: Any = changed
    for key in at[:-1]:
        inside = inside[key]
    if value is ...:
        del inside[at[-1]]
    else:
        inside[at[-1]] = value
    return changed


# --- All of them ------------------------------------------------------------------------------------------------------


def vectors() -> dict[str, Any]:
    """Returns the content of each file of vectors by its name."""
    return {"pictures.json": pictures(), "decisions.json": decisions(), "bundles.json": bundles()}


def written(content: Any) -> str:
    """Returns a file of vectors, one case a line."""
    if isinstance(content, list):
        return "[\n" + ",\n".join(json.dumps(case, allow_nan=False) for case in content) + "\n]\n"
    return '{"files": ' + json.dumps(content["files"]) + ',\n"cases": ' + written(content["cases"]).strip() + "}\n"


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, content in vectors().items():
        (FOLDER / name).write_text(written(content))
