"""Distance to the k-th nearest held-back image [Sun et al. 2022], on the sphere of normalised features.

It assumes no Gaussians. The held-back images stand for the paper's training images, so k grows with their number.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from envise_tf.deferral.scores.outputs import Outputs
from envise_tf.deferral.scores.score import OutlierScore
from envise_tf.errors import UserError


def knn(features: tf.Tensor, bank: tf.Tensor, k: int) -> tf.Tensor:
    """Returns minus the distance to the k-th nearest row of the bank, (n,), in -2..0 [Sun et al. 2022].

    Args:
        features: floating point (n, d), of any length; they are normalised here.
        bank: (m, d), rows of length 1.
        k: in 1..m.
    """
    normalised = tf.math.l2_normalize(features, axis=-1)
    nearest = tf.math.top_k(tf.matmul(normalised, bank, transpose_b=True), k).indices[:, -1]
    # Taken from the difference: 2 - 2 cos loses all digits where two images are nearly the same.
    return -tf.norm(normalised - tf.gather(bank, nearest), axis=-1)


@dataclass
class Knn(OutlierScore):
    """Minus the distance to the k-th nearest held-back image whose class the student knows.

    Not for a phone (our choice): a bank of 1,000 images with 128 features takes 512 kB, more than a binary student.

    Args:
        share: k as a share of the bank, rounded up; k = 10 for 1,000 images.
    """

    runs_on_device = False

    share: float = 0.01

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise UserError(f"knn: share {self.share}, expected more than 0 and at most 1")

    def fit(self, outputs: Outputs, pseudo_label: np.ndarray, regret: np.ndarray) -> None:
        inliers, _ = self.known(outputs, pseudo_label)
        self.keep(bank=tf.math.l2_normalize(inliers.features, axis=-1).numpy())

    def __call__(self, logits: tf.Tensor, features: tf.Tensor) -> tf.Tensor:
        bank = self.found("bank")
        return knn(features, bank, k=math.ceil(self.share * len(bank)))
