"""Tries of a promise share what it may be broken with."""

import functools

import numpy as np
import pytest

from envise_tf.deferral.held_back import HeldBack
from envise_tf.deferral.threshold import chosen_threshold
from envise_tf.stream.tries import Tries, spent_on_try

EPSILON, DELTA = 0.1, 0.05


def test_a_try_spends_what_was_said_before_it():
    tries = Tries(DELTA)
    said, spent = zip(*[(tries.next_delta, tries.spent()) for _ in range(3)], strict=True)
    assert said == spent == tuple(spent_on_try(DELTA, number) for number in (1, 2, 3))
    assert tries.made == 3


def test_all_tries_together_spend_no_more_than_the_promise_may():
    spent = [spent_on_try(DELTA, number) for number in range(1, 10_000)]
    assert spent[:2] == pytest.approx([0.025, 0.05 / 6])
    assert 0.999 * DELTA < sum(spent) < DELTA


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


@pytest.mark.slow
def test_promises_that_are_tried_again_and_again_are_broken_as_rarely_as_they_say():
    sampling_error = 3 * np.sqrt(DELTA * (1 - DELTA) / 600)
    assert share_broken(lambda number: spent_on_try(DELTA, number), 600) <= DELTA + sampling_error
    # Each try for itself, as if it were the only one: more streams than one in 20 get a promise that is not kept.
    assert share_broken(lambda number: DELTA, 600) > DELTA + sampling_error
