"""Where the values of a setting lie on its axis, as a picture and a forest need them: numbers in 0..1."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from envise_tf.tuning.space import Choices, Dimension, Space, setting_text


def positions(space: Space, rows: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Returns where the values of some trials lie in the space.

    A number of a range lies between its ends 0 and 1, by difference or by ratio as the space's scale says; choices
    lie at equal distances, in their order. One number a setting is enough for a tree too: two cuts single a choice out.

    Args:
        space: of k settings.
        rows: the values of n trials, by setting; lists and tuples are the same.

    Returns:
        float (n, k), in 0..1; NaN where a value is not in the space, as the baseline's may be.
    """
    found = [[position(dimension, row[key]) for key, dimension in space.dimensions.items()] for row in rows]
    return np.array(found, float).reshape(len(rows), len(space.dimensions))


def position(dimension: Dimension, value: Any) -> float:
    """Returns where a value lies on its axis, see `positions`."""
    if isinstance(dimension, Choices):
        texts = [setting_text(choice) for choice in dimension.values]
        text = setting_text(value)
        return texts.index(text) / (len(texts) - 1) if text in texts else math.nan
    if value is None or not dimension.least <= value <= dimension.most:
        return math.nan
    if dimension.scale == "log":
        return math.log(value / dimension.least) / math.log(dimension.most / dimension.least)
    return (value - dimension.least) / (dimension.most - dimension.least)
