"""Runs one trial: a training from given settings, measured, with a record on disk and nothing repeated.

A trial is hopeless when its best agreement so far is below the median of what the trials before it had reached after as
many windows (the median stopping rule; Golovin et al. 2017, "Google Vizier", section 3.2.2, which compares with running
averages). Our choice: it is asked after each window from a third of the training on, once `COMPARED` trials got that
far. Hyperband stops trials in its own way, so it goes without.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from keras_tuner.errors import FailedTrialError

from envise_tf.distillation.training import DivergenceError
from envise_tf.errors import storage_problem
from envise_tf.run import Run
from envise_tf.runs.jobs import Jobs
from envise_tf.settings import SweepSettings, TrainSettings
from envise_tf.train.pipeline import distil
from envise_tf.tuning.objective import objective_figures
from envise_tf.tuning.trials import Status, TrialRecord, trial_records, write_record

import tensorflow as tf  # isort: skip  (after envise_tf, which asks for Keras 2)

COMPARED = 5
"""A trial is compared with no fewer others (our choice)."""


@dataclasses.dataclass(frozen=True)
class Runner:
    """Runs the trials of one worker.

    Args:
        sweep: its folder: students go to runs/, records to trials/.
        settings: of the sweep.
        worker: name of the one who runs them.
        progress: told after each window how far a trial has come, as windows done and windows in all.
        jobs: what its trials have in common.
    """

    sweep: Run
    settings: SweepSettings
    worker: str
    progress: Callable[[int, int], None]
    jobs: Jobs = dataclasses.field(default_factory=Jobs)

    def record(
        self, trial: str, settings: TrainSettings, values: dict[str, Any], until: int | None, earlier: str | None
    ) -> TrialRecord:
        """Returns the record of a trial, which is run unless that is done.

        Args:
            trial: its name.
            settings: of its training.
            values: of each setting of the space.
            until: windows after which the training pauses; None trains to the end, or until it is hopeless.
            earlier: trial whose student is trained further; None begins a new one.

        Raises:
            FailedTrialError: the loss became infinite, memory ran out, or the objective has no value.
        """
        done = {record.trial: record for record in trial_records(self.sweep)}
        if trial not in done:
            run = f"runs/{trial}" if earlier is None else done[earlier].run
            done[trial] = self._trained(trial, settings, values, until, run, list(done.values()))
            write_record(self.sweep, done[trial])
        if done[trial].status == "failed":
            raise FailedTrialError(done[trial].reason)
        return done[trial]

    def reason(self, trial: str) -> str:
        """Returns why a trial failed or was stopped."""
        return next((record.reason for record in trial_records(self.sweep) if record.trial == trial), "")

    def _trained(
        self,
        trial: str,
        settings: TrainSettings,
        values: dict[str, Any],
        until: int | None,
        run: str,
        others: Sequence[TrialRecord],
    ) -> TrialRecord:
        began = time.monotonic()
        folder = self.sweep.folder / run
        settings = dataclasses.replace(settings, out=str(folder), evaluate=False, with_twin=False, tensorboard=False)
        windows = until or settings.windows
        reports: list[tf.keras.callbacks.Callback] = [Report(self.progress, windows)]
        hopeless = Hopeless([other.curve for other in others], settings.windows)
        if until is None:
            reports.append(hopeless)
        figures, reason = self._measured(Run(folder), settings, windows, reports)
        status: Status = "failed" if reason else "stopped" if hopeless.reason else "completed"
        curve = [entry["val_agreement"] for entry in Run(folder).log(windows)]
        return TrialRecord(
            trial=trial,
            status=status,
            values=values,
            figures=figures,
            curve=curve,
            run=run,
            seconds=time.monotonic() - began,
            reason=reason or hopeless.reason,
            worker=self.worker,
        )

    def _measured(
        self, run: Run, settings: TrainSettings, until: int, callbacks: Sequence[tf.keras.callbacks.Callback]
    ) -> tuple[dict[str, float], str]:
        """Returns the figures of a training, or none and why it failed."""
        tf.keras.backend.clear_session()
        gc.collect()
        try:
            with _output_in(run.folder / "output.txt"):
                finished = distil(settings, run.settings_file.exists(), until, callbacks, self.jobs)
                figures = objective_figures(finished, self.settings.faithful)
        except DivergenceError as error:
            return {}, str(error)
        except (MemoryError, tf.errors.ResourceExhaustedError) as error:
            if storage_problem(error, "") is not None:
                raise
            return {}, f"out of memory ({' '.join(str(error).split())[:200]})"
        if math.isnan(figures[self.settings.objective]):
            return (
                {},
                f"{self.settings.objective} has no value: the student agrees with the teacher on all images or none",
            )
        return figures, ""


class Report(tf.keras.callbacks.Callback):
    """Tells after each window how far a training has come."""

    def __init__(self, progress: Callable[[int, int], None], windows: int) -> None:
        super().__init__()
        self._progress, self._windows = progress, windows

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._progress(epoch + 1, self._windows)


class Hopeless(tf.keras.callbacks.Callback):
    """Ends a training that is hopeless, see the module.

    Args:
        curves: agreement of each earlier trial after each of its windows.
        windows: of a whole training.

    Attributes:
        reason: why the training was ended, "" while it was not.
    """

    def __init__(self, curves: Sequence[Sequence[float]], windows: int) -> None:
        super().__init__()
        self.reason = ""
        self._curves, self._windows, self._best = curves, windows, -math.inf

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._best = max(self._best, (logs or {})["val_agreement"])
        done = epoch + 1
        reached = [max(curve[:done]) for curve in self._curves if len(curve) >= done]
        if not self._windows / 3 <= done < self._windows or len(reached) < COMPARED:
            return
        median = float(np.median(reached))
        if self._best < median:
            self.model.stop_training = True
            self.reason = (
                f"hopeless: agreement {100 * self._best:.1f} % after {done} windows, "
                f"half of {len(reached)} trials had {100 * median:.1f} %"
            )


@contextlib.contextmanager
def _output_in(file: Path) -> Iterator[None]:
    """Appends what is printed inside to a file: a training's own lines would bury the sweep's."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as output, contextlib.redirect_stdout(output):
        yield
