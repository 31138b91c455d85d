"""ODIN [Liang et al. 2018]: a high temperature, and a small step of the image towards the predicted class.

Such a step raises the softmax of inliers more than that of outliers. The paper tunes its magnitude on outliers; here
it is the one that raises the score of held-back images the most [Hsu et al. 2020, "Generalized ODIN"], which needs
none. It takes a gradient, and so three passes instead of one: for comparison, not for a phone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from envise_tf.deferral.scores.msp import msp
from envise_tf.deferral.scores.outputs import Outputs
from envise_tf.deferral.scores.score import OutlierScore
from envise_tf.errors import UserError

MAGNITUDES = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)
"""What `Odin.fit` chooses from (our choice), in pixel values of 0..255."""

FIT_IMAGES = 200
"""Most images that `Odin.fit` looks at (our choice): each costs 8 passes, and a mean needs no more."""


def odin(logits: tf.Tensor, temperature: float) -> tf.Tensor:
    """Returns max_c softmax(z / T)_c of each image, (n,), in 1/classes..1 [Liang et al. 2018].

    Args:
        logits: floating point (n, classes), z, of the perturbed image.
        temperature: T > 0.
    """
    return msp(logits / temperature)


@dataclass
class Odin(OutlierScore):
    """The softmax at a high temperature, of an image moved towards the predicted class.

    Args:
        temperature: T; 1000 is the paper's.
    """

    runs_on_device = False

    temperature: float = 1000.0

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise UserError(f"odin: temperature {self.temperature}, expected more than 0")

    def fit(self, outputs: Outputs, pseudo_label: np.ndarray, regret: np.ndarray) -> None:
        """Chooses the magnitude with the largest mean score on held-back images of known classes."""
        inliers, _ = self.known(outputs, pseudo_label)
        inliers = inliers.chosen(np.arange(len(inliers.images)) < FIT_IMAGES)
        means = [scores.mean(dtype=np.float64) for scores in self._scored(inliers, MAGNITUDES)]
        self.keep(magnitude=MAGNITUDES[int(np.argmax(means))])

    def __call__(self, logits: tf.Tensor, features: tf.Tensor) -> tf.Tensor:
        """Returns the score, float32 (n,), of the logits of perturbed images."""
        return odin(logits, self.temperature)

    def score(self, outputs: Outputs) -> np.ndarray:
        (scores,) = self._scored(outputs, [float(self.found("magnitude"))])
        return scores

    def _scored(self, outputs: Outputs, magnitudes: Sequence[float]) -> list[np.ndarray]:
        """Returns the scores, float32 (n,), at each magnitude."""
        logits = outputs.observer.perturbed_logits(outputs.images, magnitudes, self.temperature)
        return [self(tf.constant(each), tf.constant(outputs.features)).numpy() for each in logits]
