"""Checks that a TensorFlow Lite flatbuffer is whole before an interpreter's C++ code reads it.

The interpreters of TensorFlow Lite and of Larq Compute Engine follow the offsets in a file without looking whether they
lead out of it: a file cut short ends the process. A flatbuffer is a tree of tables. Where a table begins stands how
far back its vtable lies, and the vtable says how long the table is and where each field is in it; strings, vectors and
further tables are offsets in fields [FlatBuffers internals]. The walk here follows every offset that an interpreter
follows, by TensorFlow Lite's schema (version 3), and asks of each thing whether it lies inside the file, and of each
number of a tensor whether there is such a tensor.

It guards against damage, as the checksum of the manifest does before it. It is no guard against a file made to deceive.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from envise_tf.errors import UserError

_IDENTIFIER = b"TFL3"


@dataclass(frozen=True)
class _Numbers:
    """A vector of numbers, or of characters, of so many bytes each."""

    bytes_each: int


@dataclass(frozen=True)
class _Indices:
    """A vector of numbers of tensors of the subgraph, from `least`: -1 stands for a tensor that is left out."""

    least: int


@dataclass(frozen=True)
class _Table:
    """A table, and what its fields refer to, by the field's number; fields that hold a number are not listed."""

    fields: Mapping[int, Any]


@dataclass(frozen=True)
class _Tables:
    """A vector of tables."""

    each: _Table


@dataclass(frozen=True)
class _Options:
    """A table whose kind is the byte in another field."""

    type_field: int
    kinds: Mapping[int, _Table]


_BYTES, _INTS, _LONGS = _Numbers(1), _Numbers(4), _Numbers(8)
_TEXT = _BYTES
_UNKNOWN = _Table({})

_QUANTIZATION = _Table({0: _INTS, 1: _INTS, 2: _INTS, 3: _LONGS, 5: _UNKNOWN})
_TENSOR = _Table({0: _INTS, 3: _TEXT, 4: _QUANTIZATION, 6: _UNKNOWN, 7: _INTS})
_RESHAPE, _SQUEEZE = 17, 30
_OPTIONS = _Options(3, {_RESHAPE: _Table({0: _INTS}), _SQUEEZE: _Table({0: _INTS})})
_OPERATOR = _Table({1: _Indices(-1), 2: _Indices(0), 4: _OPTIONS, 5: _BYTES, 7: _BYTES, 8: _INTS, 12: _UNKNOWN})
_SUBGRAPH = _Table({0: _Tables(_TENSOR), 1: _Indices(0), 2: _Indices(0), 3: _Tables(_OPERATOR), 4: _TEXT})
_TENSOR_NAMES = _Tables(_Table({0: _TEXT}))
_MODEL = _Table(
    {
        1: _Tables(_Table({1: _TEXT})),  # operator codes
        2: _Tables(_SUBGRAPH),
        3: _TEXT,
        4: _Tables(_Table({0: _BYTES})),  # buffers
        5: _INTS,
        6: _Tables(_Table({0: _TEXT})),  # metadata
        7: _Tables(_Table({0: _TENSOR_NAMES, 1: _TENSOR_NAMES, 2: _TEXT})),  # signatures
    }
)


def check_flatbuffer(content: bytes, name: str) -> None:
    """Checks that all that a TensorFlow Lite flatbuffer refers to lies inside it; takes milliseconds.

    Args:
        content: of the file.
        name: what to call it in errors, such as its path.

    Raises:
        UserError: it is no TensorFlow Lite flatbuffer, or refers to bytes beyond its end.
    """
    try:
        _Walk(content).model()
    except _Broken as broken:
        raise UserError(
            f"{name} ({len(content)} bytes) is no whole TensorFlow Lite model: {broken}; export the bundle again, "
            "or copy it again if it was copied"
        ) from None


class _Broken(Exception):  # noqa: N818 - becomes a UserError, with the file's name
    pass


@dataclass(frozen=True)
class _Walk:
    """Follows offsets from the root; every position is in bytes from the start of the file.

    `tensors` is how many there are in the subgraph that is being walked.
    """

    content: bytes

    def model(self) -> None:
        if self._bytes(4, 4) != _IDENTIFIER:
            raise _Broken(f"expected {_IDENTIFIER.decode()} at byte 4")
        self._visit(0, _MODEL)

    def _visit(self, at: int, what: Any, tensors: int = 0) -> None:
        """Checks what the offset at a position leads to."""
        target = at + self._number("<I", at)
        if isinstance(what, _Table):
            self._table(target, what, tensors)
            return
        count = self._number("<I", target)
        content = self._bytes(target + 4, count * (what.bytes_each if isinstance(what, _Numbers) else 4))
        if isinstance(what, _Indices):
            numbers = struct.unpack(f"<{count}i", content)
            if count and not (what.least <= min(numbers) and max(numbers) < tensors):
                raise _Broken(f"the numbers at byte {target + 4} name tensors that there are not")
        elif isinstance(what, _Tables):
            for index in range(count):
                self._visit(target + 4 + 4 * index, what.each, tensors)

    def _table(self, at: int, table: _Table, tensors: int) -> None:
        vtable = at - self._number("<i", at)
        entries = self._number("<H", vtable) // 2 - 2
        size = self._number("<H", vtable + 2)
        self._bytes(at, size)
        starts = struct.unpack(f"<{max(entries, 0)}H", self._bytes(vtable + 4, 2 * max(entries, 0)))
        if max(starts, default=0) >= max(size, 1):
            raise _Broken(f"the table at byte {at} has a field outside of it")
        if table is _SUBGRAPH and starts and starts[0]:
            tensors = self._number("<I", at + starts[0] + self._number("<I", at + starts[0]))
        for field, what in table.fields.items():
            if field < len(starts) and starts[field]:
                if isinstance(what, _Options):
                    type_start = starts[what.type_field]
                    kind = self._number("<B", at + type_start) if type_start else 0
                    what = what.kinds.get(kind, _UNKNOWN)
                self._visit(at + starts[field], what, tensors)

    def _number(self, form: str, at: int) -> int:
        return struct.unpack(form, self._bytes(at, struct.calcsize(form)))[0]

    def _bytes(self, at: int, count: int) -> bytes:
        if at < 0 or at + count > len(self.content):
            raise _Broken(f"it refers to bytes {at} to {at + count - 1}")
        return self.content[at : at + count]
