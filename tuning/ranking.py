"""Which trial is best, and the order of all.

Only figures of students that trained for equally long are compared [our choice]: the trials that may be best are those
with the most windows that any trial has had. A rung of Hyperband or a stopped trial with fewer windows may have a
larger figure by chance or because it learned faster; but the best settings are handed on to be trained for all
windows, and its figure does not say what they give then. While no trial has had all windows, those that had most stand
for them.
"""

from __future__ import annotations

from collections.abc import Sequence

from envise_tf.tuning.trials import BASELINE, TrialRecord, by_number

FIGURES = {"gie": "GiE", "auroc": "AUROC", "agreement": "agreement"}
"""The figures of a trial, and what they are called."""

IN_PERCENT = ("gie", "agreement")
"""Those that are shown in percent."""


def best_trial(records: Sequence[TrialRecord], objective: str) -> TrialRecord | None:
    """Returns the trial of the largest figure, the first of equal ones; None where there is none to compare.

    The baseline is not among them, see also the module.

    Args:
        records: in any order.
        objective: name of the figure.
    """
    return max(longest_trials(records), key=lambda record: record.figures[objective], default=None)


def longest_trials(records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Returns the trials that have figures and the most windows, by number, without the baseline."""
    found = [record for record in by_number(records) if record.trial != BASELINE and is_measured(record)]
    most = max((record.windows for record in found), default=0)
    return [record for record in found if record.windows == most]


def students(records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Returns one record for each student that has figures, by number, without the baseline."""
    return last_rungs([record for record in records if record.trial != BASELINE and is_measured(record)])


def last_rungs(records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Returns one record a student, by number: of several rungs that trained it on, the last."""
    return by_number({record.run: record for record in sorted(by_number(records), key=_windows)}.values())


def ranked(records: Sequence[TrialRecord], objective: str) -> list[TrialRecord]:
    """Returns all trials: the best first, those with fewer windows after all that have more, the failed ones last."""
    measured = [record for record in by_number(records) if is_measured(record)]
    most = max(map(_windows, longest_trials(records)), default=0)
    order = sorted(measured, key=lambda record: (-min(record.windows, most), -record.figures[objective]))
    return [*order, *(record for record in by_number(records) if not is_measured(record))]


def is_measured(record: TrialRecord) -> bool:
    """Returns whether a trial has figures."""
    return record.status != "failed"


def baseline_of(records: Sequence[TrialRecord]) -> TrialRecord | None:
    """Returns the baseline if it has been measured."""
    return next((record for record in records if record.trial == BASELINE and is_measured(record)), None)


def _windows(record: TrialRecord) -> int:
    return record.windows
