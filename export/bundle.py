"""The mobile bundle: one folder with the networks, the labels, a self-test, and a manifest that vouches for them.

    student.tflite          the binary student, for Larq Compute Engine's interpreter; may be left out
    student_builtin.tflite  a student of stock TensorFlow Lite operators
    teacher.tflite          answers what the student defers
    labels.txt              the teacher's class names, one a line
    golden.npz              real images with the answers of these files
    manifest.json           all that an app has to know; schema/manifest.schema.json describes every key
    manifest.sha256         the manifest's own checksum, as `sha256sum -c manifest.sha256` reads it

A bundle is used as a whole or not at all: a wrong class map or threshold would give wrong labels without any sign. So
`load_bundle` checks the manifest against its schema and its checksum, size and SHA-256 of every file, and that the
parts fit together. The checks are against damage and mix-ups; they do not say who made the bundle.
It needs NumPy and jsonschema, neither TensorFlow nor Larq.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from envise_tf.errors import UserError
from envise_tf.export.adaptation import BundleAdaptation
from envise_tf.export.json_schema import schema_problem, shortened, strict_json
from envise_tf.files import whole
from envise_tf.prior.shift import PRIOR_TOLERANCE

SCHEMA_VERSION = 2
"""Of the manifests that are written."""

READ_VERSIONS = (1, 2)
"""Of the manifests that are read; version 1 knows no adapted teacher."""

MANIFEST = "manifest.json"
CHECKSUM = "manifest.sha256"

Student = Literal["student", "student_builtin"]
File = Literal["student", "student_builtin", "teacher", "labels", "golden"]
"""The keys of the manifest that name a file."""

_FILES: tuple[File, ...] = ("student", "student_builtin", "teacher", "labels", "golden")
_STUDENTS: tuple[Student, ...] = ("student", "student_builtin")
_AGAIN = "export the bundle again, or copy it again if it was copied"


@dataclass(frozen=True)
class Bundle:
    """A bundle whose files and manifest have been checked, as `load_bundle` gives it.

    Responsible for what the manifest says. Not for running a network.

    Attributes:
        folder: where the files are.
        manifest: the content of manifest.json.
    """

    folder: Path
    manifest: dict[str, Any]

    @property
    def class_names(self) -> tuple[str, ...]:
        """The name of each of the teacher's classes."""
        return tuple(self.manifest["class_names"])

    @property
    def teacher_classes(self) -> tuple[int, ...]:
        """The teacher's class of each of the student's."""
        return tuple(int(label) for label in self.manifest["teacher_classes"])

    @property
    def image_size(self) -> int:
        """Height and width in pixels of the images that every network takes."""
        return int(self.manifest["input"]["size"])

    @property
    def files(self) -> tuple[File, ...]:
        """The files that there are beside the manifest."""
        return tuple(which for which in _FILES if which in self.manifest)

    @property
    def adaptation(self) -> BundleAdaptation | None:
        """How the teacher is adapted to the stream's prior; None where it answers by its logits as they are."""
        entry = self.manifest.get("adaptation")
        return None if entry is None else BundleAdaptation.of(entry)

    def thresholds(self, which: Student) -> np.ndarray:
        """Returns one threshold a class of the student's, float32, +inf where the class is always deferred.

        Raises:
            UserError: the bundle has no such student.
        """
        values = self._entry(which)["threshold"]["values"]
        return np.array([math.inf if value is None else value for value in values], np.float32)

    def path(self, which: File) -> Path:
        """Returns the path of a file.

        Raises:
            UserError: the bundle has no such file.
        """
        return self.folder / self._entry(which)["file"]

    def content(self, which: File) -> bytes:
        """Returns the bytes of a file, checked against the manifest once more: it may have changed since.

        Raises:
            UserError: the bundle has no such file, it is gone, or its size or SHA-256 differs.
        """
        return _checked_content(self.path(which), self._entry(which))

    def _entry(self, which: File) -> dict[str, Any]:
        if which not in self.manifest:
            raise UserError(
                f"the bundle {self.folder} has no {which}: expected one of {', '.join(self.files)}; "
                "a bundle of a twin alone has only the built-in student"
            )
        return self.manifest[which]


