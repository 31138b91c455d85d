"""A bounded sample of an endless stream of images.

Reservoir sampling [Vitter 1985]: of n images so far, each is among the m that are kept with the same chance m / n. With
a key for each image, such as its predicted class, it is class-balanced [Chrysakis and Moens 2020, "Online continual
learning from imbalanced data", algorithm 1]. Once there is no room left, a key is full if it is, or ever was, the one
with the most images (one of those, where several have equally many). An image of a full key takes the place of another
one of its key with chance m_k / n_k, of n_k offered and m_k kept; an image of any other key takes the place of one of
the largest key. So rare keys are kept whole as long as there is room, and what is kept of a frequent one is a fair
sample of all that came of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from envise_tf.errors import UserError


class Reservoir:
    """Keeps images with a label each, as many as a limit of memory allows.

    Responsible for which images are kept. Not for what they are used for.

    Args:
        limit_bytes: for the images; at least one must fit.
        image_shape: (height, width, 3) of every uint8 image.
        seed: the same images in the same order with the same seed leave the same ones.
        label: type of a label, which may be an array of its own.

    Raises:
        UserError: not one image fits.
    """

    def __init__(self, limit_bytes: int, image_shape: tuple[int, ...], seed: int, label: DTypeLike = np.int64) -> None:
        capacity = limit_bytes // int(np.prod(image_shape))
        if capacity < 1:
            raise UserError(
                f"{limit_bytes} bytes for images of shape {image_shape}: expected room for at least one; give more"
            )
        # Memory that is never written to is never taken: a large limit costs nothing while few images have come.
        self._images = np.empty((capacity, *image_shape), np.uint8)
        self._labels = np.empty(capacity, label)
        self._keys = np.empty(capacity, np.int64)
        self._count = 0
        self._seen: dict[int, int] = {}
        self._places: dict[int, list[int]] = {}
        self._full: set[int] = set()
        self._random = np.random.default_rng(seed)

    def __len__(self) -> int:
        return self._count

    @property
    def images(self) -> np.ndarray:
        """The images that are kept, uint8 (n, height, width, 3)."""
        return self._images[: self._count]

    @property
    def labels(self) -> np.ndarray:
        """Their labels, n of the type given."""
        return self._labels[: self._count]

    def add(self, images: np.ndarray, labels: np.ndarray, keys: np.ndarray) -> None:
        """Offers images in the order of the stream.

        Args:
            images: uint8 (n, height, width, 3).
            labels: (n,) of the type given, kept beside them.
            keys: int64 (n,); all the same make a plain reservoir.
        """
        for image, label, key in zip(images, labels, keys, strict=True):
            self._seen[int(key)] = self._seen.get(int(key), 0) + 1
            place = self._place(int(key))
            if place is not None:
                self._images[place], self._labels[place], self._keys[place] = image, label, key

    def sample(self, count: int) -> np.ndarray:
        """Returns `count` images drawn with replacement, uint8; there must be at least one."""
        return self.images[self._random.integers(len(self), size=count)]

    def keep(self, labels: np.ndarray) -> None:
        """Drops all images with other labels than these, and forgets how many have been offered of any."""
        kept = np.flatnonzero(np.isin(self.labels, labels))
        for array in (self._images, self._labels, self._keys):
            array[: len(kept)] = array[kept]
        self._count, self._full = len(kept), set()
        self._places = self._placed(range(len(kept)))
        self._seen = {key: len(places) for key, places in self._places.items()}

    def snapshot(self) -> dict[str, Any]:
        """Returns all that `restore` needs as plain values and arrays, which are copies."""
        return {
            **{name: getattr(self, f"_{name}")[: self._count].copy() for name in ("images", "labels", "keys")},
            # In the order in which images are drawn from them.
            "places": np.array([place for places in self._places.values() for place in places], np.int64),
            "seen": list(self._seen.items()),
            "full": sorted(self._full),
            "random": self._random.bit_generator.state,
        }

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Makes this the reservoir, of the same limit, that `snapshot` was taken of."""
        self._count = len(snapshot["labels"])
        for name in ("images", "labels", "keys"):
            getattr(self, f"_{name}")[: self._count] = snapshot[name]
        self._places = self._placed(snapshot["places"].tolist())
        self._seen, self._full = dict(snapshot["seen"]), set(snapshot["full"])
        self._random.bit_generator.state = snapshot["random"]

    def _place(self, key: int) -> int | None:
        """Returns where an image of this key goes; None if it is not kept.

        Only an image of a key that was never the largest takes longer the more keys there are, and none of these keys
        can have more images than fit.
        """
        if self._count < len(self._labels):
            self._count += 1
            return self._taken(self._count - 1, key)
        if not self._full:
            self._fill()
        if key in self._full:
            own, drawn = self._places[key], int(self._random.integers(self._seen[key]))
            return own[drawn] if drawn < len(own) else None
        others = self._places[max(self._places, key=lambda one: (len(self._places[one]), -one))]
        drawn = int(self._random.integers(len(others)))
        others[drawn], others[-1] = others[-1], others[drawn]
        place = self._taken(others.pop(), key)
        self._fill()
        return place

    def _taken(self, place: int, key: int) -> int:
        self._places.setdefault(key, []).append(place)
        return place

    def _fill(self) -> None:
        """Marks the keys that have the most images."""
        most = max(map(len, self._places.values()))
        self._full.update(key for key, places in self._places.items() if len(places) == most)

    def _placed(self, places: Iterable[int]) -> dict[int, list[int]]:
        """Returns these places by the keys of the images that are there."""
        placed: dict[int, list[int]] = {}
        for place in places:
            placed.setdefault(int(self._keys[place]), []).append(place)
        return placed
