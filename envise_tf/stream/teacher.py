"""The teacher of a stream: calibrated, and adapted to the class shares that the stream is thought to have now."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from envise_tf.networks.macs import macs
from envise_tf.networks.tracing import traced
from envise_tf.prior.adapted import adapted_teacher
from envise_tf.prior.calibration import Calibration
from envise_tf.prior.shift import log_prior_ratio


class StreamTeacher:
    """A teacher whose answers follow the class shares that it is told.

    Responsible for one network and the prior in it, which students in training share. Not for estimating the prior.

    Args:
        model: frozen classifier of uint8 images, logits or softmax at its end.
        calibration: of its logits.
        source_prior: float (classes,), under which they are calibrated.
        is_adapted: whether the shares change its answers; else it answers as it came.

    Attributes:
        network: uint8 images -> logits under the present prior.
        source_prior: as given.
        macs: work of an image.
        prior: float64 (classes,), the present one.

    Raises:
        UserError: as in `adapted_teacher`.
    """

    def __init__(
        self, model: tf.keras.Model, calibration: Calibration, source_prior: np.ndarray, is_adapted: bool
    ) -> None:
        self.source_prior, self._is_adapted = np.asarray(source_prior, np.float64), is_adapted
        self._calibration = calibration
        self.macs = macs(model)
        self.network = adapted_teacher(model, calibration, np.zeros(len(self.source_prior)))
        self._shift = self.network.layers[-1]
        self._traced = traced(self.network)
        self.prior = self.source_prior

    @property
    def classes(self) -> int:
        return len(self.source_prior)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Returns the calibrated logits of uint8 images (n, height, width, 3), under the source prior: float32."""
        return self._traced(images) - self.log_ratio(self.prior)

    def adapted(self, logits: np.ndarray, prior: np.ndarray | None = None) -> np.ndarray:
        """Returns calibrated logits under a prior, float32 (n, classes).

        Args:
            logits: float32 (n, classes), calibrated, under the source prior.
            prior: float (classes,); None for the present one.
        """
        return logits + self.log_ratio(self.prior if prior is None else prior)

    def log_ratio(self, prior: np.ndarray) -> np.ndarray:
        """Returns what a prior adds to the calibrated logits, float32 (classes,): 0 where it is not adapted."""
        if not self._is_adapted:
            return np.zeros(self.classes, np.float32)
        return log_prior_ratio(prior, self.source_prior).astype(np.float32)

    def assign(self, prior: np.ndarray) -> None:
        """Sets the present prior, float (classes,), of the network too."""
        self.prior = np.asarray(prior, np.float64)
        self._shift.assign(self._calibration, self.log_ratio(self.prior))
