"""Maximum softmax probability [Hendrycks and Gimpel 2017]: how sure the student is of its class."""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf

from envise_tf.deferral.scores.score import OutlierScore


def msp(logits: tf.Tensor) -> tf.Tensor:
    """Returns max_c softmax(z)_c of each image, (n,), in 1/classes..1 [Hendrycks and Gimpel 2017].

    Args:
        logits: floating point (n, classes), z.
    """
    return tf.reduce_max(tf.nn.softmax(logits), axis=-1)


@dataclass
class Msp(OutlierScore):
    """The baseline that every other score is compared with."""

    def __call__(self, logits: tf.Tensor, features: tf.Tensor) -> tf.Tensor:
        return msp(logits)
