import numpy as np
import pytest
import tensorflow as tf

from envise_tf.images.halves import images_for, is_in_part
from envise_tf.images.source import fingerprint

COUNT = 20_000
FINGERPRINTS = np.random.default_rng(0).integers(0, 2**62, COUNT)
IMAGE = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)


def members(part: str, protocol: str) -> np.ndarray:
    return is_in_part(tf.constant(FINGERPRINTS), part, protocol).numpy()


def print_of(content: np.ndarray | bytes) -> int:
    return int(fingerprint(tf.constant(content)).numpy())


def test_disjoint_parts_cover_all_and_share_nothing():
    parts = [members(part, "disjoint") for part in ("teacher", "calibration", "stream", "held_back")]
    np.testing.assert_array_equal(np.sum(parts, axis=0), np.ones(COUNT))


def test_shared_gives_the_teacher_what_does_not_calibrate_it_and_the_stream_what_is_not_held_back():
    np.testing.assert_array_equal(members("teacher", "shared"), ~members("calibration", "shared"))
    np.testing.assert_array_equal(members("stream", "shared"), ~members("held_back", "shared"))


def test_what_is_held_back_is_so_under_both_protocols():
    is_of_stream = members("unseen", "disjoint")
    for part in ("stream", "held_back"):
        np.testing.assert_array_equal(members(part, "disjoint"), members(part, "shared") & is_of_stream)


def test_what_chooses_does_not_promise():
    for protocol in ("disjoint", "shared"):
        choosing, promising = members("choosing", protocol), members("promising", protocol)
        assert not (choosing & promising).any()
        np.testing.assert_array_equal(choosing | promising, members("held_back", protocol))


@pytest.mark.parametrize(("protocol", "images"), [("shared", 450), ("disjoint", 900)])
def test_so_many_images_give_60_promising_ones(protocol, images):
    assert images_for(60, protocol) == images
    share = members("promising", protocol).mean()
    assert images * share == pytest.approx(60, rel=0.05)


@pytest.mark.parametrize(
    ("part", "protocol", "share"),
    [
        ("teacher", "disjoint", 11 / 24),
        ("calibration", "disjoint", 1 / 24),
        ("teacher", "shared", 11 / 12),
        ("stream", "disjoint", 2 / 5),
        ("held_back", "disjoint", 1 / 10),
        ("stream", "shared", 4 / 5),
        ("held_back", "shared", 1 / 5),
        ("choosing", "shared", 1 / 15),
        ("promising", "shared", 2 / 15),
        ("promising", "disjoint", 1 / 15),
    ],
)
def test_the_share_of_each_part(part, protocol, share):
    deviation = np.sqrt(share * (1 - share) / COUNT)
    assert members(part, protocol).mean() == pytest.approx(share, abs=4 * deviation)


def test_the_parts_of_small_fingerprints_by_hand():
    # Odd ones stream; of those, whose half (rounded down) divides by five are held back: 1 and 11. Of the even ones,
    # whose half divides by twelve calibrate: 0.
    small = tf.range(12, dtype=tf.int64)
    parts = ("teacher", "calibration", "stream", "held_back")
    found = {part: np.flatnonzero(is_in_part(small, part, "disjoint")).tolist() for part in parts}
    expected = {"teacher": [2, 4, 6, 8, 10], "calibration": [0], "stream": [3, 5, 7, 9], "held_back": [1, 11]}
    assert found == expected


def test_fingerprints_of_pictures_fall_into_the_parts_by_their_shares():
    images = np.random.default_rng(1).integers(0, 256, (500, 4, 4, 3), np.uint8)
    prints = tf.map_fn(fingerprint, tf.constant(images), fn_output_signature=tf.int64)
    assert len(set(prints.numpy())) == 500
    assert 185 <= is_in_part(prints, "teacher", "disjoint").numpy().sum() <= 273  # four deviations of 11 about 229
    assert 23 <= is_in_part(prints, "held_back", "disjoint").numpy().sum() <= 77  # four deviations of 6.7 about 50


def test_the_fingerprint_of_a_fixed_image_is_the_same_on_every_machine():
    assert print_of(IMAGE) == 4388582442007978648
    assert print_of(np.full((32, 32, 3), 200, np.uint8)) == 2188000361114694344
    assert fingerprint(tf.constant(IMAGE)).dtype == tf.int64


def test_equal_pixels_have_one_fingerprint_and_a_single_changed_bit_another():
    assert print_of(IMAGE.copy()) == print_of(IMAGE)
    other = IMAGE.copy()
    other[3, 3, 2] ^= 1
    assert print_of(other) != print_of(IMAGE)


def test_an_encoded_file_counts_by_its_bytes():
    assert print_of(IMAGE.tobytes()) == print_of(IMAGE)
    assert print_of(b"") != print_of(b"\0")


def test_the_fingerprint_does_not_depend_on_the_order_or_company():
    images = np.random.default_rng(2).integers(0, 256, (20, 4, 4, 3), np.uint8)

    def prints(order) -> dict[int, int]:
        dataset = tf.data.Dataset.from_tensor_slices(images[order]).map(fingerprint)
        return dict(zip(order, dataset.as_numpy_iterator(), strict=True))

    assert prints(list(range(20))) == prints(list(reversed(range(20))))
