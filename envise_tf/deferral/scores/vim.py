"""Virtual-logit matching, ViM [Wang et al. 2022]: energy, less what the features hold outside their usual subspace.

With the origin o = -(W^T)^+ b the logits are W^T (f - o), without a bias. The principal subspace is spanned by the
first D eigenvectors of the second moments of f - o over held-back images; R spans the rest.

    score = log sum_c exp(z_c) - alpha ||R^T (f - o)||        alpha = mean max_c z_c / mean ||R^T (f - o)||

alpha brings the residual, the "virtual logit" of an outlier class, to the size of the logits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from envise_tf.deferral.scores.energy import energy
from envise_tf.deferral.scores.outputs import Outputs
from envise_tf.deferral.scores.score import NotApplicable, OutlierScore
from envise_tf.errors import UserError


def vim(logits: tf.Tensor, features: tf.Tensor, origin: tf.Tensor, residual: tf.Tensor) -> tf.Tensor:
    """Returns the energy less the virtual logit of each image, (n,) [Wang et al. 2022].

    The paper's score is the softmax of the virtual logit, which falls as this one rises.

    Args:
        logits: floating point (n, classes).
        features: floating point (n, d).
        origin: (d,), o.
        residual: (d, d - D), alpha R.
    """
    return energy(logits) - tf.norm(tf.matmul(features - origin, residual), axis=-1)


def residual_space(centred: np.ndarray, principal: int) -> np.ndarray:
    """Returns the eigenvectors of the second moments after the first `principal` ones, (d, d - principal).

    Args:
        centred: float64 (n, d), features less the origin.
        principal: D, in 0..d-1.
    """
    _, axes = np.linalg.eigh(centred.T @ centred / len(centred))
    return axes[:, : centred.shape[1] - principal]


@dataclass
class Vim(OutlierScore):
    """Energy less the scaled residual of the principal subspace.

    Args:
        share: D as a share of the features; half of them by default (our choice: the paper's dimensions are for
            512 features and more). Fewer where few images are held back: at most half as many as these.
    """

    share: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise UserError(f"vim: share {self.share}, expected more than 0 and less than 1")

    def fit(self, outputs: Outputs, pseudo_label: np.ndarray, regret: np.ndarray) -> None:
        inliers, _ = self.known(outputs, pseudo_label)
        kernel, bias = (array.astype(np.float64) for array in (outputs.observer.kernel, outputs.observer.bias))
        origin = -np.linalg.pinv(kernel.T) @ bias
        centred = inliers.features - origin
        residual = residual_space(centred, principal=min(int(self.share * len(origin)), len(centred) // 2))
        length = np.linalg.norm(centred @ residual, axis=-1).mean()
        largest = inliers.logits.max(axis=-1).mean(dtype=np.float64)
        if length <= 1e-6 * np.linalg.norm(centred, axis=-1).mean() or largest <= 0:
            raise NotApplicable(
                f"vim: held-back images have a mean residual of {length:.3g} and a mean largest logit of "
                f"{largest:.3g}, expected both above 0; take energy"
            )
        self.keep(origin=origin, residual=residual * largest / length)

    def __call__(self, logits: tf.Tensor, features: tf.Tensor) -> tf.Tensor:
        return vim(logits, features, self.found("origin"), self.found("residual"))
