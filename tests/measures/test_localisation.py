"""Attention against boxes: cases by hand, what holds for any map, and an area worked out pixel by pixel."""

import envise_tf  # noqa: F401  (first: it asks TensorFlow for Keras 2)

# isort: split
import numpy as np
import pytest
import tensorflow as tf

from envise_tf.errors import UserError
from envise_tf.measures.localisation import Localisation, box_area, localisation, pointing_game, share_inside
from envise_tf.networks.grad_cam import grad_cam

layers = tf.keras.layers


@pytest.fixture
def random():
    return np.random.default_rng(7)


def random_boxes(random, count):
    corners = np.sort(random.random((count, 2, 2)), axis=1)
    return corners.reshape(count, 4).astype(np.float32)  # ymin, xmin, ymax, xmax


def one_hot(row, column, shape=(4, 4)):
    made = np.zeros((1, *shape), np.float32)
    made[0, row, column] = 1
    return made


# --- Share inside ----------------------------------------------------------------------------------------------------


def test_share_inside_by_hand():
    maps = np.array([[[1, 2], [3, 4]]], np.float32)
    assert share_inside(maps, [[0, 0, 0.5, 0.5]]) == pytest.approx([0.1])
    assert share_inside(maps, [[0.5, 0, 1, 1]]) == pytest.approx([0.7])
    assert share_inside(maps, [[0.25, 0.25, 0.75, 0.75]]) == pytest.approx([0.25])  # a quarter of every cell
    assert share_inside(maps, [[0.25, 0.5, 1, 0.75]]) == pytest.approx([(0.25 * 2 + 0.5 * 4) / 10])
    assert share_inside(maps, [[0, 0, 1, 1]]) == [1]
    assert share_inside(maps, [[0.3, 0.3, 0.3, 0.9]]) == [0]


@pytest.mark.parametrize("shape", [(1, 1), (4, 4), (7, 3)])
def test_a_uniform_map_has_the_boxs_area_inside(random, shape):
    boxes = random_boxes(random, 200)
    uniform = np.full((200, *shape), 0.37, np.float32)
    np.testing.assert_allclose(share_inside(uniform, boxes), box_area(boxes), atol=1e-12)


def test_share_inside_is_that_of_the_map_drawn_in_pixels(random):
    maps = random.random((50, 4, 5)).astype(np.float32)
    corners = np.sort(random.integers(0, 41, (50, 2, 2)), axis=1) * [[[1, 1]]]
    drawn = np.kron(maps, np.ones((1, 10, 8)))  # 40 x 40 pixels
    expected = [
        picture[top:bottom, left:right].sum() / picture.sum()
        for picture, ((top, left), (bottom, right)) in zip(drawn, corners, strict=True)
    ]
    np.testing.assert_allclose(share_inside(maps, corners.reshape(50, 4) / 40), expected, atol=1e-9)


def test_share_inside_adds_up_over_a_partition_and_does_not_depend_on_the_maps_scale(random):
    maps = random.random((100, 7, 7)).astype(np.float32)
    cut = random.random(100)
    zero, one = np.zeros(100), np.ones(100)
    upper = share_inside(maps, np.stack([zero, zero, cut, one], axis=1))
    lower = share_inside(maps, np.stack([cut, zero, one, one], axis=1))
    np.testing.assert_allclose(upper + lower, 1)
    np.testing.assert_allclose(share_inside(maps * 1e30, np.stack([cut, zero, one, one], axis=1)), lower)
    assert share_inside(maps, np.stack([zero, zero, one, one], axis=1)).max() <= 1


# --- Pointing game ---------------------------------------------------------------------------------------------------


def test_the_maximum_stands_at_the_centre_of_its_cell():
    maps = one_hot(1, 2)  # centre at y = 3/8, x = 5/8
    assert pointing_game(maps, [[0.3, 0.6, 0.4, 0.7]]) == [1]
    assert pointing_game(maps, [[0.375, 0.625, 1, 1]]) == [1]  # on the edge
    assert pointing_game(maps, [[0.38, 0, 1, 1]]) == [0]  # covers most of the cell, not its centre
    assert pointing_game(maps, [[0.6, 0.3, 0.7, 0.4]]) == [0]  # the two axes swapped
    assert pointing_game(one_hot(0, 4, (1, 5)), [[0, 0.85, 1, 1]]) == [1]


def test_only_the_maximum_counts():
    maps = np.array([[[0.9, 0.9], [0.9, 1.0]]], np.float32)
    assert pointing_game(maps, [[0.5, 0.5, 1, 1]]) == [1]
    assert pointing_game(maps, [[0, 0, 1, 0.5]]) == [0]


def test_the_maximum_is_where_bilinear_resizing_to_the_image_puts_it(random):
    maps = random.random((100, 5, 5)).astype(np.float32)
    boxes = random_boxes(random, 100)
    large = tf.image.resize(maps[..., np.newaxis], (35, 35), method="bilinear").numpy()[..., 0]  # 7 pixels a cell
    # Beyond the outer centres the resized map is flat: the innermost of its maxima is the cell's centre.
    centred = np.abs(np.stack(np.meshgrid(np.arange(35), np.arange(35))) - 17).sum(axis=0)
    for picture, box, won in zip(large, boxes, pointing_game(maps, boxes), strict=True):
        peaks = np.argwhere(np.isclose(picture, picture.max(), rtol=1e-6))
        y, x = (peaks[centred[tuple(peaks.T)].argmin()] + 0.5) / 35
        assert won == (box[0] <= y <= box[2] and box[1] <= x <= box[3])


