"""What a promise that is tried more than once may be broken with.

A promise may fail, for want of images or of agreement, and be tried again when more have come. Trying until one passes
is a way to break it: a student that is worse than promised has a new chance each time. So the tries share what the
promise may be broken with: of delta = 1 - confidence, try k spends

    delta_k = delta / (k (k + 1)),   which add up to delta over all k

(our choice of the series; the union bound does the rest). Later tries may count images that earlier ones have counted:
when a try comes and what it tries follow from other images alone and from all earlier ones having failed, so that for a
given stream of those the tries are a fixed sequence, each of which passes wrongly with chance at most delta_k. Where a
student serves and another one is tried, the images of its promise have come since; the count of the tries goes on.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Tries:
    """The tries of one stretch of the stream.

    Attributes:
        delta: chance that a promise may be wrong with, for all of them together.
        made: so far.
    """

    delta: float
    made: int = 0

    @property
    def next_delta(self) -> float:
        """The chance that the next try may be wrong with."""
        return spent_on_try(self.delta, self.made + 1)

    def spent(self) -> float:
        """Makes a try; returns the chance that it may be wrong with."""
        self.made += 1
        return spent_on_try(self.delta, self.made)


def spent_on_try(delta: float, number: int) -> float:
    """Returns the chance that try `number` = 1, 2, ... of a promise may be wrong with, of `delta` for all of them."""
    return delta / (number * (number + 1))
