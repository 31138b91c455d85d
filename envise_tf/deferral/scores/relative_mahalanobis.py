"""Relative Mahalanobis distance [Ren et al. 2021]: how much nearer the nearest class is than all classes together.

    score = -(min_c d_c(f) - d_0(f))

d_c is the squared Mahalanobis distance of `mahalanobis`, d_0 that to one Gaussian of all held-back images, with its own
mean and covariance. Directions in which the classes do not differ weigh the same in both and cancel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from envise_tf.deferral.scores.mahalanobis import gaussians, mahalanobis
from envise_tf.deferral.scores.outputs import Outputs
from envise_tf.deferral.scores.score import NotApplicable, OutlierScore


def relative_mahalanobis(to_class: tf.Tensor, to_all: tf.Tensor) -> tf.Tensor:
    """Returns d_0 - min_c d_c of each image, (n,) [Ren et al. 2021, negated].

    Args:
        to_class: floating point (n,), min_c d_c.
        to_all: floating point (n,), d_0.
    """
    return to_all - to_class


@dataclass
class RelativeMahalanobis(OutlierScore):
    """The Mahalanobis distance to all classes together, less that to the nearest class."""

    def fit(self, outputs: Outputs, pseudo_label: np.ndarray, regret: np.ndarray) -> None:
        inliers, group = self.known(outputs, pseudo_label)
        if (group == group[0]).all():
            raise NotApplicable(
                "relative_mahalanobis: the teacher predicts one class for all held-back images, expected at least "
                "two; take mahalanobis"
            )
        centre, whitening, means = gaussians(inliers.features, group)
        _, whitening_of_all, mean_of_all = gaussians(inliers.features, np.zeros_like(group))
        self.keep(
            centre=centre,
            whitening=whitening,
            means=means,
            whitening_of_all=whitening_of_all,
            mean_of_all=mean_of_all,
        )

    def __call__(self, logits: tf.Tensor, features: tf.Tensor) -> tf.Tensor:
        centre = self.found("centre")
        to_class = mahalanobis(features, centre, self.found("whitening"), self.found("means"))
        to_all = mahalanobis(features, centre, self.found("whitening_of_all"), self.found("mean_of_all"))
        return relative_mahalanobis(to_class, to_all)
