"""Free energy [Liu et al. 2020]: the smooth maximum of the logits.

The paper's energy is E(x) = -T log sum_c exp(z_c / T), larger for outliers; the score is -E.
"""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf

from envise_tf.deferral.scores.score import OutlierScore
from envise_tf.errors import UserError


def energy(logits: tf.Tensor, temperature: float = 1.0) -> tf.Tensor:
    """Returns T log sum_c exp(z_c / T) of each image, (n,) [Liu et al. 2020, negated].

    Args:
        logits: floating point (n, classes), z.
        temperature: T > 0; towards 0 the score becomes the largest logit.
    """
    return temperature * tf.reduce_logsumexp(logits / temperature, axis=-1)


@dataclass
class Energy(OutlierScore):
    """Minus the free energy of the student's logits.

    Args:
        temperature: T; the paper recommends 1.
    """

    temperature: float = 1.0

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise UserError(f"energy: temperature {self.temperature}, expected more than 0")

    def __call__(self, logits: tf.Tensor, features: tf.Tensor) -> tf.Tensor:
        return energy(logits, self.temperature)
