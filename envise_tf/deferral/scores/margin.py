"""The margin: how far the largest logit stands above the second largest.

It is log(p_1 / p_2) of the two largest probabilities, the log-odds of the student's class against its nearest rival,
however the other classes share the rest. Known from active learning as best versus second best [Joshi, Porikli and
Papanikolopoulos 2009], there with probabilities; on logits it does not saturate where the student is sure.
"""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf

from envise_tf.deferral.scores.score import OutlierScore


def margin(logits: tf.Tensor) -> tf.Tensor:
    """Returns z_(1) - z_(2), the two largest logits, of each image, (n,) >= 0.

    Args:
        logits: floating point (n, classes), z, at least two classes.
    """
    largest = tf.math.top_k(logits, k=2).values
    return largest[:, 0] - largest[:, 1]


@dataclass
class Margin(OutlierScore):
    """The difference of the student's two largest logits."""

    def __call__(self, logits: tf.Tensor, features: tf.Tensor) -> tf.Tensor:
        return margin(logits)
