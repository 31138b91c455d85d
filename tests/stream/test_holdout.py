"""What is held back has one use, and each image counts once."""

import numpy as np
import pytest

from envise_tf.deferral.serving import Shown
from envise_tf.images.holding_back import fingerprints, is_held_back, is_promising
from envise_tf.stream.holdout import Holdout, Uses, Usher
from envise_tf.stream.store import read_tree, write_tree

SHAPE, CLASSES = (1, 1, 3), 3


def offered(holdout: Holdout, numbers, is_new=True) -> None:
    """Offers images that are all held back and carry a number; the even ones are for the promise."""
    numbers = np.array(numbers)
    images = np.repeat(numbers.astype(np.uint8), 3).reshape(-1, *SHAPE)
    logits = np.eye(CLASSES, dtype=np.float32)[numbers % CLASSES]
    every = np.ones(len(numbers), bool)
    holdout.add(Shown(images, logits), Uses(every, numbers % 2 == 0, every & is_new))


def test_new_images_are_kept_with_the_teachers_logits_for_one_use(tmp_path):
    holdout = Holdout(100, SHAPE, CLASSES, 0)
    offered(holdout, [2, 3, 5])
    copy = Holdout(100, SHAPE, CLASSES, 0)
    write_tree(tmp_path / "state.npz", holdout.snapshot())
    copy.restore(read_tree(tmp_path / "state.npz"))
    for each in (holdout, copy):
        offered(each, [5, 3, 2], is_new=False)
        offered(each, [4, 7])
        assert each.choosing.images[:, 0, 0, 0].tolist() == [3, 5, 7]
        assert each.choosing.labels.argmax(axis=1).tolist() == [0, 2, 1]
        assert each.promising.images[:, 0, 0, 0].tolist() == [2, 4]
        assert each.promised == 2


@pytest.mark.parametrize(("images", "rooms"), [(1, (1, 1)), (2, (1, 1)), (7, (2, 5))])
def test_there_is_room_for_both_uses(images, rooms):
    holdout = Holdout(images, SHAPE, CLASSES, 0)
    offered(holdout, range(40))
    assert (len(holdout.choosing), len(holdout.promising)) == rooms
    assert holdout.promised == 20


def test_an_image_is_new_once_and_keeps_its_use(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (200, 2, 2, 3), np.uint8)
    usher, copy = Usher(None), Usher(None)
    first = usher.uses(images[:120], 0)
    write_tree(tmp_path / "state.npz", usher.snapshot())
    copy.restore(read_tree(tmp_path / "state.npz"))
    assert first.is_new.all()
    for each in (usher, copy):
        again = each.uses(np.concatenate([images[60:], images[60:70]]), 120)
        np.testing.assert_array_equal(again.is_new, np.repeat([False, True, False], [60, 80, 10]))
        np.testing.assert_array_equal(again.promising[:60], first.promising[60:])
    prints = fingerprints(images[:120])
    np.testing.assert_array_equal(first.held_back, is_held_back(prints))
    np.testing.assert_array_equal(first.promising, is_promising(prints))


def test_frames_of_a_block_share_a_use_but_not_their_novelty():
    images = np.random.default_rng(1).integers(0, 256, (64, 2, 2, 3), np.uint8)
    uses = Usher(16).uses(np.concatenate([images, images[:16]]), 0)
    for block in range(5):
        assert len(set(uses.held_back[16 * block : 16 * block + 16])) == 1
    np.testing.assert_array_equal(uses.is_new, np.repeat([True, False], [64, 16]))
