"""KerasTuner's part: which values a trial gets, which trials are still to be run, and sharing them among workers.

`Tuner.run_trial` is overridden and returns figures, so KerasTuner never sees a network; it imports Keras 3, the
networks here are of Keras 2. An error that is no FailedTrialError would make a trial INVALID without a word, so it is
sent on as a FatalError, which ends the search.
"""

from __future__ import annotations

import json
import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import keras_tuner
from keras_tuner.engine.base_tuner import BaseTuner
from keras_tuner.engine.oracle import Oracle
from keras_tuner.engine.trial import Trial, TrialStatus
from keras_tuner.errors import FailedTrialError, FatalError
from keras_tuner.src import config
from keras_tuner.src.engine.stateful import Stateful
from sklearn.exceptions import ConvergenceWarning

from envise_tf.errors import UserError
from envise_tf.files import whole
from envise_tf.settings import SweepSettings
from envise_tf.tuning.runner import Runner
from envise_tf.tuning.space import Space
from envise_tf.tuning.trials import training_settings

# Else it prints the traceback of a failed trial, whose reason stands in the report; and the bayesian oracle warns of
# settings that it finds to matter little or much, which calls for no action.
config.DEBUG = False
warnings.simplefilter("ignore", ConvergenceWarning)


def _saved_whole(state: Stateful, fname: str) -> str:
    """Writes a trial, an oracle or a tuner as KerasTuner does, but whole; returns its JSON.

    KerasTuner writes over the file itself. Killed there, or on a full disk, it would leave an empty one, which ends
    every attempt to resume the sweep.
    """
    text = json.dumps(state.get_state())
    with whole(Path(fname)) as unfinished:
        unfinished.write_text(text)
    return text


Stateful.save = _saved_whole

FOLDER = "keras_tuner"
"""Where KerasTuner keeps its state, in the sweep's folder."""

_RETRIES = 3
"""How often a trial is given out again when its worker was lost."""

_ASK_AGAIN = 1.0
"""Seconds after which a worker that waits for the others asks for a trial again."""


class _Steadfast(Oracle):
    """Makes an oracle lose no trial, of a worker that is lost or of a sweep that ends at a bad moment.

    It lets workers wait while others still run trials, which may have to be given out again: KerasTuner's own sends a
    worker away when every trial has been begun, and should another be lost afterwards, nobody would be left to run its
    trial. And a trial's own file is written before the oracle's: one that the latter does not know is made again.
    """

    @keras_tuner.synchronized
    def create_trial(self, tuner_id: str) -> Trial:
        trial = super().create_trial(tuner_id)
        if trial.status == TrialStatus.STOPPED and self.ongoing_trials:
            self.tuner_ids.add(tuner_id)
            trial.status = TrialStatus.IDLE
        return trial

    def reload(self) -> None:
        super().reload()
        for trial_id in set(self.trials).difference(self.start_order):
            del self.trials[trial_id]


class _Random(_Steadfast, keras_tuner.oracles.RandomSearchOracle):
    pass


class _Bayesian(_Steadfast, keras_tuner.oracles.BayesianOptimizationOracle):
    pass


class _Hyperband(_Steadfast, keras_tuner.oracles.HyperbandOracle):
    pass


def oracle(settings: SweepSettings, space: Space) -> Oracle:
    """Returns what chooses the values of the trials.

    The bayesian one begins with random trials, a quarter of all or at least four (our choice; KerasTuner's own default
    is three for each setting of the space, which is more than most sweeps have). Hyperband begins anew after its
    last bracket, until it has had its trials.
    """
    # A seed of zero would mean a random one.
    common = {
        "objective": keras_tuner.Objective(settings.objective, "max"),
        "hyperparameters": space.hyperparameters(),
        "allow_new_entries": False,
        "tune_new_entries": False,
        "seed": settings.seed + 1,
        "max_retries_per_trial": _RETRIES,
    }
    if settings.tuner == "hyperband":
        found = _Hyperband(max_epochs=settings.windows, hyperband_iterations=None, **common)
        found.max_trials = settings.trials
        return found
    if settings.tuner == "random":
        return _Random(max_trials=settings.trials, **common)
    first = max(4, settings.trials // 4)
    return _Bayesian(max_trials=settings.trials, num_initial_points=first, **common)


class StudentTuner(BaseTuner):
    """Has trials run by a runner, each from the settings of the sweep and the values of the trial.

    Args:
        settings: of the sweep.
        space: what it varies.
        runner: trains and measures them.
        ended: called after each trial of this process.
    """

    def __init__(self, settings: SweepSettings, space: Space, runner: Runner, ended: Callable[[], None]) -> None:
        self._space, self._runner, self._ended = space, runner, ended
        self._base = training_settings(settings)
        self._objective = settings.objective
        self._waits = False
        chosen = oracle(settings, space)
        chosen.verbose = 0
        super().__init__(chosen, directory=str(runner.sweep.folder), project_name=FOLDER)

    def on_search_begin(self) -> None:
        # KerasTuner reloads nothing where this file is missing, and would write it after the first trial only.
        self.save()

    def pre_create_trial(self) -> None:
        # KerasTuner asks again at once where it was told to wait.
        if self._waits:
            time.sleep(_ASK_AGAIN)
        self._waits = True

    def on_trial_begin(self, trial: Trial) -> None:
        super().on_trial_begin(trial)
        self._waits = False

    def on_trial_end(self, trial: Trial) -> None:
        """Tells the oracle of the result.

        Raises:
            UserError: three trials in a row failed.
        """
        try:
            super().on_trial_end(trial)
        except RuntimeError as error:
            raise UserError(
                f"three trials in a row failed, the last because {self._runner.reason(trial.trial_id)}: "
                "change the space or the settings, and give another --out"
            ) from error
        finally:
            self._ended()

    def run_trial(self, trial: Trial) -> dict[str, float]:
        """Returns the objective of a trial.

        Raises:
            FailedTrialError: it has none, and says why.
            FatalError: anything else went wrong; its cause is the error itself.
        """
        values = trial.hyperparameters.values
        try:
            record = self._runner.record(
                trial.trial_id,
                self._space.settings(values, self._base),
                self._space.row(values),
                until=values.get("tuner/epochs"),
                earlier=values.get("tuner/trial_id"),
            )
        except FailedTrialError:
            raise
        except Exception as error:
            raise FatalError(str(error)) from error
        return {self._objective: record.figures[self._objective]}


def is_worker_of_many() -> bool:
    """Returns whether a chief, elsewhere, gives out the trials."""
    return "KERASTUNER_ORACLE_IP" in os.environ and not leads_sweep()


def leads_sweep() -> bool:
    """Returns whether this process is KerasTuner's chief, which gives out trials and runs none."""
    return "KERASTUNER_ORACLE_IP" in os.environ and "chief" in os.environ.get("KERASTUNER_TUNER_ID", "")
