import numpy as np
import pytest
from scipy import stats

from envise_tf.errors import UserError
from envise_tf.stream.reservoir import Reservoir

SHAPE = (2, 2, 3)


def numbered(numbers) -> np.ndarray:
    """Images that carry their number in the first pixel's first two channels."""
    images = np.zeros((len(numbers), *SHAPE), np.uint8)
    images[:, 0, 0, 0], images[:, 0, 0, 1] = np.divmod(numbers, 256)
    return images


def numbers_in(images: np.ndarray) -> np.ndarray:
    return images[:, 0, 0, 0].astype(int) * 256 + images[:, 0, 0, 1]


def holding(images: int, seed: int = 0) -> Reservoir:
    return Reservoir(images * 12, SHAPE, seed)


def test_every_image_has_the_same_chance_to_be_kept():
    kept = np.zeros(100)
    for seed in range(400):
        reservoir = holding(20, seed)
        for start in range(0, 100, 10):
            numbers = np.arange(start, start + 10)
            reservoir.add(numbered(numbers), numbers, np.zeros(10, int))
        assert len(reservoir) == 20
        kept[numbers_in(reservoir.images)] += 1
    # 400 draws of 20 out of 100: each is expected 80 times.
    assert stats.chisquare(kept).pvalue > 0.001
    assert kept[:20].sum() == pytest.approx(1600, abs=120)


def test_rare_classes_are_kept_whole_and_frequent_ones_share_the_rest():
    reservoir = holding(30)
    keys = np.array([0] * 180 + [1] * 15 + [2] * 5)
    order = np.random.default_rng(0).permutation(200)
    reservoir.add(numbered(np.arange(200)[order]), keys[order], keys[order])
    assert np.bincount(reservoir.labels).tolist() == [13, 12, 5]
    np.testing.assert_array_equal(keys[numbers_in(reservoir.images)], reservoir.labels)


def test_what_is_dropped_is_forgotten():
    reservoir = holding(10)
    reservoir.add(numbered(np.arange(8)), np.arange(8) % 2, np.arange(8) % 2)
    reservoir.keep(np.array([1]))
    assert numbers_in(reservoir.images).tolist() == [1, 3, 5, 7]
    reservoir.add(numbered(np.arange(20, 26)), np.zeros(6, int), np.zeros(6, int))
    assert sorted(numbers_in(reservoir.images)) == [1, 3, 5, 7, 20, 21, 22, 23, 24, 25]


def test_it_goes_on_from_a_snapshot_as_if_nothing_had_happened():
    one, other = holding(10), holding(10, seed=9)
    one.add(numbered(np.arange(30)), np.arange(30) % 3, np.arange(30) % 3)
    other.restore(one.snapshot())
    for reservoir in (one, other):
        reservoir.add(numbered(np.arange(30, 60)), np.arange(30) % 4, np.arange(30) % 4)
    np.testing.assert_array_equal(one.images, other.images)
    np.testing.assert_array_equal(one.labels, other.labels)
    np.testing.assert_array_equal(one.sample(5), other.sample(5))


def test_a_sample_is_of_what_is_kept():
    reservoir = holding(10)
    reservoir.add(numbered([3, 4]), np.zeros(2, int), np.zeros(2, int))
    assert set(numbers_in(reservoir.sample(50))) == {3, 4}


def test_too_little_memory_for_one_image_is_told():
    with pytest.raises(UserError, match=r"11 bytes for images of shape \(2, 2, 3\)"):
        Reservoir(11, SHAPE, 0)
