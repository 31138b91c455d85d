"""Mahalanobis distance to the nearest class [Lee et al. 2018]: one Gaussian per class, with one shared covariance.

    score = -min_c (f - mu_c)^T S^-1 (f - mu_c)

f are the penultimate features, mu_c their mean over the held-back images of pseudo-label c. S is the covariance around
these means, shrunk towards a multiple of the identity [Ledoit and Wolf 2004]: a few hundred images do not pin down
128 x 128 numbers, and a channel that never fires would make S singular. The paper's input perturbation and its
features of earlier layers are left out: they need outliers to be tuned on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from sklearn.covariance import LedoitWolf

from envise_tf.deferral.scores.outputs import Outputs
from envise_tf.deferral.scores.score import NotApplicable, OutlierScore


def mahalanobis(features: tf.Tensor, centre: tf.Tensor, whitening: tf.Tensor, means: tf.Tensor) -> tf.Tensor:
    """Returns the squared Mahalanobis distance of each image to the nearest mean, (n,) >= 0.

    Args:
        features: floating point (n, d).
        centre: (d,), subtracted from the features first.
        whitening: (d, d), A with A A^T = S^-1.
        means: (k, d), k means less the centre, times A.
    """
    white = tf.matmul(features - centre, whitening)
    # By squares and a product: the differences themselves would be n x k x d numbers.
    squares = tf.reduce_sum(white**2, axis=-1, keepdims=True) + tf.reduce_sum(means**2, axis=-1)
    distances = squares - 2 * tf.matmul(white, means, transpose_b=True)
    return tf.nn.relu(tf.reduce_min(distances, axis=-1))


def gaussians(features: np.ndarray, group: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns centre, whitening and means, as `mahalanobis` takes them, float64.

    Args:
        features: (n, d).
        group: integer (n,), which images share a mean.

    Raises:
        NotApplicable: the features of all images of a group are the same, in every group.
    """
    features = features.astype(np.float64)
    centre = features.mean(axis=0)
    present, place = np.unique(group, return_inverse=True)
    means = np.stack([features[group == one].mean(axis=0) for one in present])
    covariance = LedoitWolf(assume_centered=True).fit(features - means[place]).covariance_
    variances, axes = np.linalg.eigh(covariance)
    if variances[0] <= 0:
        raise NotApplicable("held-back images of one class are all alike: hold back more images, or take energy")
    whitening = axes / np.sqrt(variances)
    return centre, whitening, (means - centre) @ whitening


@dataclass
class Mahalanobis(OutlierScore):
    """Minus the squared Mahalanobis distance to the nearest class mean.

    A class without a held-back image has no mean, and its images lie far from all others (our choice): the cascade
    defers them, which costs time and no accuracy.
    """

    def fit(self, outputs: Outputs, pseudo_label: np.ndarray, regret: np.ndarray) -> None:
        inliers, group = self.known(outputs, pseudo_label)
        centre, whitening, means = gaussians(inliers.features, group)
        self.keep(centre=centre, whitening=whitening, means=means)

    def __call__(self, logits: tf.Tensor, features: tf.Tensor) -> tf.Tensor:
        return -mahalanobis(features, self.found("centre"), self.found("whitening"), self.found("means"))
