"""A teacher's logits of labelled images that it was not trained on: all that its calibration is fitted on.

Only these are kept, not the images: that is enough to fit a temperature for any prior, and small enough to ship.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from envise_tf.errors import UserError

CALIBRATION_FILE = "calibration.npz"
"""Where a run keeps them."""


@dataclass(frozen=True, eq=False)
class LabelledLogits:
    """What a teacher says of n labelled images.

    Attributes:
        logits: float32 (n, classes).
        labels: int64 (n,), the true classes.
    """

    logits: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    @classmethod
    def of(cls, answers: Iterable[tuple[np.ndarray, np.ndarray]], classes: int) -> LabelledLogits:
        """Returns them of batches of (logits, labels), of which there may be none.

        Args:
            answers: float (batch, classes) and int (batch,).
            classes: number of the teacher's classes.
        """
        logits, labels = [np.zeros((0, classes), np.float32)], [np.zeros(0, np.int64)]
        for batch, truth in answers:
            logits.append(np.asarray(batch, np.float32))
            labels.append(np.asarray(truth, np.int64))
        return cls(np.concatenate(logits), np.concatenate(labels))

    def save(self, file: IO[bytes] | str | Path) -> None:
        """Writes them as .npz: the logits in float16, which is exact to a thousandth of a nat where it matters."""
        np.savez_compressed(file, logits=self.logits.astype(np.float16), labels=self.labels.astype(np.uint16))

    @classmethod
    def load(cls, file: IO[bytes] | str | Path) -> LabelledLogits:
        """Returns what `save` has written.

        Raises:
            UserError: the file is missing or holds something else.
        """
        try:
            with np.load(file, allow_pickle=False) as arrays:
                return cls(arrays["logits"].astype(np.float32), arrays["labels"].astype(np.int64))
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise UserError(f"cannot read calibration logits in {file} ({error}): expected logits and labels") from None
