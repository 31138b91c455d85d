import numpy as np
import pytest
import tensorflow as tf

from envise_tf.images.augmentation import augmented, blended_labels

SIDE = 16


def noise(count: int, height: int = SIDE, width: int = SIDE) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3), np.uint8)


def changed(images: np.ndarray, seed=(7, 0), **options) -> np.ndarray:
    asked = {"flip": False, "shift": 0.0, "cutout": 0.0, **options}
    seeds = tf.constant(seed, tf.int64)
    return augmented(tf.constant(images), seeds, **asked).numpy()


def offsets(image: np.ndarray, result: np.ndarray, most_y: int, most_x: int) -> list[tuple[int, int]]:
    """The (rows, columns) by which `image`, reflected with its edge repeated, must be moved to give `result`."""
    height, width, _ = image.shape
    wide = np.pad(image, ((most_y, most_y), (most_x, most_x), (0, 0)), mode="symmetric")
    tried = [(y, x) for y in range(2 * most_y + 1) for x in range(2 * most_x + 1)]
    return [(y - most_y, x - most_x) for y, x in tried if (wide[y : y + height, x : x + width] == result).all()]


def test_without_any_change_asked_for_the_images_come_back():
    images = noise(8)
    np.testing.assert_array_equal(changed(images), images)


def test_about_half_of_the_images_are_mirrored_exactly_and_the_rest_untouched():
    images = noise(400, 8, 6)
    results = changed(images, flip=True)
    is_mirrored = (results == images[:, :, ::-1]).all(axis=(1, 2, 3))
    is_same = (results == images).all(axis=(1, 2, 3))
    assert (is_mirrored ^ is_same).all()
    assert 160 <= is_mirrored.sum() <= 240  # four standard deviations of 10 about 200


def test_a_shift_is_a_whole_number_of_pixels_and_reflects_with_the_edge_repeated():
    images = noise(60, 16, 24)
    found = [offsets(image, result, 4, 6) for image, result in zip(images, changed(images, shift=0.25), strict=True)]
    assert all(len(matches) == 1 for matches in found)
    drawn = np.array(found)[:, 0]
    # Uniform up to a quarter of each side: the bounds are reached, but not passed, on both axes and sides.
    np.testing.assert_array_equal(np.abs(drawn).max(axis=0), (4, 6))
    assert (drawn.min(axis=0) <= (-3, -5)).all()
    assert (drawn.max(axis=0) >= (3, 5)).all()
    assert len({tuple(pair) for pair in drawn}) > 30  # each image has its own draw
    assert abs(np.corrcoef(drawn.T)[0, 1]) < 0.5


def test_an_image_is_mirrored_and_shifted_in_one():
    images = noise(30)
    for image, result in zip(images, changed(images, flip=True, shift=0.2), strict=True):
        assert len(offsets(image, result, 3, 3)) + len(offsets(image[:, ::-1], result, 3, 3)) == 1


def test_the_seed_decides():
    images, every = noise(8), {"flip": True, "shift": 0.2, "cutout": 0.3}
    np.testing.assert_array_equal(changed(images, (3, 4), **every), changed(images, (3, 4), **every))
    for other in [(3, 5), (2, 4)]:
        assert (changed(images, other, **every) != changed(images, (3, 4), **every)).any()


@pytest.mark.parametrize(("height", "width", "cutout"), [(32, 32, 0.25), (32, 32, 0.5), (64, 32, 0.25)])
def test_cutout_covers_one_square_of_its_share_in_grey_and_nothing_else(height, width, cutout):
    images = np.zeros((100, height, width, 3), np.uint8)
    results = changed(images, cutout=cutout)
    assert set(np.unique(results)) == {0, 127}
    grey = results == 127
    whole = 0
    for covered in grey:
        rows, columns = covered.any(axis=(1, 2)), covered.any(axis=(0, 2))
        np.testing.assert_array_equal(covered, np.broadcast_to(np.outer(rows, columns)[..., None], covered.shape))
        for line, side in ((rows, height), (columns, width)):
            pixels = np.flatnonzero(line)
            assert np.ptp(pixels) + 1 == len(pixels)  # without a gap
            # Its side is exact within a pixel, and less only where the border of the image cuts it.
            is_cut = pixels[0] == 0 or pixels[-1] == side - 1
            least = 0.5 if is_cut else 1.0
            assert least * cutout * side - 1 <= len(pixels) <= cutout * side + 1
            whole += not is_cut
    assert whole > 50
    assert len({tuple(np.flatnonzero(covered)[:1]) for covered in grey}) > 50  # each image has its own draw


def test_cutout_leaves_the_rest_of_the_image():
    images = noise(20)
    results = changed(images, cutout=0.5)
    hidden = (results == 127).all(axis=-1)
    np.testing.assert_array_equal(results[~hidden], images[~hidden])


def test_shape_and_type_are_kept_also_of_an_oblong_batch_of_unknown_size():
    changes = tf.function(
        lambda images: augmented(images, tf.constant([1, 2], tf.int64), flip=True, shift=0.1, cutout=0.2),
        input_signature=[tf.TensorSpec((None, None, None, 3), tf.uint8)],
    )
    images = noise(5, 12, 20)
    result = changes(images)
    assert result.dtype == tf.uint8
    assert result.shape == (5, 12, 20, 3)
    np.testing.assert_array_equal(result, changed(images, (1, 2), flip=True, shift=0.1, cutout=0.2))


def test_mixup_blends_each_image_with_the_one_before_it_by_a_share_of_its_own():
    images = np.zeros((64, 4, 4, 3), np.uint8)
    images[1::2] = 200
    results = changed(images, mixup=0.5).astype(float)
    assert (results == results[:, :1, :1, :1]).all()
    shares = np.abs(results - images)[:, 0, 0, 0] / 200
    assert shares.max() <= 0.5
    assert 0.2 < shares.mean() < 0.3
    assert len(set(shares)) > 40


def test_mixup_leaves_a_share_of_the_images_as_they_are_and_blends_the_others_as_ever():
    images = noise(399, 4, 4)
    all_mixed, mixed = changed(images, mixup=1.0), changed(images, mixup=1.0, mixed=0.7)
    blended = blended_labels(tf.constant(np.arange(399) % 3), 3, tf.constant((7, 0), tf.int64), 1.0, 0.7).numpy()
    is_left = blended.max(axis=1) == 1
    assert 0.2 < is_left.mean() < 0.4
    np.testing.assert_array_equal(mixed[is_left], images[is_left])
    np.testing.assert_array_equal(mixed[~is_left], all_mixed[~is_left])
    np.testing.assert_array_equal(changed(images, mixup=1.0, mixed=0.0), images)


def test_labels_are_blended_by_the_shares_of_their_images():
    images = np.zeros((64, 4, 4, 3), np.uint8)
    images[1::2] = 200
    labels = np.arange(64) % 2
    blended = blended_labels(tf.constant(labels), 3, tf.constant((7, 0), tf.int64), 0.5).numpy()
    np.testing.assert_allclose(blended.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(blended[:, 1], changed(images, mixup=0.5)[:, 0, 0, 0] / 200, atol=0.5 / 200 + 1e-6)
    assert (blended[:, 2] == 0).all()
