"""When a student has learned what it can: agreement with the teacher is high enough and stands still (our choice)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Convergence:
    """The test, fed with one measurement of agreement after another.

    Attributes:
        floor: least agreement to converge at, in 0..1.
        improvement: least gain that counts as one.
        patience: measurements without a gain, >= 1, after which agreement stands still.
        best: agreement so far.
        stood_still: measurements since the last gain.
    """

    floor: float
    improvement: float
    patience: int
    best: float = 0.0
    stood_still: int = 0

    def is_reached(self, agreement: float) -> bool:
        """Returns whether the test passes with this further measurement."""
        if agreement > self.best + self.improvement:
            self.best, self.stood_still = agreement, 0
        else:
            self.stood_still += 1
        return self.stood_still >= self.patience and self.best >= self.floor

    def be_patient_again(self) -> None:
        """Starts to count measurements anew; the best one stays."""
        self.stood_still = 0
