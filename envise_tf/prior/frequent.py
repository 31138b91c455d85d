"""Which classes really occur: found from the estimated prior or from predictions, never from labels."""

from __future__ import annotations

import numpy as np


def frequent_classes(prior: np.ndarray, lower: np.ndarray, coverage: float, min_share: float) -> np.ndarray:
    """Returns the smallest set of classes that covers `coverage` of the stream, without those not surely frequent.

    Our choice. A class is frequent when it belongs to the smallest set of the largest shares that covers `coverage` and
    the lower end of its share's interval is above `min_share`. Shares of predicted classes would not do: a teacher's
    errors spread over all classes and look like rare ones, and the set would have to cover these.

    Args:
        prior: float (classes,), the estimated shares, which sum to 1.
        lower: float (classes,), lower ends of their intervals.
        coverage: share of the stream in (0, 1].
        min_share: least share of the stream that a class must have, in [0, 1).

    Returns:
        int64, (frequent classes,), ascending; empty when no class is surely above `min_share`.
    """
    order = np.argsort(-prior, kind="stable")
    shares = prior[order]
    is_needed = np.cumsum(shares) - shares < coverage - 1e-9
    return np.sort(order[is_needed & (lower[order] > min_share)]).astype(np.int64)


def frequent_predictions(predictions: np.ndarray, coverage: float, min_share: float) -> np.ndarray:
    """Returns the smallest set of predicted classes that covers `coverage` of a window, each above `min_share`.

    Our choice. With a teacher that errs, no set of frequent classes covers 99 %: the errors are
    spread over classes of a few images each, and `min_share` keeps these out.

    Args:
        predictions: int, (images,), the class that the teacher predicts for each image of the window.
        coverage: share of the window in (0, 1].
        min_share: least share of the window that a class must have, in [0, 1).

    Returns:
        int64, (classes,), ascending; empty when no class reaches `min_share`.
    """
    classes, counts = np.unique(predictions, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    shares = counts[order] / max(len(predictions), 1)
    needed = np.cumsum(shares) - shares < coverage - 1e-9
    return np.sort(classes[order][needed & (shares >= min_share)]).astype(np.int64)
