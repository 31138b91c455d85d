"""The images that an adaptation holds back, and what a promise made on them may cost.

Each has one use, see `images.holding_back`: choosing (agreement, which decides when training stops; what a score is
fitted on) or promising (the threshold alone).

A promise may fail, for want of images or of agreement, and be tried again when more have come. Trying until one passes
is a way to break it: a student that is worse than promised has a new chance each time. So the tries share what the
promise may be broken with: of delta = 1 - confidence, try k spends

    delta_k = delta / (k (k + 1)),   which add up to delta over all k

(our choice of the series; the union bound does the rest). Later tries may count images that earlier ones have counted:
when a try comes and what it tries follow from other images alone and from all earlier ones having failed, so that for a
given stream of those the tries are a fixed sequence, each of which passes wrongly with chance at most delta_k.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from envise_tf.images.holding_back import CHOOSING_EVERY
from envise_tf.stream.reservoir import Reservoir


def spent_on_try(delta: float, number: int) -> float:
    """Returns the chance that try `number` = 1, 2, ... of a promise may be wrong with, of `delta` for all of them."""
    return delta / (number * (number + 1))


def images_needed(epsilon: float, delta: float) -> int:
    """Returns how many images without any disagreement promise at most `epsilon` of it with confidence 1 - delta."""
    return math.ceil(math.log(delta) / math.log1p(-epsilon))


class Holdout:
    """Held-back images of one adaptation, each distinct one once: a promise counts independent images.

    Responsible for two samples of the stream as it is, not class-balanced, which share no image. Not for what is held
    back, nor for what the samples are used for.

    Args:
        images: most that are kept; at least two are, one of each use.
        image_shape: (height, width, 3) of every uint8 image.
        seed: of which are kept.

    Attributes:
        choosing: images with the teacher's class as label.
        promising: likewise, disjoint from `choosing`.
        promised: distinct images offered to `promising` so far.
    """

    def __init__(self, images: int, image_shape: tuple[int, ...], seed: int) -> None:
        size = int(np.prod(image_shape))
        choosing = max(images // CHOOSING_EVERY, 1)
        self.choosing = Reservoir(choosing * size, image_shape, seed)
        self.promising = Reservoir(max(images - choosing, 1) * size, image_shape, seed + 1)
        self.promised = 0
        self._known: set[int] = set()

    def add(self, images: np.ndarray, teacher_class: np.ndarray, prints: np.ndarray, is_promising: np.ndarray) -> None:
        """Offers held-back images in the order of the stream.

        Args:
            images: uint8 (n, height, width, 3).
            teacher_class: int64 (n,).
            prints: int64 (n,), fingerprints of the images, which tell repeated ones.
            is_promising: bool (n,), else it is for choosing.
        """
        is_new = self._is_new(prints)
        for reservoir, used in ((self.choosing, is_new & ~is_promising), (self.promising, is_new & is_promising)):
            reservoir.add(images[used], teacher_class[used], np.zeros(used.sum(), np.int64))
        self.promised += int(np.sum(is_new & is_promising))

    def _is_new(self, prints: np.ndarray) -> np.ndarray:
        """Returns which images come for the first time, bool (n,)."""
        first = np.zeros(len(prints), bool)
        first[np.unique(prints, return_index=True)[1]] = True
        is_new = first & np.array([one not in self._known for one in prints.tolist()], bool)
        self._known.update(prints[is_new].tolist())
        return is_new

    def snapshot(self) -> dict[str, Any]:
        """Returns all that `restore` needs as plain values and arrays."""
        return {
            "choosing": self.choosing.snapshot(),
            "promising": self.promising.snapshot(),
            "promised": self.promised,
            "known": np.sort(np.fromiter(self._known, np.int64)),
        }

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Makes this the holdout, of the same arguments, that `snapshot` was taken of."""
        self.choosing.restore(snapshot["choosing"])
        self.promising.restore(snapshot["promising"])
        self.promised, self._known = snapshot["promised"], set(snapshot["known"].tolist())
