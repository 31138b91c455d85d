"""The adapted teacher where there is no TensorFlow: what a manifest adds to the raw logits of the teacher's file.

    z / T + b + log(pi / pi0)

with T the temperature, b the bias, pi the stream's prior and pi0 the source prior (`envise_tf.prior`). It stands in the
manifest and not in the network, so that a device can take another prior without another file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from envise_tf.prior.shift import adapted_logits


@dataclass(frozen=True, eq=False)
class BundleAdaptation:
    """How the teacher of a bundle is adapted, for numbers that the manifest's checks have passed.

    Attributes:
        temperature: T > 0.
        bias: b, float64 (classes,), in nats.
        prior: pi, float64 (classes,), shares of the stream that sum to 1.
        source_prior: pi0, float64 (classes,), above 0.
    """

    temperature: float
    bias: np.ndarray
    prior: np.ndarray
    source_prior: np.ndarray

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> BundleAdaptation:
        """Returns the adaptation that a manifest describes."""
        bias, prior, source_prior = (np.array(entry[key], np.float64) for key in ("bias", "prior", "source_prior"))
        return cls(float(entry["temperature"]), bias, prior, source_prior)

    def calibrated(self, logits: np.ndarray) -> np.ndarray:
        """Returns z / T + b, float64 (n, classes), of raw logits z, float (n, classes)."""
        return np.asarray(logits, np.float64) / self.temperature + self.bias

    def adapted(self, logits: np.ndarray, prior: np.ndarray | None = None) -> np.ndarray:
        """Returns the adapted logits, float32 (n, classes), of raw ones.

        Args:
            logits: float (n, classes), of the teacher's file.
            prior: float (classes,), shares >= 0 that sum to 1; None takes the manifest's.
        """
        prior = self.prior if prior is None else prior
        return adapted_logits(self.calibrated(logits), prior, self.source_prior).astype(np.float32)
