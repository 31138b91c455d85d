"""What is held back has one use, and tries of a promise share what it may be broken with."""

import functools

import numpy as np
import pytest
from scipy import stats

from envise_tf.deferral.held_back import HeldBack
from envise_tf.deferral.threshold import chosen_threshold
from envise_tf.stream.holdout import Holdout, images_needed, spent_on_try
from envise_tf.stream.store import read_tree, write_tree

SHAPE = (1, 1, 3)
EPSILON, DELTA = 0.1, 0.05


def offered(holdout: Holdout, prints) -> None:
    """Offers images that carry their fingerprint; the even ones are for the promise."""
    prints = np.array(prints)
    images = np.repeat(prints.astype(np.uint8), 3).reshape(-1, *SHAPE)
    holdout.add(images, prints % 3, prints, prints % 2 == 0)


def test_each_image_is_kept_once_and_for_one_use(tmp_path):
    holdout = Holdout(100, SHAPE, 0)
    offered(holdout, [2, 3, 2, 5])
    copy = Holdout(100, SHAPE, 0)
    write_tree(tmp_path / "state.npz", holdout.snapshot())
    copy.restore(read_tree(tmp_path / "state.npz"))
    for each in (holdout, copy):
        offered(each, [5, 4, 3, 2, 7])
        assert each.choosing.images[:, 0, 0, 0].tolist() == [3, 5, 7]
        assert each.choosing.labels.tolist() == [0, 2, 1]
        assert each.promising.images[:, 0, 0, 0].tolist() == [2, 4]
        assert each.promised == 2


@pytest.mark.parametrize(("images", "rooms"), [(1, (1, 1)), (2, (1, 1)), (7, (2, 5))])
def test_there_is_room_for_both_uses(images, rooms):
    holdout = Holdout(images, SHAPE, 0)
    offered(holdout, range(40))
    assert (len(holdout.choosing), len(holdout.promising)) == rooms
    assert holdout.promised == 20


def test_all_tries_together_spend_no_more_than_the_promise_may():
    spent = [spent_on_try(DELTA, number) for number in range(1, 10_000)]
    assert spent[:2] == pytest.approx([0.025, 0.05 / 6])
    assert 0.999 * DELTA < sum(spent) < DELTA


@pytest.mark.parametrize(("epsilon", "delta", "needed"), [(0.05, 0.05, 59), (0.1, 0.05, 29), (0.1, 0.025, 36)])
def test_images_needed_without_any_disagreement(epsilon, delta, needed):
    assert images_needed(epsilon, delta) == needed
    assert stats.binom.pmf(0, needed, epsilon) <= delta < stats.binom.pmf(0, needed - 1, epsilon)


def share_broken(spent, streams: int) -> float:
    """Returns in which share of streams a student that is just worse than promised comes to serve.

    Its promise is tried up to eight times, whenever 50 more images have come; earlier ones are counted again.
    """

    @functools.cache
    def comes_to_serve(number: int, disagreements: int) -> bool:
        # One score for all, so that it answers all or none: then only the number of disagreements decides.
        agrees = np.arange(50 * number) >= disagreements
        held_back = HeldBack(np.ones(len(agrees)), np.zeros(len(agrees)), agrees, np.ones(len(agrees)), ~agrees)
        threshold = chosen_threshold(
            "risk", held_back, held_back, 2, delta=spent(number), epsilon=EPSILON, confidence=1 - DELTA
        )
        return threshold.why_all_deferred is None

    disagrees = np.random.default_rng(streams).random((streams, 400)) < EPSILON * 1.001
    seen = disagrees.cumsum(axis=1)[:, 49::50]
    broken = [any(comes_to_serve(i + 1, int(count)) for i, count in enumerate(stream)) for stream in seen]
    return float(np.mean(broken))


def test_promises_that_are_tried_again_and_again_are_broken_as_rarely_as_they_say():
    sampling_error = 3 * np.sqrt(DELTA * (1 - DELTA) / 600)
    assert share_broken(lambda number: spent_on_try(DELTA, number), 600) <= DELTA + sampling_error
    # Each try for itself, as if it were the only one: more streams than one in 20 get a promise that is not kept.
    assert share_broken(lambda number: DELTA, 600) > DELTA + sampling_error
