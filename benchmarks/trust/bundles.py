"""Bundles whose manifest, networks, golden file or labels were damaged, with sizes and hashes put right again.

Nine in ten have the checksums of what they hold now, so that the parsers behind them are reached. The others must not
answer at all. Those are read by `export.verify` and then asked for answers without it.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from envise_tf.errors import UserError
from envise_tf.export.bundle import CHECKSUM, MANIFEST
from envise_tf.export.runtime import Cascade
from envise_tf.export.settings import VerifySettings
from envise_tf.export.verify import Failed, verify
from trust.feeding import WrongAnswer
from trust.values import hostile

_NETWORKS = ("student", "student_builtin", "teacher")
_FILES = (*_NETWORKS, "golden", "labels")
_IMAGES = 4

Files = dict[str, bytes]
"""The content of each file of a bundle by its name; None under a name stands for none."""


class Feeder:
    """See `trust.feeding.Feeder`."""

    readings = 3

    def __init__(self, folder: Path, bundle: Path) -> None:
        self._folder = folder / "bundle"
        self._files = {path.name: path.read_bytes() for path in bundle.iterdir() if path.is_file()}
        size = json.loads(self._files[MANIFEST])["input"]["size"]
        self._images = np.random.default_rng(0).integers(0, 256, (_IMAGES, size, size, 3), np.uint8)

    def made(self, seed: int) -> tuple[str, tuple[Files, bool]]:
        """Returns what was done, and the files with whether their checksums are those of what they hold now."""
        random = np.random.default_rng(seed)
        kind = list(_KINDS)[seed % len(_KINDS)]
        files = dict(self._files)
        _KINDS[kind](random, files)
        is_right = bool(random.random() < 0.9)
        if is_right:
            _put_right(files)
        return f"{kind}{'' if is_right else ', checksums left'}", (files, is_right or files == self._files)

    def read(self, given: tuple[Files, bool]) -> str | None:
        files, may_answer = given
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir()
        for name, content in files.items():
            (self._folder / name).write_bytes(content)
        refusal = None
        try:
            verify(VerifySettings(str(self._folder)))
        except (Failed, UserError) as error:
            refusal = str(error)
        for builtin in (False, True):
            try:
                Cascade.load(self._folder, builtin).classify_batch(self._images)
            except UserError as error:
                refusal = refusal or str(error)
        if refusal is None and not may_answer:
            raise WrongAnswer("it answers though the checksums are others")
        return refusal


def _put_right(files: Files) -> None:
    """Gives the manifest sizes and checksums of all files that there are, as far as it still has a place for them."""
    try:
        manifest = json.loads(files[MANIFEST])
    except (ValueError, RecursionError):
        manifest = None
    if isinstance(manifest, dict):
        for which in _FILES:
            entry = manifest.get(which)
            if isinstance(entry, dict) and isinstance(entry.get("file"), str) and entry["file"] in files:
                content = files[entry["file"]]
                entry |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        files[MANIFEST] = json.dumps(manifest, indent=2).encode()
    files[CHECKSUM] = f"{hashlib.sha256(files[MANIFEST]).hexdigest()}  {MANIFEST}\n".encode()


def _network(random: np.random.Generator) -> str:
    return f"{_NETWORKS[random.integers(len(_NETWORKS))]}.tflite"


def _flipped(name: Callable[[np.random.Generator], str]) -> Callable[[np.random.Generator, Files], None]:
    def change(random: np.random.Generator, files: Files) -> None:
        which = name(random)
        content = bytearray(files[which])
        for place in random.integers(len(content), size=random.integers(1, 20)):
            content[place] ^= 1 << int(random.integers(8))
        files[which] = bytes(content)

    return change


def _truncated(name: Callable[[np.random.Generator], str]) -> Callable[[np.random.Generator, Files], None]:
    def change(random: np.random.Generator, files: Files) -> None:
        which = name(random)
        files[which] = files[which][: random.integers(len(files[which]))]

    return change


def _offsets(random: np.random.Generator, files: Files) -> None:
    """Numbers in the tables of a flatbuffer, which stand at its beginning and end, replaced by odd ones."""
    name = _network(random)
    content = bytearray(files[name])
    words = len(content) // 4
    for _ in range(random.integers(1, 5)):
        near = int(random.integers(min(words, 2000)))
        at = 4 * (near if random.integers(2) else words - 1 - near)
        old = struct.unpack_from("<I", content, at)[0]
        new = int(
            random.choice([0, 1, 4, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, old + 4, old ^ 1, random.integers(2**32)])
        )
        struct.pack_into("<I", content, at, new % 2**32)
    files[name] = bytes(content)


def _swapped(random: np.random.Generator, files: Files) -> None:
    """Files under each other's names."""
    one, other = random.choice([f"{which}.tflite" for which in _NETWORKS], 2, replace=False)
    files[one], files[other] = files[other], files[one]


