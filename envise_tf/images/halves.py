"""Who sees which training image: the disjoint-halves protocol.

A classifier is right about images that it was trained on far more often than about new ones. If the stream were
the teacher's own training images, its pseudo-labels and its confidence would flatter everything measured. So the
training split is cut in two by the fingerprint of each example: the teacher learns from one half, the stream is
drawn from the other. A fifth of the stream is held back: never trained on, it measures agreement and chooses the
threshold. What is answered in its order, and holds images back by itself, draws from both: what the teacher has not
seen. Under the protocol "shared" both have the whole training split, as papers do.
"""

from __future__ import annotations

from typing import Literal

import tensorflow as tf

Protocol = Literal["disjoint", "shared"]
Part = Literal["teacher", "stream", "held_back", "unseen"]

HELD_BACK_EVERY = 5
"""One stream image in five is held back (our choice: 20 % still gives a standard error below 1.5 points on 1,000)."""


def is_in_part(fingerprint: tf.Tensor, part: Part, protocol: Protocol) -> tf.Tensor:
    """Returns bool, the shape of `fingerprint`: does the example belong to this part?

    Args:
        fingerprint: int64 >= 0, of any shape, from `source.fingerprint`.
        part: "teacher" (what the teacher may train on), "stream" (what the student may train on), "held_back", or
            "unseen" (the last two together).
        protocol: "disjoint" cuts the training split in halves; "shared" gives all of it to both.
    """
    everything = tf.ones_like(fingerprint, tf.bool)
    in_stream_half = tf.equal(fingerprint % 2, 1)
    is_held_back = tf.equal((fingerprint // 2) % HELD_BACK_EVERY, 0)
    if part == "teacher":
        return everything if protocol == "shared" else ~in_stream_half
    of_stream = {"stream": ~is_held_back, "held_back": is_held_back, "unseen": everything}[part]
    return of_stream if protocol == "shared" else in_stream_half & of_stream
