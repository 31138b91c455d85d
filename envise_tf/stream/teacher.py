"""The teacher of a stream: calibrated, and adapted to the class shares that the stream is thought to have now."""

from __future__ import annotations

import dataclasses

import numpy as np

from envise_tf.networks.loading import Classifier
from envise_tf.networks.macs import macs
from envise_tf.networks.tracing import traced
from envise_tf.prior.adaptation import Adaptation, adaptation_to, unadapted
from envise_tf.prior.adapted import adapted_teacher


class StreamTeacher:
    """A teacher whose answers follow the class shares that it is told.

    Responsible for one network and the adaptation in it, which students in training share. Not for when it changes.

    Args:
        teacher: frozen classifier of uint8 images, logits or softmax at its end, with what it says of labelled images,
            if there are any, to calibrate it.
        is_adapted: whether its answers are adapted; else it answers as it came.
        outlier_rate: share of the stream that is expected to come from classes that it has not shown yet.

    Attributes:
        network: uint8 images -> logits under the present adaptation.
        macs: work of an image.
        adaptation: the present one.

    Raises:
        UserError: as in `adapted_teacher`.
    """

    def __init__(self, teacher: Classifier, is_adapted: bool, outlier_rate: float = 0.05) -> None:
        self._labelled, self._is_adapted, self._outlier_rate = teacher.labelled, is_adapted, outlier_rate
        self.macs = macs(teacher.model)
        self.adaptation = self._unadapted = unadapted(teacher.classes, teacher.labelled, outlier_rate=outlier_rate)
        given = self.adaptation if is_adapted else unadapted(teacher.classes)
        self.network = adapted_teacher(teacher.model, given.calibration, given.log_ratio)
        self._traced = traced(self.network)

    @property
    def classes(self) -> int:
        return len(self.adaptation.prior)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Returns the logits of uint8 images (n, height, width, 3) as the teacher came: float32 (n, classes)."""
        logits = self._traced(images)
        return self.adaptation.raw_logits(logits).astype(np.float32) if self._is_adapted else logits

    def adapted(self, logits: np.ndarray, adaptation: Adaptation | None = None) -> np.ndarray:
        """Returns the adapted logits, float32 (n, classes).

        Args:
            logits: float32 (n, classes), as the teacher came.
            adaptation: None for the present one.
        """
        adaptation = self.adaptation if adaptation is None else adaptation
        return adaptation.logits(logits).astype(np.float32) if self._is_adapted else logits

    def log_ratio(self, adaptation: Adaptation) -> np.ndarray:
        """Returns what the prior adds to the logits, float32 (classes,): 0 where they are not adapted."""
        return adaptation.log_ratio.astype(np.float32) * self._is_adapted

    def assign(self, adaptation: Adaptation) -> None:
        """Sets the present adaptation, of the network too."""
        self.adaptation = adaptation
        if self._is_adapted:
            self.network.layers[-1].assign(adaptation.calibration, adaptation.log_ratio)

    def forget(self) -> None:
        """Goes back to the shares that the teacher was trained with."""
        self.assign(self._unadapted)

    def assign_prior(self, prior: np.ndarray) -> None:
        """Sets the present class shares, float (classes,), and leaves the calibration."""
        self.assign(dataclasses.replace(self.adaptation, estimate=prior))

    def adaptation_to(self, logits: np.ndarray) -> Adaptation:
        """Returns the adaptation to a stream, of which these are the logits as the teacher came, float (n, classes)."""
        return adaptation_to(logits, self._labelled, outlier_rate=self._outlier_rate)