def test_tied_maxima_give_the_share_of_them_inside():
    maps = np.array([[[1, 1], [0, 1]]], np.float32)
    assert pointing_game(maps, [[0, 0, 0.5, 1]]) == pytest.approx([2 / 3])
    assert pointing_game(maps, [[0.5, 0, 1, 0.5]]) == [0]
    assert pointing_game(maps, [[0, 0, 1, 1]]) == [1]


def test_maps_that_know_nothing_win_as_often_as_the_box_is_large(random):
    boxes = random_boxes(random, 20_000)
    won = pointing_game(random.random((20_000, 6, 6)), boxes)
    assert won.mean() == pytest.approx(box_area(boxes).mean(), abs=0.01)
    ties = pointing_game(np.ones((20_000, 6, 6)), boxes)
    assert ties.mean() == pytest.approx(box_area(boxes).mean(), abs=0.01)


# --- Together --------------------------------------------------------------------------------------------------------


def test_a_map_of_zeros_has_no_verdict_and_is_counted_apart():
    maps = np.concatenate([one_hot(0, 0), np.zeros((1, 4, 4), np.float32), one_hot(3, 3)])
    boxes = np.array([[0, 0, 0.5, 0.5], [0, 0, 1, 1], [0, 0, 0.5, 1]], np.float32)
    np.testing.assert_array_equal(pointing_game(maps, boxes), [1, np.nan, 0])
    np.testing.assert_array_equal(share_inside(maps, boxes), [1, np.nan, 0])
    assert localisation(maps, boxes) == Localisation(
        images=3, without_verdict=1, pointing=0.5, share_inside=0.5, chance=(0.25 + 0.5) / 2
    )


@pytest.mark.parametrize("count", [0, 2])
def test_without_any_verdict_the_means_are_nan(count):
    found = localisation(np.zeros((count, 4, 4)), np.tile([0.0, 0, 1, 1], (count, 1)))
    assert (found.images, found.without_verdict) == (count, count)
    assert np.isnan([found.pointing, found.share_inside, found.chance]).all()


def test_area_by_hand():
    np.testing.assert_allclose(box_area([[0, 0, 1, 1], [0.25, 0.5, 0.75, 0.6], [0.5, 0.5, 0.5, 1]]), [1, 0.05, 0])


def test_grad_cam_of_a_network_that_sees_brightness_finds_the_bright_square():
    image = tf.keras.Input((16, 16, 1))
    x = layers.AveragePooling2D(2)(layers.Conv2D(1, 1, kernel_initializer="ones", name="see")(image))
    x = layers.GlobalAveragePooling2D()(x)
    model = tf.keras.Model(image, layers.Dense(2, kernel_initializer="ones")(x))
    images = np.zeros((1, 16, 16, 1), np.float32)
    images[0, 4:8, 10:16] = 1
    maps = grad_cam(model, images, [[0]]).numpy()[:, 0]
    box = [[4 / 16, 10 / 16, 8 / 16, 1]]
    assert pointing_game(maps, box) == [1]
    assert share_inside(maps, box) == pytest.approx([1])
    assert share_inside(maps, [[0, 0, 1, 13 / 16]]) == pytest.approx([0.5])


@pytest.mark.parametrize(
    ("maps", "boxes", "message"),
    [
        (np.ones((2, 1, 4, 4)), np.ones((2, 4)), r"maps have shape \(2, 1, 4, 4\), expected \(images, height, width\)"),
        (np.ones((2, 0, 4)), np.ones((2, 4)), r"maps have shape \(2, 0, 4\)"),
        (np.stack([np.ones((2, 2)), -np.ones((2, 2))]), np.ones((2, 4)), "attention map 1 holds negative or infinite"),
        (np.full((1, 2, 2), np.nan), np.ones((1, 4)), "attention map 0 holds"),
        (np.ones((2, 4, 4)), np.ones((3, 4)), "2 attention maps and 3 boxes were given, expected one box a map"),
        (np.ones((2, 4, 4)), np.ones((2, 2, 2)), r"boxes have shape \(2, 2, 2\), expected \(images, 4\): ymin"),
        (np.ones((1, 4, 4)), [[0, 0, 32, 64]], r"box 0 is \[0, 0, 32, 64\], expected ymin <= ymax .*: divide pixels"),
        (np.ones((1, 4, 4)), [[0.5, 0, 0.4, 1]], r"box 0 is \[0.5, 0.0, 0.4, 1.0\]"),
        (np.ones((1, 4, 4)), [[0, np.nan, 1, 1]], "box 0 is"),
    ],
)
def test_maps_and_boxes_that_make_no_sense_are_refused_in_one_line(maps, boxes, message):
    for measure in (localisation, pointing_game, share_inside):
        with pytest.raises(UserError, match=message) as error:
            measure(maps, boxes)
        assert "\n" not in str(error.value)
