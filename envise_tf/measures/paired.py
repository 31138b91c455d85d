"""The difference of paired figures, with Student's interval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats

CONFIDENCE = 0.95


def paired_difference(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, Any]:
    """Returns the mean "difference" of pairs, ours less theirs, and what is known of it from two pairs on.

    Args:
        ours: a figure of each pair.
        theirs: the other.

    Returns:
        "difference"; with two pairs or more "interval", Student's paired interval of 95 %, and "p" of the two-sided
        paired t test, None where all pairs differ by the same.
    """
    differences = np.subtract(ours, theirs)
    result: dict[str, Any] = {"difference": float(differences.mean())}
    if len(differences) < 2:
        return result
    if np.ptp(differences) == 0:
        return result | {"interval": [float(differences[0])] * 2, "p": None}
    test = stats.ttest_rel(ours, theirs)
    interval = test.confidence_interval(CONFIDENCE)
    return result | {"interval": [float(interval.low), float(interval.high)], "p": float(test.pvalue)}
