"""Neural collapse inspired detector, NCI [Liu and Qin, arXiv 2311.01479]: how straight the feature points to its class.

Trained to the end, a network's features of a class gather along that class' weights w_c, seen from the mean mu of all
features; those of outliers do not, and lie near the origin. With p the predicted class:

    score = w_p . (f - mu) / ||f - mu|| + alpha ||f||_1

As w_p . f = z_p - b_p, the projection takes the logit and one number a class, w_c . mu + b_c, its logit at the mean.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from envise_tf.deferral.scores.outputs import Outputs
from envise_tf.deferral.scores.score import OutlierScore
from envise_tf.errors import UserError


def nci(logits: tf.Tensor, features: tf.Tensor, mean_logits: tf.Tensor, mean: tf.Tensor, alpha: float) -> tf.Tensor:
    """Returns the projection on the predicted class' weights plus alpha times the L1 norm, (n,).

    Args:
        logits: floating point (n, classes), z.
        features: floating point (n, d), f.
        mean_logits: (classes,), the logits of mu.
        mean: (d,), mu.
        alpha: weight of the norm, >= 0.
    """
    along = tf.reduce_max(logits, axis=-1) - tf.gather(mean_logits, tf.argmax(logits, axis=-1))
    projection = tf.math.divide_no_nan(along, tf.norm(features - mean, axis=-1))
    return projection + alpha * tf.norm(features, ord=1, axis=-1)


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
        mean = inliers.features.mean(axis=0, dtype=np.float64)
        self.keep(mean_logits=mean @ outputs.observer.kernel + outputs.observer.bias, mean=mean)

    def __call__(self, logits: tf.Tensor, features: tf.Tensor) -> tf.Tensor:
        return nci(logits, features, self.found("mean_logits"), self.found("mean"), self.alpha)
