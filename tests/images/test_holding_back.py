"""One hash holds images back: alone or in blocks of time, and each for one use."""

import numpy as np
import pytest
import tensorflow as tf

from envise_tf.images.holding_back import block_fingerprints, fingerprints, is_held_back, is_promising
from envise_tf.images.source import fingerprint

IMAGES = np.random.default_rng(0).integers(0, 256, (2000, 4, 4, 3), np.uint8)


def test_a_batch_has_the_fingerprints_of_its_images():
    expected = [int(fingerprint(tf.constant(image))) for image in IMAGES[:20]]
    assert fingerprints(IMAGES[:20]).tolist() == expected
    assert fingerprints(IMAGES[:20]).dtype == np.int64


def test_a_fifth_is_held_back_and_two_thirds_of_it_promise():
    prints = fingerprints(IMAGES)
    # Four standard deviations of a binomial share.
    assert is_held_back(prints).mean() == pytest.approx(1 / 5, abs=4 * np.sqrt(0.16 / 2000))
    assert is_promising(prints).mean() == pytest.approx(2 / 15, abs=4 * np.sqrt(26 / 225 / 2000))
    assert is_held_back(prints)[is_promising(prints)].all()


def test_arrays_and_tensors_are_held_back_alike():
    prints = fingerprints(IMAGES[:200])
    for is_used in (is_held_back, is_promising):
        np.testing.assert_array_equal(is_used(tf.constant(prints)), is_used(prints))


def test_a_block_of_time_goes_to_one_side_whole():
    held_back = is_held_back(block_fingerprints(0, 64 * 500, 64)).reshape(500, 64)
    assert (held_back.all(axis=1) | ~held_back.any(axis=1)).all()
    assert held_back.mean() == pytest.approx(1 / 5, abs=4 * np.sqrt(0.16 / 500))


def test_blocks_do_not_depend_on_how_the_stream_is_cut_in_batches():
    whole = block_fingerprints(0, 300, 64)
    parts = [block_fingerprints(first, min(70, 300 - first), 64) for first in range(0, 300, 70)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
