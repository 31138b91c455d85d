"""A bounded sample of an endless stream of images.

Reservoir sampling [Vitter 1985]: of n images so far, each is among the m that are kept with the same chance m / n. With
a key for each image, such as its predicted class, it is class-balanced [Chrysakis and Moens 2020, "Online continual
learning from imbalanced data", algorithm 1]: when it is full, an image of a rare key takes the place of one of the
largest key, and images of the largest key are sampled among themselves. Rare keys are kept whole as long as there is
room, frequent ones are a fair sample.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from envise_tf.errors import UserError


class Reservoir:
    """Keeps images with a label each, as many as a limit of memory allows.

    Responsible for which images are kept. Not for what they are used for.

    Args:
        limit_bytes: for the images; at least one must fit.
        image_shape: (height, width, 3) of every uint8 image.
        seed: the same images in the same order with the same seed leave the same ones.

    Raises:
        UserError: not one image fits.
    """

    def __init__(self, limit_bytes: int, image_shape: tuple[int, ...], seed: int) -> None:
        capacity = limit_bytes // int(np.prod(image_shape))
        if capacity < 1:
            raise UserError(
                f"{limit_bytes} bytes for images of shape {image_shape}: expected room for at least one; give more"
            )
        # Memory that is never written to is never taken: a large limit costs nothing while few images have come.
        self._images = np.empty((capacity, *image_shape), np.uint8)
        self._labels = np.empty(capacity, np.int64)
        self._keys = np.empty(capacity, np.int64)
        self._count = 0
        self._seen: dict[int, int] = {}
        self._random = np.random.default_rng(seed)

    def __len__(self) -> int:
        return self._count

    @property
    def images(self) -> np.ndarray:
        """The images that are kept, uint8 (n, height, width, 3)."""
        return self._images[: self._count]

    @property
    def labels(self) -> np.ndarray:
        """Their labels, int64 (n,)."""
        return self._labels[: self._count]

    def add(self, images: np.ndarray, labels: np.ndarray, keys: np.ndarray) -> None:
        """Offers images in the order of the stream.

        Args:
            images: uint8 (n, height, width, 3).
            labels: int64 (n,), kept beside them.
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
        self._count = len(kept)
        keys, counts = np.unique(self._keys[: self._count], return_counts=True)
        self._seen = dict(zip(keys.tolist(), counts.tolist(), strict=True))

    def snapshot(self) -> dict[str, Any]:
        """Returns all that `restore` needs; arrays are copies."""
        arrays = {name: getattr(self, f"_{name}")[: self._count].copy() for name in ("images", "labels", "keys")}
        return {**arrays, "seen": dict(self._seen), "random": self._random.bit_generator.state}

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Makes this the reservoir, of the same limit, that `snapshot` was taken of."""
        self._count = len(snapshot["labels"])
        for name in ("images", "labels", "keys"):
            getattr(self, f"_{name}")[: self._count] = snapshot[name]
        self._seen = dict(snapshot["seen"])
        self._random.bit_generator.state = snapshot["random"]

    def _place(self, key: int) -> int | None:
        """Returns where an image of this key goes; None if it is not kept."""
        if self._count < len(self._labels):
            self._count += 1
            return self._count - 1
        kept, counts = np.unique(self._keys, return_counts=True)
        largest = kept[counts.argmax()]
        if key in kept and counts[kept == key][0] == counts.max():
            own = np.flatnonzero(self._keys == key)
            drawn = int(self._random.integers(self._seen[key]))
            return int(own[drawn]) if drawn < len(own) else None
        return int(self._random.choice(np.flatnonzero(self._keys == largest)))
