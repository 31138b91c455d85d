"""Distance to the decision boundaries, fDBD [Liu and Qin 2024]: how far a feature is from being of another class.

Between the predicted class p and another class c the last layer decides along a hyperplane; the feature's distance to
it is |z_p - z_c| / ||w_p - w_c||. Outliers lie nearer to the boundaries, at the same distance from the centre mu of the
features:

    score = sum_c |z_p - z_c| / ||w_p - w_c|| / ||f - mu||

The paper takes the mean over the other classes; the sum is that of its authors' code, and ranks images alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from envise_tf.deferral.scores.outputs import Outputs
from envise_tf.deferral.scores.score import OutlierScore


def fdbd(logits: tf.Tensor, features: tf.Tensor, inverse_distances: tf.Tensor, mean: tf.Tensor) -> tf.Tensor:
    """Returns the sum of the distances to all boundaries of the predicted class, by that to the mean, (n,) >= 0.

    Args:
        logits: floating point (n, classes), z.
        features: floating point (n, d), f.
        inverse_distances: (classes, classes), 1 / ||w_p - w_c||, or 0 where these two are the same: no boundary.
        mean: (d,), mu.
    """
    gaps = tf.reduce_max(logits, axis=-1, keepdims=True) - logits
    of_predicted = tf.gather(inverse_distances, tf.argmax(logits, axis=-1))
    return tf.math.divide_no_nan(tf.reduce_sum(gaps * of_predicted, axis=-1), tf.norm(features - mean, axis=-1))


@dataclass
class Fdbd(OutlierScore):
    """The distances to the decision boundaries, relative to the distance to the mean of inliers."""

    def fit(self, outputs: Outputs, pseudo_label: np.ndarray, regret: np.ndarray) -> None:
        inliers, _ = self.known(outputs, pseudo_label)
        kernel = outputs.observer.kernel.astype(np.float64)
        distances = np.linalg.norm(kernel[:, :, np.newaxis] - kernel[:, np.newaxis], axis=0)
        inverse = np.divide(1, distances, out=np.zeros_like(distances), where=distances > 0)
        self.keep(inverse_distances=inverse, mean=inliers.features.mean(axis=0, dtype=np.float64))

    def __call__(self, logits: tf.Tensor, features: tf.Tensor) -> tf.Tensor:
        return fdbd(logits, features, self.found("inverse_distances"), self.found("mean"))
