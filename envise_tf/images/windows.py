"""An unlabelled stream: shuffled passes over a source, thinned to the class prior that a scenario asks for.

The stream comes in windows of a fixed number of images. Window w depends on the seed and on w alone, never on the
windows before it; so a resumed run sees exactly the images that it would have seen. Labels decide
only which images a simulated stream shows; they do not leave this module unless they are asked for by name.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from envise_tf.errors import UserError
from envise_tf.images.augmentation import augmented, blended_labels
from envise_tf.images.folder import Folder
from envise_tf.images.halves import Part, Protocol, is_in_part
from envise_tf.images.source import Source

_SHUFFLE_BYTES = 128 * 2**20
_MOST_SHUFFLED = 10_000
_BATCHES_A_WINDOW = 2**24
"""More batches than any window has: numbers the batches of all windows without overlap."""


@dataclass(frozen=True)
class Augmentation:
    """What is done to each training image; the options of `augmentation.augmented`."""

    flip: bool = False
    shift: float = 0.0
    cutout: float = 0.0
    mixup: float = 0.0
    mixed: float = 1.0


@dataclass(frozen=True)
class Stream:
    """Images of one part of a source's training split, in windows.

    Args:
        source: where the images come from.
        part: which share of the training split, see `halves`.
        protocol: whether teacher and stream have disjoint halves.
        labels: the labels that the stream shows; None shows all.
        prior: share of each of these labels in the stream, label -> probability; None keeps the source's own.
        window: images per window.
        batch_size: images per batch; the last incomplete batch of a window is dropped.
        seed: the same seed gives the same stream.
    """

    source: Source
    part: Part
    protocol: Protocol
    labels: tuple[int, ...] | None
    prior: Mapping[int, float] | None
    window: int
    batch_size: int
    seed: int

    def __post_init__(self) -> None:
        if not 0 < self.batch_size <= self.window:
            raise UserError(
                f"window {self.window}, batch_size {self.batch_size}: expected at least one batch per window"
            )

    @property
    def batches_a_window(self) -> int:
        return self.window // self.batch_size

    def batches(self, augmentation: Augmentation, first_window: int = 0) -> tf.data.Dataset:
        """Returns the endless stream of uint8 image batches (batch_size, height, width, 3), without labels."""
        return self._batches(augmentation, first_window, lambda example: example["image"])

    def labelled_batches(self, augmentation: Augmentation, first_window: int = 0) -> tf.data.Dataset:
        """Returns the endless stream as (images, labels): for teachers, which are trained with labels.

        Labels are int64 (batch_size,); with mixup, which blends them too, float32 (batch_size, classes).
        """
        return self._batches(augmentation, first_window, _labelled)

    def labelled_window(self, number: int) -> tf.data.Dataset:
        """Returns one window of the stream, not augmented, as batches of (uint8 images, int64 labels)."""
        return self._batches(Augmentation(), number, _labelled, number + 1)

    def images(self) -> tf.data.Dataset:
        """Returns one pass over the part in fixed order, thinned to the prior, in uint8 batches; the last may be small.

        For measuring on held-back images: what is measured on them speaks of the stream, so they have its prior. Each
        is kept or not by itself, from the seed and its fingerprint, with the share that its label would have to be
        thinned to in all that the teacher has not seen: a small part may lack a rare class.
        """
        examples, shares = self._examples(), dataclasses.replace(self, part="unseen")._kept_shares
        if shares is not None:
            examples = examples.filter(self._keeps_once(shares))
        return examples.map(lambda example: example["image"]).batch(self.batch_size).prefetch(2)

    def reshuffled(self) -> tf.data.Dataset:
        """Returns the same pass in another order each time that it is read, for Keras' `fit`."""
        examples = self._kept_at_hand().map(lambda example: example["image"])
        return examples.shuffle(self._shuffled, seed=self.seed).batch(self.batch_size).prefetch(4)

    def labelled_images(self) -> tf.data.Dataset:
        """Returns one pass over the part in fixed order, unthinned, as batches of (uint8 images, int64 labels)."""
        pairs = self._examples().map(lambda example: (example["image"], example["label"]))
        return pairs.batch(self.batch_size).prefetch(2)

    def _batches(
        self,
        augmentation: Augmentation,
        first_window: int,
        chosen: Callable[[dict[str, tf.Tensor]], object],
        stop: int = tf.int64.max,
    ) -> tf.data.Dataset:
        # Both look at the examples, so they come before the windows, which are built inside a graph.
        examples = self._kept_at_hand()
        shares = self._kept_shares
        options = dataclasses.asdict(augmentation)

        def window(index: tf.Tensor) -> tf.data.Dataset:
            shown = self._window(examples, index, shares).map(chosen).batch(self.batch_size, drop_remainder=True)
            return shown.take(self.batches_a_window).enumerate(index * _BATCHES_A_WINDOW)

        def augment(number: tf.Tensor, batch: object) -> object:
            images, *labels = batch if isinstance(batch, tuple) else (batch,)
            seed = tf.stack([tf.constant(self.seed, tf.int64), number])
            images = augmented(images, seed, **options)
            if not labels:
                return images
            if not augmentation.mixup:
                return images, labels[0]
            classes = len(self.source.class_names)
            return images, blended_labels(labels[0], classes, seed, augmentation.mixup, augmentation.mixed)

        windows = tf.data.Dataset.range(first_window, stop)
        return (
            windows.flat_map(window).map(augment, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).prefetch(4)
        )

    def _window(self, examples: tf.data.Dataset, index: tf.Tensor, shares: np.ndarray | None) -> tf.data.Dataset:
        # This runs inside the graph of a dataset, where it sets the seed of that graph alone: the order must not depend
        # on whether a training has set the global seed. Not 0, which `shuffle` takes for none.
        tf.random.set_seed(self.seed + 1)
        if shares is not None:
            examples = examples.enumerate().filter(self._keeps(index, shares)).map(lambda _, example: example)
        return examples.shuffle(self._shuffled, seed=index * 1_000_003 + self.seed).repeat()

    @property
    def _shuffled(self) -> int:
        """How many images are shuffled at a time: as many as a bounded buffer holds."""
        side = self.source.size or 224
        return min(_MOST_SHUFFLED, _SHUFFLE_BYTES // (3 * side * side))

    def _kept_at_hand(self) -> tf.data.Dataset:
        """Returns the examples, kept in memory if the shuffle buffer would hold them all anyway.

        A pass reads and decodes the whole source to show the few that belong to the stream. Where they are few, that
        would cost as much as training on them.
        """
        examples = self._examples()
        if self.prior is None:
            count = int(examples.take(self._shuffled).reduce(np.int64(0), lambda count, _: count + 1))
        else:  # the prior has them counted
            count = int(self.label_counts.sum())
        if not count:
            raise UserError(f"{self.source.name} has no {self.part} images of the classes asked for: add some")
        return examples.cache() if count < self._shuffled else examples

    def _examples(self) -> tf.data.Dataset:
        examples = self.source.examples("train", self.labels)
        return examples.filter(lambda example: is_in_part(example["fingerprint"], self.part, self.protocol))

    def _keeps(
        self, index: tf.Tensor, kept_shares: np.ndarray
    ) -> Callable[[tf.Tensor, dict[str, tf.Tensor]], tf.Tensor]:
        shares = tf.constant(kept_shares, tf.float32)

        def keeps(number: tf.Tensor, example: dict[str, tf.Tensor]) -> tf.Tensor:
            seed = tf.stack([self.seed + index * 1_000_003, number])
            return tf.random.stateless_uniform((), seed) < shares[example["label"]]

        return keeps

    def _keeps_once(self, kept_shares: np.ndarray) -> Callable[[dict[str, tf.Tensor]], tf.Tensor]:
        shares = tf.constant(kept_shares, tf.float32)

        def keeps(example: dict[str, tf.Tensor]) -> tf.Tensor:
            seed = tf.stack([tf.constant(self.seed, tf.int64), example["fingerprint"]])
            return tf.random.stateless_uniform((), seed) < shares[example["label"]]

        return keeps

    @cached_property
    def _kept_shares(self) -> np.ndarray | None:
        """Share of each label's images that a window keeps, so that the rest follows the prior; None keeps all."""
        if self.prior is None:
            return None
        counts = self.label_counts
        wanted = np.zeros(len(counts))
        wanted[list(self.prior)] = list(self.prior.values())
        missing = [self.source.class_names[i] for i in np.flatnonzero((wanted > 0) & (counts == 0))]
        if missing:
            raise UserError(f"{self.source.name} has no {self.part} images of {', '.join(missing)}: drop them")
        ratio = np.divide(wanted, counts, out=np.zeros_like(wanted), where=counts > 0)
        return ratio / ratio.max()

    @cached_property
    def label_counts(self) -> np.ndarray:
        """How many images of the part each label has, int64 (labels of the source,); counted in one pass."""
        counts = np.zeros(len(self.source.class_names), np.int64)
        for labels in self._examples().map(lambda example: example["label"]).batch(1024).as_numpy_iterator():
            counts += np.bincount(labels, minlength=len(counts))
        return counts


def _labelled(example: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
    return example["image"], example["label"]


class Photographs(NamedTuple):
    """The photographs of a folder in three parts, each for one use, see `halves`; uint8 (batch, size, size, 3), 0..255.

    Attributes:
        stream: to train on; another order at each pass.
        choosing: held back from training, to choose by: when to stop, what a score is fitted on.
        promising: held back from both, to test a threshold on, once.
    """

    stream: tf.data.Dataset
    choosing: tf.data.Dataset
    promising: tf.data.Dataset


def photographs(folder: str, size: int, batch_size: int = 64, seed: int = 0) -> Photographs:
    """Returns the photographs in a folder as a stream that nobody has labelled, and what is held back from it.

    Args:
        folder: holds JPEG, PNG or WebP files, in sub-folders or not; see `Folder` for how they are read.
        size: side in pixels of the squares that come out.
        batch_size: images a batch; the last batch of a pass may be smaller.
        seed: of the stream's order.

    Raises:
        UserError: no such folder, or it holds too few photographs.
    """
    source = Folder(folder, size, labelled=False)
    stream, choosing, promising = (
        Stream(source, part, "shared", None, None, batch_size, batch_size, seed)
        for part in ("stream", "choosing", "promising")
    )
    return Photographs(stream.reshuffled(), choosing.images(), promising.images())
