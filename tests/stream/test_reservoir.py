import numpy as np
import pytest
from scipy import stats

from envise_tf.errors import UserError
from envise_tf.stream.reservoir import Reservoir
from envise_tf.stream.store import read_tree, write_tree

pytestmark = pytest.mark.slow

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
    assert sorted(np.bincount(reservoir.labels)) == [5, 12, 13]
    np.testing.assert_array_equal(keys[numbers_in(reservoir.images)], reservoir.labels)


@pytest.mark.parametrize("classes", [1, 2, 10])
def test_the_last_tenth_of_a_stream_is_a_tenth_of_what_is_kept(classes):
    """A class that was ever the largest is full for good. Where the room cannot be shared evenly and a class counts as
    full only while it is the largest, classes take the odd place from each other for ever, with every image."""
    shares = []
    for seed in range(10):
        reservoir = holding(205, seed)
        labels = np.random.default_rng(seed).integers(classes, size=20_000)
        for start in range(0, 20_000, 1000):
            numbers = np.arange(start, start + 1000)
            reservoir.add(numbered(numbers), labels[numbers], labels[numbers])
        shares.append((numbers_in(reservoir.images) >= 18_000).mean())
    # 2,050 images in all: four standard deviations of a share of a tenth.
    assert np.mean(shares) == pytest.approx(0.1, abs=4 * np.sqrt(0.09 / 2050))


def test_a_class_that_comes_late_takes_its_share_of_the_room():
    reservoir = holding(30)
    keys = np.array([0] * 200 + [1] * 200 + [2] * 100)
    reservoir.add(numbered(np.arange(500)), keys, keys)
    # The first one gives half of its room to the second; then the third takes from the two in turns.
    assert np.bincount(reservoir.labels).tolist() == [10, 10, 10]


def test_no_count_goes_over_all_that_is_kept(monkeypatch):
    reservoir = holding(300)
    monkeypatch.setattr(np, "unique", None)
    reservoir.add(numbered(np.arange(2000)), np.arange(2000) % 3, np.arange(2000) % 3)
    assert np.bincount(reservoir.labels).tolist() == [100, 100, 100]


def test_what_is_dropped_is_forgotten():
    reservoir = holding(10)
    reservoir.add(numbered(np.arange(8)), np.arange(8) % 2, np.arange(8) % 2)
    reservoir.keep(np.array([1]))
    assert numbers_in(reservoir.images).tolist() == [1, 3, 5, 7]
    reservoir.add(numbered(np.arange(20, 26)), np.zeros(6, int), np.zeros(6, int))
    assert sorted(numbers_in(reservoir.images)) == [1, 3, 5, 7, 20, 21, 22, 23, 24, 25]


def test_it_goes_on_from_a_snapshot_as_if_nothing_had_happened(tmp_path):
    one, other = holding(10), holding(10, seed=9)
    one.add(numbered(np.arange(30)), np.arange(30) % 3, np.arange(30) % 3)
    write_tree(tmp_path / "state.npz", one.snapshot())
    other.restore(read_tree(tmp_path / "state.npz"))
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
