"""A sweep: many short trainings from one set of settings, each with other values of what the space names."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
import time
from pathlib import Path

import yaml
from keras_tuner.errors import FailedTrialError, FatalError
from rich.console import Console
from rich.progress import Progress

from envise_tf import progress
from envise_tf.errors import UserError, as_word
from envise_tf.run import Run
from envise_tf.settings import SweepSettings, settings_of_run, with_absolute_paths
from envise_tf.tuning.ranking import FIGURES
from envise_tf.tuning.report import shown, write_sweep_report
from envise_tf.tuning.runner import Runner
from envise_tf.tuning.space import Space, load_space, space_text
from envise_tf.tuning.trials import BASELINE, TrialRecord, training_settings, trial_records
from envise_tf.tuning.tuner import StudentTuner, is_worker_of_many, leads_sweep
from envise_tf.tuning.workers import WORKERS, LostWorkers, repeated, sign_of_life

SPACE_FILE = "space.yaml"

_WAIT = 60
"""Seconds that a worker waits for the chief to begin the sweep."""

_LOOK = 2.0
"""Seconds between looks of the chief at its workers."""

_MAY_CHANGE = ("trials", "lost_after", "out")
"""Settings that may differ when a sweep is resumed: they say how long it takes, not what is searched."""


def sweep(settings: SweepSettings, resumed: bool) -> Run:
    """Runs the trials of a sweep that are still to be run; writes its report and the best settings to its folder.

    Started again with the same settings and folder it resumes where it was. Run with KERASTUNER_ORACLE_IP set it is
    the chief or a worker of several, see docs/tuning.md.

    Raises:
        UserError: the space does not fit the settings, the folder holds another sweep, or too many trials failed.
    """
    _check(settings)
    space = load_space(settings.space)
    space.check(training_settings(settings))
    run = _opened(settings, resumed)
    console = Console(file=sys.stdout)
    try:
        # The workers of a chief write to its run.
        with run.resumable("tuning"), contextlib.nullcontext() if is_worker_of_many() else run.held(resumed=True):
            (_lead if leads_sweep() else _work)(run, settings, space, console)
    except FatalError as error:
        raise error.__cause__ or error from None
    return run


def stored_settings(folder: str) -> SweepSettings:
    """Returns the settings that a sweep was begun with, its space the one that it was begun with too.

    Raises:
        UserError: the folder holds no sweep.
    """
    if not (Path(folder) / SPACE_FILE).is_file():
        raise UserError(f"{folder} holds no sweep to resume: expected {Path(folder) / SPACE_FILE}")
    settings = settings_of_run(SweepSettings, folder)
    return dataclasses.replace(settings, space=str(Path(folder) / SPACE_FILE))


def _check(settings: SweepSettings) -> None:
    if settings.strategy == "multi_worker":
        raise UserError(
            "--strategy multi_worker given: the workers of a sweep share trials, not batches; start them as "
            "docs/tuning.md says, each with --strategy one or mirrored"
        )


def _opened(settings: SweepSettings, resumed: bool) -> Run:
    """Returns the sweep's folder: that of a sweep to resume, or a new one with settings and space in it."""
    if is_worker_of_many() or leads_sweep():
        if settings.out is None:
            raise UserError("no folder is given: expected --out on a file system that the chief and all workers share")
        if is_worker_of_many():
            _wait_for_chief(Run(Path(settings.out)))
    text = space_text(settings.space)[1]
    if settings.out is not None and Run(Path(settings.out)).settings_file.exists():
        run = Run(Path(settings.out))
        if not resumed:
            _require_same(settings, text, run)
        return run
    run = Run.planned(settings, "tuning")
    run.write(run.folder / SPACE_FILE, text)
    run.begin(settings)
    return run


def _wait_for_chief(run: Run) -> None:
    ends = time.monotonic() + _WAIT
    while not run.settings_file.exists():
        if time.monotonic() > ends:
            raise UserError(
                f"{run.folder} holds no sweep after {_WAIT} s: start the chief first, and give it and all workers the "
                "same --out on a file system that they share"
            )
        time.sleep(0.2)