def _manifest(random: np.random.Generator, files: Files) -> None:
    """Values anywhere in the manifest replaced, removed or doubled."""
    manifest = json.loads(files[MANIFEST])
    for _ in range(random.integers(1, 4)):
        places = list(_places(manifest))
        holder, key = places[random.integers(len(places))]
        what = random.integers(4)
        if what == 0:
            del holder[key]
        elif what == 1 and isinstance(holder, dict):
            holder[f"{key} "] = holder[key]
        else:
            holder[key] = hostile(random)
    files[MANIFEST] = json.dumps(manifest, default=str).encode()


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Returns each place in a tree of JSON, as what holds it and its key there."""
    keys = list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
    return [(value, key) for key in keys] + [place for key in keys for place in _places(value[key])]


def _text(random: np.random.Generator, files: Files) -> None:
    """What is no JSON, or more of it than a parser's stack holds."""
    depth = int(2 ** random.uniform(4, 18))
    texts = (b"", b"\xff\xfe", b"[" * depth, b'{"a":' * depth, b"[" * depth + b"]" * depth, b"9" * 5000, b"nul")
    files[MANIFEST] = texts[random.integers(len(texts))]


def _golden(random: np.random.Generator, files: Files) -> None:
    """Arrays of the golden file replaced: other shapes and types, pickled objects, no numbers."""
    with np.load(io.BytesIO(files["golden.npz"])) as file:
        arrays = dict(file)
    name = list(arrays)[random.integers(len(arrays))]
    array = arrays[name]
    replaced = (
        array[:0],
        array[:1],
        array.astype(np.float64),
        np.array([{"pickled": 1}], object),
        np.full(array.shape, np.nan),
        np.zeros((1 << 24, 8), np.uint8),
        array.reshape(-1),
        np.array("text"),
        1 - array.astype(np.int64),
    )
    arrays[name] = replaced[random.integers(len(replaced))]
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    files["golden.npz"] = buffer.getvalue()


def _labels(random: np.random.Generator, files: Files) -> None:
    lines = files["labels.txt"].splitlines(keepends=True)
    texts = (b"".join(lines[::-1]), b"".join(lines[1:]), b"\xff" * 20, b"", b"a\n" * 10**6, files["labels.txt"] + b"\n")
    files["labels.txt"] = texts[random.integers(len(texts))]


def _missing(random: np.random.Generator, files: Files) -> None:
    del files[list(files)[random.integers(len(files))]]
    files.setdefault(MANIFEST, b"{}")


_KINDS: dict[str, Callable[[np.random.Generator, Files], None]] = {
    "network: bits flipped": _flipped(_network),
    "network: truncated": _truncated(_network),
    "network: offsets": _offsets,
    "networks swapped": _swapped,
    "manifest: values": _manifest,
    "manifest: bits flipped": _flipped(lambda random: MANIFEST),
    "manifest: text": _text,
    "golden: arrays": _golden,
    "golden: bits flipped": _flipped(lambda random: "golden.npz"),
    "golden: truncated": _truncated(lambda random: "golden.npz"),
    "labels": _labels,
    "file missing": _missing,
}
