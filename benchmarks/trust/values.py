"""Values that nobody expects, for manifests and settings."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, -(2**63), 10**30, 0.5, -0.0, 1e308, 1e-320),
    *(float("nan"), float("inf"), -float("inf")),
    *("", " ", "0", "nan", "\0", "a\nb", "\ud800", "é", "x" * 10_000, "../../etc/passwd", "/", "~", "%s{0}", "[bold]"),
    *([], {}, [[]], [None], [1, "a", {}], {"a": {"b": []}}, {"": None}, [0] * 1000),
)


def hostile(random: np.random.Generator) -> Any:
    """Returns a value of JSON, or nearly: numbers that are none, among them, and texts that are no UTF-8."""
    return copy.deepcopy(_VALUES[random.integers(len(_VALUES))])  # lest what is put into a list is in all
