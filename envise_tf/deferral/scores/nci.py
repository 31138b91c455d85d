"""Neural collapse inspired detector, NCI [Liu and Qin, arXiv 2311.01479]: how straight the feature points to its class.

Trained to the end, a network's features of a class gather along that class' weights w_c, seen from the mean mu of all
features; those of outliers do not, and lie near the origin. With p the predicted class:

    score = w_p . (f - mu) / ||f - mu|| + alpha ||f||_1
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from envise_tf.deferral.scores.outputs import Outputs
from envise_tf.deferral.scores.score import OutlierScore
from envise_tf.errors import UserError


def nci(logits: tf.Tensor, features: tf.Tensor, weights: tf.Tensor, mean: tf.Tensor, alpha: float) -> tf.Tensor:
    """Returns the projection on the predicted class' weights plus alpha times the L1 norm, (n,).

    Args:
        logits: floating point (n, classes).
        features: floating point (n, d), f.
        weights: (classes, d), w_c.
        mean: (d,), mu.
        alpha: weight of the norm, >= 0.
    """
    direction = tf.math.l2_normalize(features - mean, axis=-1)
    of_predicted = tf.gather(weights, tf.argmax(logits, axis=-1))
    return tf.reduce_sum(of_predicted * direction, axis=-1) + alpha * tf.norm(features, ord=1, axis=-1)


@dataclass
class Nci(OutlierScore):
    """How straight the feature points to the predicted class, and how far it lies from the origin.

    Args:
        alpha: weight of the feature's L1 norm; 0.0001 is the default of the authors' code, which tunes it on outliers.
    """

    alpha: float = 0.0001

    def __post_init__(self) -> None:
        if not self.alpha >= 0:
            raise UserError(f"nci: alpha {self.alpha}, expected at least 0")

    def fit(self, outputs: Outputs, pseudo_label: np.ndarray, regret: np.ndarray) -> None:
        inliers, _ = self.known(outputs, pseudo_label)
        self.keep(weights=outputs.observer.kernel.T, mean=inliers.features.mean(axis=0, dtype=np.float64))

    def __call__(self, logits: tf.Tensor, features: tf.Tensor) -> tf.Tensor:
        return nci(logits, features, self.found("weights"), self.found("mean"), self.alpha)
