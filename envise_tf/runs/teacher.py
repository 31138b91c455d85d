"""How a teacher fits the images of a job: the side that both have, and what it says of labelled ones."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from envise_tf import progress
from envise_tf.errors import UserError, nearest_names
from envise_tf.images.folder import Folder
from envise_tf.images.frames import Frames
from envise_tf.images.source import Source
from envise_tf.networks.imagenet import ImagenetReference, imagenet_classifier
from envise_tf.networks.labelled import LabelledLogits
from envise_tf.networks.loading import Classifier
from envise_tf.networks.normalisation import PIXEL_RANGES, PixelRange

_BATCH = 64
_LEAST_PROBED = 16
"""Fewer images may well be of one class (our choice)."""


def shared_size(teacher: Classifier, reference: str, image_size: int | None) -> int:
    """Returns the side in pixels that photographs get: the one asked for, or the teacher's.

    Args:
        teacher: says which it takes.
        reference: what the user calls the teacher.
        image_size: the one asked for, if any.

    Raises:
        UserError: none is asked for, and the teacher takes any.
    """
    size = image_size or teacher.size
    if size is None:
        raise UserError(f"teacher {reference} takes images of any size: give the side as --image_size")
    return size


def require_size(teacher: Classifier, reference: str, size: int | None, shown: str) -> None:
    """Returns if the teacher takes images of that side.

    Args:
        teacher: says which it takes.
        reference: what the user calls the teacher.
        size: side in pixels.
        shown: what the images are called.

    Raises:
        UserError: it takes another.
    """
    if teacher.size not in (None, size):
        raise UserError(
            f"teacher {reference} takes {teacher.size}x{teacher.size} images, but those of {shown} are {size}x{size}: "
            f"give --image_size {teacher.size}, or another --teacher"
        )


def require_fitting_range(
    teacher: Classifier,
    reference: str,
    pixel_range: PixelRange,
    images: np.ndarray,
    load: Callable[[PixelRange], Classifier],
) -> None:
    """Returns unless the teacher gives all images one answer, and other answers where it is shown other pixel values.

    A network that was trained on 0..1 and is shown 0..255 saturates: it is sure of the same class whatever it sees. At
    the right range it gives no answer to more than half of the images (our choice).

    Args:
        teacher: of the user's own.
        reference: what the user calls it.
        pixel_range: that it is shown.
        images: uint8 (n, size, size, 3), of the stream.
        load: loads the teacher anew for another range.

    Raises:
        UserError: it does; the range that gives the most different answers is named.
    """
    if len(images) < _LEAST_PROBED or _answers(teacher, images).max() < len(images):
        return
    counts = {other: _answers(load(other), images) for other in PIXEL_RANGES if other != pixel_range}
    best = min(counts, key=lambda other: counts[other].max())
    if counts[best].max() <= len(images) / 2:
        raise UserError(
            f"teacher {reference} gives the same answer to all of {len(images)} images with --teacher_range "
            f"{pixel_range}, and {np.sum(counts[best] > 0)} different ones with {best}: if it was trained on such "
            "pixels, give that"
        )


def _answers(teacher: Classifier, images: np.ndarray) -> np.ndarray:
    """Returns how many of some images a teacher takes for each class, int64 (classes,)."""
    return np.bincount(teacher(images).argmax(axis=-1), minlength=teacher.classes)


def fitted_to(images: Source | Frames, classifier: Classifier, reference: str) -> Classifier:
    """Returns an ImageNet classifier for images of one size, restricted to their classes where their ids are known.

    Args:
        images: whose size, and WordNet ids if it has any, the classifier gets.
        classifier: what the reference names, returned as it is unless that is an `ImagenetReference`.
        reference: see `load_teacher`.

    Raises:
        UserError: the images have a class that is none of ImageNet's 1,000.
    """
    imagenet = ImagenetReference.of(reference)
    if imagenet is None:
        return classifier
    model = imagenet_classifier(imagenet, images.size, images.wordnet_ids)
    return Classifier(model, images.class_names if images.wordnet_ids else classifier.class_names)


def labelled_examples(folder: str, teacher: Classifier, size: int) -> tf.data.Dataset:
    """Returns the images of a folder in batches: "image", uint8 (batch, size, size, 3), "label", int64 (batch,).

    Labels are in the teacher's numbering.

    Args:
        folder: with one sub-folder per class, called as the teacher calls it.
        teacher: with a name for each class.
        size: side of the images in pixels.

    Raises:
        UserError: no such folder, a class that the teacher does not know, or images of fewer than two classes.
    """
    images = Folder(folder, size)
    for name in images.class_names:
        if name not in teacher.class_names:
            raise UserError(
                f"{folder} has images of {name}, no class of the teacher: {nearest_names(name, teacher.class_names)}"
            )
    if len(images.class_names) < 2:
        raise UserError(
            f"{folder} holds labelled images of {len(images.class_names)} class(es): expected at least two sub-folders "
            "that are called as the teacher calls its classes"
        )
    labels = tf.constant([teacher.class_names.index(name) for name in images.class_names], tf.int64)
    examples = images.examples("train").concatenate(images.examples("test"))
    return examples.map(lambda each: {"image": each["image"], "label": tf.gather(labels, each["label"])}).batch(_BATCH)


def labelled_by(folder: str, teacher: Classifier, size: int) -> LabelledLogits:
    """Returns what a teacher says of a folder of labelled images that it was not trained on.

    Args:
        folder: as in `labelled_examples`, like the next two.
        teacher: with a name for each class.
        size: side of the images in pixels.

    Raises:
        UserError: as in `labelled_examples`.
    """
    shown = progress.track(labelled_examples(folder, teacher, size).as_numpy_iterator(), "calibrating the teacher")
    return LabelledLogits.of(((teacher(each["image"]), each["label"]) for each in shown), teacher.classes)
