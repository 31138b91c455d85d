"""The images that an adaptation holds back, each for one use, see `images.holding_back`.

Choosing: agreement, which decides when training stops; what a score is fitted on. Promising: the threshold alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from envise_tf.deferral.serving import Shown
from envise_tf.images.holding_back import (
    CHOOSING_EVERY,
    block_fingerprints,
    fingerprints,
    is_held_back,
    is_promising,
)
from envise_tf.stream.reservoir import Reservoir


class Uses(NamedTuple):
    """What n images are for; those of neither use are trained on.

    Attributes:
        held_back: bool (n,), never trained on.
        promising: bool (n,), of these, held back for the promise.
        is_new: bool (n,), seen for the first time.
    """

    held_back: np.ndarray
    promising: np.ndarray
    is_new: np.ndarray


def uses_of(images: np.ndarray, first: int, block: int | None) -> Uses:
    """Returns what the next images of the stream are for, each taken for new.

    Args:
        images: uint8 (n, height, width, 3), n > 0.
        first: position of the first of them in the stream.
        block: consecutive images that share a use, in a stream in the order of time; None where each has its own.
    """
    sides = fingerprints(images) if block is None else block_fingerprints(first, len(images), block)
    return Uses(is_held_back(sides), is_promising(sides), np.ones(len(images), bool))


class Usher:
    """Says what each image is for, and whether it has come before: a promise counts independent images.

    Args:
        block: as in `uses_of`.
    """

    def __init__(self, block: int | None) -> None:
        self._block = block
        self._known: set[int] = set()

    def uses(self, images: np.ndarray, first: int) -> Uses:
        """Returns what the next images of the stream are for; arguments as in `uses_of`."""
        return uses_of(images, first, self._block)._replace(is_new=self._is_new(fingerprints(images)))

    def _is_new(self, prints: np.ndarray) -> np.ndarray:
        first = np.zeros(len(prints), bool)
        first[np.unique(prints, return_index=True)[1]] = True
        is_new = first & np.array([one not in self._known for one in prints.tolist()], bool)
        self._known.update(prints[is_new].tolist())
        return is_new

    def snapshot(self) -> np.ndarray:
        """Returns all that `restore` needs."""
        return np.sort(np.fromiter(self._known, np.int64))

    def restore(self, snapshot: np.ndarray) -> None:
        """Makes this the usher, of the same argument, that `snapshot` was taken of."""
        self._known = set(snapshot.tolist())


class Holdout:
    """Held-back images of one adaptation, each distinct one once.

    Responsible for two samples of the stream as it is, not class-balanced, which share no image. Not for what is held
    back, nor for what the samples are used for.

    Args:
        images: most that are kept; at least two are, one of each use.
        image_shape: (height, width, 3) of every uint8 image.
        classes: of the teacher.
        seed: of which are kept.

    Attributes:
        choosing: images with the teacher's logits as it came as label.
        promising: likewise, disjoint from `choosing`.
        promised: distinct images offered to `promising` so far.
    """

    def __init__(self, images: int, image_shape: tuple[int, ...], classes: int, seed: int) -> None:
        size, label = int(np.prod(image_shape)), np.dtype((np.float32, (classes,)))
        choosing = max(images // CHOOSING_EVERY, 1)
        self.choosing = Reservoir(choosing * size, image_shape, seed, label)
        self.promising = Reservoir(max(images - choosing, 1) * size, image_shape, seed + 1, label)
        self.promised = 0

    def add(self, shown: Shown, uses: Uses) -> None:
        """Offers images in the order of the stream, of which the new ones that are held back are taken."""
        used = uses.held_back & uses.is_new
        for reservoir, chosen in (
            (self.choosing, used & ~uses.promising),
            (self.promising, used & uses.promising),
        ):
            reservoir.add(*shown.where(chosen), np.zeros(chosen.sum(), np.int64))
        self.promised += int(np.sum(used & uses.promising))

    def snapshot(self) -> dict[str, Any]:
        """Returns all that `restore` needs as plain values and arrays."""
        return {
            "choosing": self.choosing.snapshot(),
            "promising": self.promising.snapshot(),
            "promised": self.promised,
        }

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Makes this the holdout, of the same arguments, that `snapshot` was taken of."""
        self.choosing.restore(snapshot["choosing"])
        self.promising.restore(snapshot["promising"])
        self.promised = snapshot["promised"]
