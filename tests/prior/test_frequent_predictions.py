"""Frequent classes: windows worked out by hand, and the smallest cover found by trying all."""

from itertools import combinations

import numpy as np
import pytest

from envise_tf.prior.frequent import frequent_predictions


def window(**counts):
    """Predictions in mixed order, from the count of each class: window(c3=5) is five images of class 3."""
    predictions = np.concatenate([np.full(count, int(name[1:])) for name, count in counts.items()])
    return np.random.default_rng(1).permutation(predictions)


@pytest.mark.parametrize(
    ("predictions", "coverage", "min_share", "expected"),
    [
        (window(c7=50, c2=30, c5=20), 0.8, 0.0, [2, 7]),
        (window(c7=50, c2=30, c5=20), 0.81, 0.0, [2, 5, 7]),
        (window(c7=50, c2=30, c5=20), 1.0, 0.0, [2, 5, 7]),
        (window(c7=50, c2=30, c5=20), 1.0, 0.3, [2, 7]),
        (window(c7=50, c2=30, c5=20), 0.01, 0.0, [7]),
        (window(c7=50, c2=30, c5=20), 1.0, 0.6, []),
        (window(c9=10, c4=10, c6=10), 0.6, 0.0, [4, 6]),
        (window(c0=985, c1=10, c2=5), 0.99, 0.01, [0, 1]),
        (window(c3=1), 1.0, 0.9, [3]),
        (np.array([], np.int64), 0.99, 0.01, []),
    ],
    ids=["exact", "one-more", "all", "min-share", "one", "none-reaches", "tie", "exactly-min-share", "single", "empty"],
)
def test_windows_worked_out_by_hand(predictions, coverage, min_share, expected):
    found = frequent_predictions(predictions, coverage, min_share)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, expected)


def test_ten_shares_of_a_tenth_cover_three_tenths_with_three():
    assert len(frequent_predictions(np.arange(10), 0.3, 0.0)) == 3


@pytest.mark.parametrize("seed", range(30))
def test_no_smaller_set_covers_as_much(seed):
    random = np.random.default_rng(seed)
    predictions = random.integers(0, random.integers(1, 8), size=random.integers(1, 25))
    coverage = random.choice([0.2, 0.5, 0.75, 0.9, 1.0])
    classes, counts = np.unique(predictions, return_counts=True)
    share = dict(zip(classes, counts / len(predictions), strict=True))
    covers = [
        chosen
        for size in range(1, len(classes) + 1)
        for chosen in combinations(classes, size)
        if sum(share[label] for label in chosen) >= coverage - 1e-9
    ]
    found = frequent_predictions(predictions, coverage, 0.0)
    assert tuple(found) in covers
    assert len(found) == min(map(len, covers))
    assert sum(share[label] for label in found) == pytest.approx(
        max(sum(share[label] for label in chosen) for chosen in covers if len(chosen) == len(found))
    )
