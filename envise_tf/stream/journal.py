"""What a stream's states have in common: how far it has come, what was done, and what happened."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from envise_tf.prior.adaptation import Adaptation

State = Literal["adapt", "serve"]


@dataclass(frozen=True)
class Replies:
    """What is said of n images.

    Attributes:
        state: in which it was.
        label: int64 (n,), the teacher's class that is answered.
        by_student: bool (n,).
        promised: bool (n,), whether the student's promise covers the answer: not where the student gave it only because
            the budget for the teacher was spent.
        score: float32 (n,), NaN while adapting.
        teacher_class: int64 (n,), what the teacher said, -1 where it was not asked.
        raw_class: int64 (n,), the same of the teacher as it came.
        adaptation: of the teacher.
    """

    state: State
    label: np.ndarray
    by_student: np.ndarray
    promised: np.ndarray
    score: np.ndarray
    teacher_class: np.ndarray
    raw_class: np.ndarray
    adaptation: Adaptation


@dataclass
class Tally:
    """How many images each network has seen, and why.

    Attributes:
        student: images that the student answered while serving, deferred ones too.
        deferred: of these, images that the teacher answered instead.
        audited: of these, images that the teacher was asked about though the student was sure, those held back for a
            student in training among them.
        labelled: images that the teacher answered while adapting.
        taught: images that the teacher saw once more, inside training steps.
        trained: images in the student's training steps.
        validated: images that a student saw to be measured, started from, or given a threshold.
    """

    student: int = 0
    deferred: int = 0
    audited: int = 0
    labelled: int = 0
    taught: int = 0
    trained: int = 0
    validated: int = 0


@dataclass
class Journal:
    """How far a stream has come.

    Attributes:
        position: images taken so far, those that are being answered among them.
        tally: of all of them.
        agreement: with the teacher on held-back images, in 0..1, as last measured; None before.
        events: what has happened since they were last taken, each with "state", "event", "reason" and figures.
    """

    position: int = 0
    tally: Tally = field(default_factory=Tally)
    agreement: float | None = None
    events: list[dict[str, Any]] = field(default_factory=list)

    def note(self, state: State, event: str, reason: str, **figures: Any) -> None:
        """Adds an event."""
        self.events.append({"state": state, "event": event, "reason": reason, **figures})

    def taken_events(self) -> list[dict[str, Any]]:
        """Returns the events since the last call."""
        events, self.events = self.events, []
        return events

    def snapshot(self) -> dict[str, Any]:
        """Returns all that `restore` needs as plain values; events that were not taken are none of it."""
        return {"position": self.position, "tally": dataclasses.asdict(self.tally), "agreement": self.agreement}

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Makes this the journal that `snapshot` was taken of."""
        self.position, self.agreement = snapshot["position"], snapshot["agreement"]
        self.tally, self.events = Tally(**snapshot["tally"]), []
