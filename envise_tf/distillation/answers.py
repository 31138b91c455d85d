"""What the teacher says of held-back images, asked once and not after every window."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import tensorflow as tf

from envise_tf.errors import UserError


def answered(
    images: tf.data.Dataset,
    teacher: Callable[[np.ndarray], np.ndarray],
    shown: Callable[[tf.data.Dataset], Iterable[tf.Tensor]] = iter,
) -> tf.data.Dataset:
    """Returns held-back images in batches, with the teacher's outputs beside them, for `Distiller.evaluate`.

    The images are kept in memory.

    Args:
        images: uint8 batches (n, height, width, 3), of one size but for the last; the same in every pass.
        teacher: such images -> logits or probabilities, such as a `Classifier` or a `traced` network.
        shown: returns an iterator over the batches, such as one that shows how far it has come.

    Returns:
        Pairs (uint8 images, float32 (n, teacher's classes)), of a known number of batches.

    Raises:
        UserError: there is no image.
    """
    images = images.cache()
    outputs = [teacher(batch) for batch in shown(images)]
    if not outputs:
        raise UserError("no image is held back: expected some dozens; give a larger stream")
    answers = tf.data.Dataset.from_tensor_slices(np.concatenate(outputs)).batch(len(outputs[0]))
    pairs = tf.data.Dataset.zip((images, answers)).prefetch(2)
    return pairs.apply(tf.data.experimental.assert_cardinality(len(outputs)))
