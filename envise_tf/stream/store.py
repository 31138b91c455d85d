"""The state of a stream as one file: a tree of plain values and arrays, in NumPy's format with JSON inside.

The file holds each array under a number, and under "tree" the rest as JSON, in which {"array": number} stands for an
array. It needs no unpickling, so that reading a file from elsewhere runs nothing that is in it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

_TREE, _ARRAY = "tree", "array"


def write_tree(path: Path, tree: Any) -> None:
    """Writes a tree to a path that ends in .npz.

    Args:
        path: the file.
        tree: dicts with keys of text, lists and tuples (which are read as lists), numbers, text, None and arrays.
    """
    arrays: dict[str, np.ndarray] = {}

    def numbered(value: object) -> object:
        if isinstance(value, np.generic):
            return value.item()
        if not isinstance(value, np.ndarray):
            raise TypeError(f"{type(value).__name__} in the state: expected plain values and arrays")
        number = str(len(arrays))
        arrays[number] = value
        return {_ARRAY: number}

    text = json.dumps(tree, default=numbered)
    np.savez(path, **{_TREE: np.array(text)}, **arrays)


def read_tree(path: Path) -> Any:
    """Returns the tree that `write_tree` has written."""
    with np.load(path, allow_pickle=False) as arrays:
        return json.loads(
            str(arrays[_TREE]), object_hook=lambda plain: arrays[plain[_ARRAY]] if set(plain) == {_ARRAY} else plain
        )
