"""Generalised entropy [Liu, Lochman and Zach 2023, "GEN"]: how far the softmax is from a one-hot vector.

    G = sum over the M most probable classes of p_j^gamma (1 - p_j)^gamma        score = -G

A small gamma makes G feel probabilities near 0 and 1: at gamma 0.1, p = 1e-10 still adds 0.1. So p and 1 - p are
computed in logarithms, and 1 - p of the most probable class from the sum of the others: in float32 the plain
difference would round to 0 for every image that the student is sure of.
"""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf

from envise_tf.deferral.scores.score import OutlierScore
from envise_tf.errors import UserError


def gen(logits: tf.Tensor, gamma: float, top: int) -> tf.Tensor:
    """Returns -sum over the `top` most probable classes of (p (1 - p))^gamma of each image, (n,) <= 0.

    Args:
        logits: floating point (n, classes), at least two classes.
        gamma: in 0..1, exclusive.
        top: M >= 1; all classes where there are fewer.
    """
    log_p = tf.math.top_k(tf.nn.log_softmax(logits), k=logits.shape[-1]).values
    log_rest = tf.concat(
        [tf.reduce_logsumexp(log_p[:, 1:], axis=-1, keepdims=True), tf.math.log(1.0 - tf.exp(log_p[:, 1:]))], axis=-1
    )
    return -tf.reduce_sum(tf.exp(gamma * (log_p + log_rest))[:, :top], axis=-1)


@dataclass
class Gen(OutlierScore):
    """Minus the generalised entropy of the student's softmax.

    Args:
        gamma: the exponent; 0.1 is the paper's.
        top: M, how many of the most probable classes count; 100 is the paper's, for 1,000 classes.
    """

    gamma: float = 0.1
    top: int = 100

    def __post_init__(self) -> None:
        if not 0 < self.gamma < 1:
            raise UserError(f"gen: gamma {self.gamma}, expected more than 0 and less than 1")
        if self.top < 1:
            raise UserError(f"gen: top {self.top}, expected at least 1")

    def __call__(self, logits: tf.Tensor, features: tf.Tensor) -> tf.Tensor:
        return gen(logits, self.gamma, self.top)