def load_bundle(folder: str | Path) -> Bundle:
    """Returns the bundle in a folder, once the manifest and every file have been checked.

    Raises:
        UserError: the folder or a file is missing; the manifest is not JSON, of another schema version, or breaks the
            schema; size or SHA-256 of a file or of the manifest differ; or class names, class map and thresholds do
            not fit together.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"there is no bundle {folder}: expected the folder that python -m envise_tf.export has written")
    path = folder / MANIFEST
    content = _read(path)
    bundle = Bundle(folder, _checked_manifest(content, str(path)))
    _check_manifest_checksum(folder, content)
    for which in bundle.files:
        bundle.content(which)
    _check_labels(bundle)
    return bundle


def file_entry(path: str | Path) -> dict[str, Any]:
    """Returns what the manifest says of a file: "file" (its name), "bytes" and "sha256" (hexadecimal)."""
    path = Path(path)
    return _entry_of(path.name, path.read_bytes())


def write_manifest(folder: str | Path, manifest: dict[str, Any]) -> None:
    """Writes manifest.json and its checksum into a folder, once it is what `load_bundle` accepts.

    Each file is written whole or not at all; a manifest without its own checksum is refused by `load_bundle`.

    Args:
        folder: of the bundle.
        manifest: plain values, as the schema describes them.

    Raises:
        UserError: the manifest breaks the schema, or its class map and thresholds do not fit together.
    """
    content = (json.dumps(manifest, indent=2, ensure_ascii=False) + "\n").encode()
    path = Path(folder) / MANIFEST
    _checked_manifest(content, str(path))
    for file, written in ((path, content), (path.with_name(CHECKSUM), _checksum_line(content))):
        with whole(file) as unfinished:
            unfinished.write_bytes(written)


# --- The manifest ----------------------------------------------------------------------------------------------------


def _checked_manifest(content: bytes, name: str) -> dict[str, Any]:
    """Returns the manifest that some bytes hold; the schema version is looked at before all else."""
    try:
        manifest = strict_json(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{name} is not JSON ({shortened(str(error))}): expected a manifest; {_AGAIN}") from None
    version = manifest.get("schema_version") if isinstance(manifest, dict) else None
    if isinstance(version, int) and version not in READ_VERSIONS:
        raise UserError(
            f"{name} has schema version {version}, expected {' or '.join(map(str, READ_VERSIONS))}: export the bundle "
            "again with this version of envise-tf, or read it with the version that wrote it"
        )
    broken = schema_problem(manifest, "manifest")
    if broken is not None:
        raise UserError(f"{name} {broken}; {_AGAIN}")
    for problem in _misfits(manifest):
        raise UserError(f"{name}: {problem}; {_AGAIN}")
    return manifest


def _misfits(manifest: dict[str, Any]) -> Iterator[str]:
    """Yields what no schema can say: parts of the manifest that do not fit together."""
    names, classes = len(manifest["class_names"]), manifest["teacher_classes"]
    if max(classes) >= names:
        yield f"teacher_classes has class {max(classes)}, expected 0 to {names - 1}: there are {names} class names"
    for which in (which for which in _STUDENTS if which in manifest):
        values = manifest[which]["threshold"]["values"]
        if len(values) != len(classes):
            yield f"{which} has {len(values)} thresholds, expected {len(classes)}: one for each of its classes"
        for value in values:
            if value is not None and not abs(value) <= np.finfo(np.float32).max:
                yield f"{which} has the threshold {value}, expected a finite float32, or null to defer always"
        outputs = manifest[which]["outputs"]
        if len(set(outputs.values())) < len(outputs):
            yield f"{which} has the outputs {outputs}, expected an index of its own for each"
    if "adaptation" in manifest:
        yield from _misfits_of_adaptation(manifest["adaptation"], names)


def _misfits_of_adaptation(adaptation: dict[str, Any], names: int) -> Iterator[str]:
    for key in ("bias", "prior", "source_prior"):
        if len(adaptation[key]) != names:
            yield f"adaptation has a {key} of {len(adaptation[key])} numbers, expected {names}: one for each class name"
    for key in ("prior", "source_prior"):
        if abs(sum(adaptation[key]) - 1) > PRIOR_TOLERANCE:
            yield f"adaptation has a {key} that sums to {sum(adaptation[key]):g}, expected shares that sum to 1"


# --- The files -------------------------------------------------------------------------------------------------------


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        reason = "it is missing" if isinstance(error, FileNotFoundError) else error.strerror
        raise UserError(f"cannot read {path} ({reason}): expected a file of the bundle; {_AGAIN}") from None


def _checksum_line(manifest: bytes) -> bytes:
    """Returns the line that sha256sum writes of a manifest."""
    return f"{hashlib.sha256(manifest).hexdigest()}  {MANIFEST}\n".encode()


def _check_manifest_checksum(folder: Path, manifest: bytes) -> None:
    if _read(folder / CHECKSUM) != _checksum_line(manifest):
        raise UserError(
            f"{folder / MANIFEST} is not what {CHECKSUM} vouches for: expected the manifest as it was written; "
            f"{_AGAIN}; after a change of your own, sha256sum {MANIFEST} > {CHECKSUM}"
        )


def _entry_of(name: str, content: bytes) -> dict[str, Any]:
    return {"file": name, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _checked_content(path: Path, entry: dict[str, Any]) -> bytes:
    content = _read(path)
    found = _entry_of(path.name, content)
    for key, of_what in (("bytes", "bytes"), ("sha256", "as SHA-256")):
        if found[key] != entry[key]:
            raise UserError(
                f"{path} has {found[key]} {of_what}, expected {entry[key]}: it is not the file that the manifest "
                f"describes; {_AGAIN}"
            )
    return content


def _check_labels(bundle: Bundle) -> None:
    written = bundle.content("labels").decode("utf-8", "replace")
    if written != "".join(f"{name}\n" for name in bundle.class_names):
        lines = written.splitlines()
        raise UserError(
            f"{bundle.path('labels')} has {len(lines)} labels, beginning with {lines[:1]}; expected the "
            f"{len(bundle.class_names)} class names of {MANIFEST}, beginning with {bundle.class_names[0]!r}, "
            f"one a line; {_AGAIN}"
        )