def _require_same(settings: SweepSettings, space: str, run: Run) -> None:
    # Stored with absolute paths, see `Run.begin`.
    stored, asked = (
        dataclasses.asdict(with_absolute_paths(each)) for each in (stored_settings(str(run.folder)), settings)
    )
    for name in asked:
        if name not in (*_MAY_CHANGE, "space") and asked[name] != stored[name]:
            raise UserError(
                f"{run.folder} holds a sweep with {name} {stored[name]}, here it is {asked[name]}: resume it with "
                f"--resume {as_word(run.folder)}, or give another --out"
            )
    if yaml.safe_load(space) != yaml.safe_load((run.folder / SPACE_FILE).read_text("utf-8")):
        raise UserError(
            f"{run.folder} holds a sweep of another space: its own is {SPACE_FILE} there; give another --out"
        )


# --- one process, or one of several workers ---------------------------------------------------------------------------


def _work(run: Run, settings: SweepSettings, space: Space, console: Console) -> None:
    worker = os.environ.get("KERASTUNER_TUNER_ID", "tuner0")
    with progress.bar("trials, time", console) as bar, sign_of_life(run.folder, worker, settings.lost_after):
        account = _Account(run, settings, space, bar)
        runner = Runner(run, settings, worker, account.advance)
        tuner = StudentTuner(settings, space, runner, (lambda: None) if is_worker_of_many() else account.report)
        if not is_worker_of_many() or _claims_baseline(run):
            _run_baseline(runner, settings, space)
        if not is_worker_of_many():
            account.report()
        tuner.search()


def _run_baseline(runner: Runner, settings: SweepSettings, space: Space) -> None:
    base = training_settings(settings)
    # Trained to its end whatever the others reach. Should it fail, its record and so the report says why.
    with contextlib.suppress(FailedTrialError):
        runner.record(BASELINE, base, space.row_of(base), until=settings.windows, earlier=None)


def _claim(run: Run) -> Path:
    return run.folder / WORKERS / f"{BASELINE}.claimed"


def _claims_baseline(run: Run) -> bool:
    """Returns whether it is for this worker to run the baseline: the first one to ask."""
    try:
        _claim(run).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


# --- the chief of several workers -------------------------------------------------------------------------------------


def _lead(run: Run, settings: SweepSettings, space: Space, console: Console) -> None:
    if not any(record.trial == BASELINE for record in trial_records(run)):
        _claim(run).unlink(missing_ok=True)  # by a worker that was lost
    with progress.bar("trials, time", console) as bar:
        account = _Account(run, settings, space, bar)
        tuner = StudentTuner(settings, space, Runner(run, settings, "chief", account.advance), account.report)
        lost = LostWorkers(run.folder, tuner.oracle, settings.lost_after, bar.print)

        def look() -> None:
            lost.take_back()
            account.report()

        with repeated(_LOOK, look):
            tuner.search()
        account.report()


class _Account:
    """Shows how far a sweep has come, and keeps its report up to date.

    Args:
        run: of the sweep.
        settings: of the sweep.
        space: what it varies.
        bar: where it is shown.
    """

    def __init__(self, run: Run, settings: SweepSettings, space: Space, bar: Progress) -> None:
        self._run, self._settings, self._space, self._bar = run, settings, space, bar
        self._reported: set[str] = set()
        self._task = bar.add_task("trials", total=settings.trials + 1)

    def advance(self, windows: int, of: int) -> None:
        """Shows that of the trial that runs some windows are done."""
        done = len(trial_records(self._run))
        self._bar.update(self._task, description=f"window {windows}/{of}", completed=done + windows / of)

    def report(self) -> None:
        """Prints the trials that have ended since the last call, and writes the report if there are any."""
        records = trial_records(self._run)
        news = [record for record in records if record.trial not in self._reported]
        for record in news:
            self._bar.print(_line(record, self._settings.objective), soft_wrap=True)
            self._reported.add(record.trial)
        if news:
            write_sweep_report(self._run, self._settings, self._space, records)
        self._bar.update(self._task, completed=len(records))


def _line(record: TrialRecord, objective: str) -> str:
    """Returns the lines that are printed for a trial that has ended."""
    said = record.reason
    if record.figures:
        said = f"{FIGURES[objective]} {shown(objective, record.figures[objective])}  {said}"
    values = "  ".join(f"{name.removeprefix('objectives.')} {value}" for name, value in record.values.items())
    return f"trial {record.trial:>6}  {said}\n              {values}"
