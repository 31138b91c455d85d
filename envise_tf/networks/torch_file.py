"""Reads the tensors of a file that `torch.save` wrote before PyTorch 1.6, without running any code that it names.

Such a file is five pickles in a row (a magic number, the version of the format, facts about the machine, the state
dict, the keys of its storages), then the storages in the order of the keys, each an int64 count of elements and the
elements. A pickle may call whatever it names, so only the few names that a state dict needs are known here; others are
refused.
"""

from __future__ import annotations

import collections
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from envise_tf.errors import UserError, reason_of

_MAGIC = 0x1950A86A20F9469CFC6C
_VERSION = 1001

_DTYPES = {"FloatStorage": "<f4", "HalfStorage": "<f2", "DoubleStorage": "<f8", "LongStorage": "<i8"}


def torch_tensors(path: Path) -> dict[str, np.ndarray]:
    """Returns the state dict of a file in PyTorch's old format, name -> array in the tensor's shape and dtype.

    Raises:
        UserError: the file cannot be read, is none of that format, or names anything that a state dict does not need.
    """
    try:
        with path.open("rb") as file:
            return _read(file)
    except OSError as error:
        raise UserError(f"cannot read {path} ({error.strerror}): expected a state dict of PyTorch") from None
    except (pickle.UnpicklingError, EOFError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise UserError(
            f"{path} is no state dict in PyTorch's format of before 1.6 ({reason_of(error)}): give another"
        ) from None


def _read(file: BinaryIO) -> dict[str, np.ndarray]:
    if _pickled(file) != _MAGIC or _pickled(file) != _VERSION:
        raise ValueError("its first numbers are others")
    _pickled(file)  # facts about the machine; all that write such files are little-endian
    unpickler = _Unpickler(file)
    tensors = unpickler.load()
    for key in _pickled(file):
        storage = unpickler.storages[key]
        (count,) = np.frombuffer(file.read(8), "<i8")
        if count != storage.count:
            raise ValueError(f"{count} elements where {storage.count} are announced")
        content = file.read(int(count) * storage.dtype.itemsize)
        storage.elements = np.frombuffer(content, storage.dtype, int(count))
    return {name: tensor.array() for name, tensor in tensors.items()}


def _pickled(file: BinaryIO) -> Any:
    return _Unpickler(file).load()


@dataclass
class _Storage:
    """Elements that tensors share; they are read after the pickle that mentions them."""

    dtype: np.dtype
    count: int
    elements: np.ndarray | None = None


@dataclass(frozen=True)
class _Tensor:
    """A view of a storage; offset and strides count elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def array(self) -> np.ndarray:
        """Returns a copy of what is seen.

        Raises:
            ValueError: the view reaches beyond its storage, where `as_strided` would read memory of others.
        """
        spans = [(side - 1) * stride for side, stride in zip(self.shape, self.strides, strict=True)]
        is_inside = self.offset >= 0 and self.offset + sum(spans) < self.storage.count
        if not is_inside or min((1, *self.shape)) < 1 or min((0, *self.strides)) < 0 or self.storage.elements is None:
            raise ValueError(
                f"a tensor of shape {self.shape} is not inside its storage of {self.storage.count} elements"
            )
        steps = [stride * self.storage.dtype.itemsize for stride in self.strides]
        return np.lib.stride_tricks.as_strided(self.storage.elements[self.offset :], self.shape, steps).copy()


def _rebuilt(storage: _Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: object) -> _Tensor:
    """Stands in for torch._utils._rebuild_tensor_v2, whose other arguments say how a tensor is trained."""
    if not isinstance(storage, _Storage):
        raise pickle.UnpicklingError("a tensor without a storage")
    return _Tensor(storage, offset, shape, strides)


_KNOWN: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuilt,
    **{("torch", name): np.dtype(dtype) for name, dtype in _DTYPES.items()},
}


class _Unpickler(pickle.Unpickler):
    """Knows the names in `_KNOWN` and no other."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _KNOWN:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which no state dict needs")
        return _KNOWN[module, name]

    def persistent_load(self, reference: Any) -> _Storage:
        kind, dtype, key, _, count, view = reference
        if kind != "storage" or not isinstance(dtype, np.dtype) or view is not None:
            raise pickle.UnpicklingError(f"unknown storage {str(reference)[:60]}")
        return self.storages.setdefault(key, _Storage(dtype, count))
