"""Inlier mass: the probability that a student with more classes than occur gives to those that do (our choice).

For a student whose head still covers all the teacher's classes. It knows outliers by name: an image that it takes for
a class that is rare in the stream is an outlier, however sure it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from envise_tf.deferral.scores.outputs import Outputs
from envise_tf.deferral.scores.score import NotApplicable, OutlierScore
from envise_tf.errors import UserError
from envise_tf.prior.frequent import frequent_predictions


def inlier_mass(logits: tf.Tensor, is_frequent: tf.Tensor) -> tf.Tensor:
    """Returns the softmax probability of the frequent classes together, (n,), in 0..1.

    Args:
        logits: floating point (n, classes).
        is_frequent: (classes,) of the same type, 1 for a frequent class and 0 for another.
    """
    return tf.linalg.matvec(tf.nn.softmax(logits), is_frequent)


@dataclass
class InlierMass(OutlierScore):
    """The probability of the classes that are frequent among the pseudo-labels, see `prior.frequent`.

    Args:
        coverage: share of the held-back images of known classes that the frequent classes must cover.
        min_share: least share of these images that a frequent class must have.
    """

    coverage: float = 0.99
    min_share: float = 0.01

    def __post_init__(self) -> None:
        if not 0 < self.coverage <= 1:
            raise UserError(f"inlier_mass: coverage {self.coverage}, expected more than 0 and at most 1")
        if not 0 <= self.min_share < 1:
            raise UserError(f"inlier_mass: min_share {self.min_share}, expected at least 0 and less than 1")

    def fit(self, outputs: Outputs, pseudo_label: np.ndarray, regret: np.ndarray) -> None:
        inliers, label = self.known(outputs, pseudo_label)
        classes = inliers.logits.shape[-1]
        frequent = frequent_predictions(label, self.coverage, self.min_share)
        if len(frequent) in (0, classes):
            raise NotApplicable(
                f"inlier_mass: {len(frequent)} of the student's {classes} classes are frequent, expected some and not "
                "all; take another score, or a student of all the teacher's classes"
            )
        self.keep(is_frequent=np.isin(np.arange(classes), frequent))

    def __call__(self, logits: tf.Tensor, features: tf.Tensor) -> tf.Tensor:
        return inlier_mass(logits, self.found("is_frequent"))
