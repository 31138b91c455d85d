"""The trials of a sweep as they stand on disk: one JSON file each, written whole when the trial ends."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from envise_tf.run import Run
from envise_tf.settings import SweepSettings, TrainSettings

BASELINE = "preset"
"""Name of the trial that trains the settings that the sweep starts from, for comparison; no tuner knows of it."""

Status = Literal["completed", "stopped", "failed"]


@dataclass(frozen=True)
class TrialRecord:
    """One trial that has ended.

    Attributes:
        trial: its number as KerasTuner writes it, or `BASELINE`. A rung of Hyperband is a trial of its own.
        status: "stopped" is measured like a completed one, but was hopeless and trained for fewer windows.
        values: of each setting of the space, by its dotted name.
        figures: "gie", "auroc" and "agreement" on held-back images; empty where it failed.
        curve: agreement on held-back images after each window since the student's first.
        run: folder of the student, relative to the sweep's.
        seconds: that this trial took, earlier rungs not counted.
        reason: why it failed or was stopped, else "".
        worker: which one ran it.
    """

    trial: str
    status: Status
    values: dict[str, Any]
    figures: dict[str, float]
    curve: list[float]
    run: str
    seconds: float
    reason: str
    worker: str

    @property
    def windows(self) -> int:
        """Windows that its student had trained for when it ended."""
        return len(self.curve)

    @property
    def number(self) -> int:
        """Its number, -1 for the baseline."""
        return -1 if self.trial == BASELINE else int(self.trial)


def by_number(records: Iterable[TrialRecord]) -> list[TrialRecord]:
    """Returns the baseline, if there is one, and then the trials by number."""
    return sorted(records, key=lambda record: record.number)


def write_record(sweep: Run, record: TrialRecord) -> None:
    """Writes trials/TRIAL.json."""
    sweep.write_json(f"trials/{record.trial}.json", asdict(record))


def trial_records(sweep: Run) -> list[TrialRecord]:
    """Returns all trials that have ended: the baseline first, then by number."""
    files = (sweep.folder / "trials").glob("*.json")
    return by_number(
        TrialRecord(**json.loads(file.read_text())) for file in files if not file.name.startswith("unfinished")
    )


def training_settings(settings: SweepSettings) -> TrainSettings:
    """Returns the settings of a training that every trial starts from; its folder is not yet chosen."""
    values = {field.name: getattr(settings, field.name) for field in fields(TrainSettings)}
    return TrainSettings(**{**values, "out": None})
