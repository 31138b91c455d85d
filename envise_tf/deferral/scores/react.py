"""Rectified activations, ReAct [Sun et al. 2021]: features clipped from above, then energy.

Outliers set off a few channels far beyond what inliers do, which makes the student overconfident; clipping removes just
that.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from envise_tf.deferral.scores.energy import energy
from envise_tf.deferral.scores.outputs import Outputs
from envise_tf.deferral.scores.score import OutlierScore
from envise_tf.errors import UserError


def react(features: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor, limit: tf.Tensor) -> tf.Tensor:
    """Returns the energy of min(f, limit) W + b of each image, (n,) [Sun et al. 2021].

    Args:
        features: floating point (n, d), f.
        kernel: (d, classes), W of the last dense layer.
        bias: (classes,), b of the same.
        limit: scalar, in units of the features.
    """
    return energy(tf.matmul(tf.minimum(features, limit), kernel) + bias)


@dataclass
class React(OutlierScore):
    """The energy of the logits of clipped features.

    Args:
        percentile: of all features of all held-back images of known classes, where they are clipped; 90 is the
            paper's.
    """

    percentile: float = 90.0

    def __post_init__(self) -> None:
        if not 0 < self.percentile <= 100:
            raise UserError(f"react: percentile {self.percentile}, expected more than 0 and at most 100")

    def fit(self, outputs: Outputs, pseudo_label: np.ndarray, regret: np.ndarray) -> None:
        inliers, _ = self.known(outputs, pseudo_label)
        limit = np.percentile(inliers.features, self.percentile)
        self.keep(kernel=outputs.observer.kernel, bias=outputs.observer.bias, limit=limit)

    def __call__(self, logits: tf.Tensor, features: tf.Tensor) -> tf.Tensor:
        return react(features, self.found("kernel"), self.found("bias"), self.found("limit"))
