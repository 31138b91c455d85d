"""The largest logit [Hendrycks et al. 2022, "Scaling out-of-distribution detection for real-world settings"].

Unlike the softmax it keeps the logits' scale: an image on which all of them are small is no inlier, even where one
class stands out among them.
"""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf

from envise_tf.deferral.scores.score import OutlierScore


def max_logit(logits: tf.Tensor) -> tf.Tensor:
    """Returns max_c z_c of each image, (n,).

    Args:
        logits: floating point (n, classes), z.
    """
    return tf.reduce_max(logits, axis=-1)


@dataclass
class MaxLogit(OutlierScore):
    """The student's largest logit."""

    def __call__(self, logits: tf.Tensor, features: tf.Tensor) -> tf.Tensor:
        return max_logit(logits)
