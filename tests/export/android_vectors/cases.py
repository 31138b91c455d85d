"""What all vectors share: a small cascade whose networks say what a case wants, and how cases are written."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from small_bundle import about

from envise_tf.errors import UserError
from envise_tf.export import runtime
from envise_tf.export.bundle import Bundle
from envise_tf.export.runtime import TensorSpec

FOLDER = Path(__file__).parents[3] / "export/android/envise-core/src/test/resources/vectors"
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
    r"logits that are not numbers|logits of \d+ images are NaN or infinite": "NotNumbers",
    r"has a raw teacher": "RawTeacher",
    r"the state of an observation": "WrongState",
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


def written(content: Any) -> str:
    """Returns a file of vectors, one case a line."""
    if isinstance(content, list):
        return "[\n" + ",\n".join(json.dumps(case, allow_nan=False) for case in content) + "\n]\n"
    if isinstance(content, dict) and any(isinstance(value, list) for value in content.values()):
        parts = [f"{json.dumps(key)}: {written(value).strip()}" for key, value in content.items()]
        return "{" + ",\n".join(parts) + "}\n"
    return json.dumps(content, allow_nan=False)


class Saying:
    """A network whose outputs are set from outside, the same for every image."""

    def __init__(self, *outputs: np.ndarray) -> None:
        self.say(*outputs)
        self.input = TensorSpec("uint8", (1, SIZE, SIZE, 3))
        self.outputs = [TensorSpec("float32", output.shape) for output in self._said]

    def say(self, *outputs: np.ndarray) -> None:
        self._said = [np.asarray(output, np.float32)[np.newaxis] for output in outputs]

    def __call__(self, image: np.ndarray) -> list[np.ndarray]:
        return self._said


@contextmanager
def saying(cascade_of: dict[str, Saying]) -> Iterator[None]:
    """Makes the runtime take these networks by their name in the manifest, whatever the bundle's files hold."""
    with mock.patch.object(runtime, "network_of", lambda _, which, threads: cascade_of[which]):
        yield


def student_outputs(manifest: dict, logits: Any, score: float) -> list[np.ndarray]:
    """Returns what the student says, in the order of its outputs."""
    outputs = {"score": [score], "logits": logits, "probabilities": np.zeros(3)}
    return [outputs[name] for name in sorted(outputs, key=manifest["student"]["outputs"].__getitem__)]


def bundle_of(manifest: dict) -> Bundle:
    return Bundle(Path("bundle"), manifest)


def files() -> dict[str, bytes]:
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


def manifest_of(thresholds: list, adaptation: dict | None) -> dict:
    contents = files()

    def entry(name: str) -> dict:
        return {"file": name, "bytes": len(contents[name]), "sha256": hashlib.sha256(contents[name]).hexdigest()}

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


def adaptation_of(random: np.random.Generator) -> dict:
    prior, source = random.dirichlet(np.full(5, 0.3)), random.dirichlet(np.full(5, 5.0))
    return {
        "temperature": float(random.uniform(0.5, 3)),
        "bias": random.normal(size=5).tolist(),
        "prior": (np.array([0, *(prior[1:] / prior[1:].sum())])).tolist(),
        "source_prior": source.tolist(),
        "images": 100,
        "calibration_images": 10,
    }
