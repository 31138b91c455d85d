"""Who sees which training image: the disjoint-halves protocol.

A classifier is right about images that it was trained on far more often than about new ones. If the stream were
the teacher's own training images, its pseudo-labels and its confidence would flatter everything measured. So the
training split is cut in two by the fingerprint of each example: the teacher learns from one half, the stream is
drawn from the other. A twelfth of the teacher's half is kept out of its training, to choose its settings and to
calibrate it. Under the protocol "shared" both have the whole training split, as papers do.

The stream's images have three uses, see `holding_back`: they train, choose, or promise. What is answered in its order,
and holds images back by itself, draws from all of these: what the teacher has not seen.
"""

from __future__ import annotations

import math
from typing import Literal

import tensorflow as tf

from envise_tf.images.holding_back import CHOOSING_EVERY, HELD_BACK_EVERY, is_held_back, is_promising

Protocol = Literal["disjoint", "shared"]
Part = Literal["teacher", "calibration", "stream", "held_back", "choosing", "promising", "unseen"]

CALIBRATION_EVERY = 12
"""One of the teacher's images in twelve calibrates it (our choice: 2,000 of CIFAR-100's half, 20 a class)."""


def is_in_part(fingerprint: tf.Tensor, part: Part, protocol: Protocol) -> tf.Tensor:
    """Returns bool, the shape of `fingerprint`: does the example belong to this part?

    Args:
        fingerprint: int64 >= 0, of any shape, from `source.fingerprint`.
        part: "teacher" (what the teacher may train on), "calibration" (what is kept out of that), "stream" (what the
            student may train on), "choosing" and "promising" (see `holding_back`), "held_back" (these two together), or
            "unseen" (stream and held back).
        protocol: "disjoint" cuts the training split in halves; "shared" gives all of it to both.
    """
    everything = tf.ones_like(fingerprint, tf.bool)
    in_stream_half = tf.equal(fingerprint % 2, 1)
    calibrates = tf.equal((fingerprint // 2) % CALIBRATION_EVERY, 0)
    held_back, promising = is_held_back(fingerprint), is_promising(fingerprint)
    of_teacher = {"teacher": ~calibrates, "calibration": calibrates}
    of_stream = {
        "stream": ~held_back,
        "held_back": held_back,
        "choosing": held_back & ~promising,
        "promising": promising,
        "unseen": everything,
    }
    if protocol == "shared":
        return {**of_teacher, **of_stream}[part]
    return ~in_stream_half & of_teacher[part] if part in of_teacher else in_stream_half & of_stream[part]


def images_for(promising: int, protocol: Protocol) -> int:
    """Returns about how many training images give that many promising ones.

    Args:
        promising: at least 0.
        protocol: "disjoint" leaves half of them to the teacher.
    """
    return math.ceil(promising / promising_share(protocol))


def promising_share(protocol: Protocol) -> float:
    """Returns the share of the training images that a promise is made on, in 0..1."""
    return (CHOOSING_EVERY - 1) / CHOOSING_EVERY / HELD_BACK_EVERY / (2 if protocol == "disjoint" else 1)
