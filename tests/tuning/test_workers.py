"""Who gets which trial when workers are lost, asked of KerasTuner's oracles themselves."""

import os
from pathlib import Path

import pytest
from keras_tuner.engine.oracle import Oracle
from keras_tuner.engine.trial import Trial, TrialStatus

from envise_tf.settings import SweepSettings
from envise_tf.tuning.space import load_space
from envise_tf.tuning.tuner import oracle
from envise_tf.tuning.workers import WORKERS, LostWorkers


@pytest.fixture(params=["random", "bayesian", "hyperband"])
def chief(request: pytest.FixtureRequest, tmp_path: Path) -> Oracle:
    """An oracle of two trials."""
    space = tmp_path / "space.yaml"
    space.write_text("learning_rate: {least: 0.001, most: 0.01, scale: log}")
    settings = SweepSettings(source="digits", trials=2, windows=3, tuner=request.param, space=str(space))
    chosen = oracle(settings, load_space(settings.space))
    chosen.verbose = 0
    chosen._set_project_dir(str(tmp_path), "keras_tuner")
    return chosen


def ended(chief: Oracle, trial: Trial) -> None:
    chief.update_trial(trial.trial_id, {chief.objective.name: 0.5})
    trial.status = TrialStatus.COMPLETED
    chief.end_trial(trial)


def lost_workers(chief: Oracle, folder: Path) -> tuple[LostWorkers, list[str]]:
    """Returns what takes trials back at the second look at a file that stood still, and the lines that it tells."""
    told = []
    (folder / WORKERS).mkdir()
    for worker in ("tuner0", "tuner1"):
        (folder / WORKERS / worker).touch()
    return LostWorkers(folder, chief, 0.0, told.append), told


def give_sign(folder: Path, worker: str, second: int) -> None:
    os.utime(folder / WORKERS / worker, (second, second))


def test_a_worker_waits_for_the_trials_of_others_and_gets_those_of_a_lost_one(chief, tmp_path):
    lost, told = lost_workers(chief, tmp_path)
    begun, other = chief.create_trial("tuner0"), chief.create_trial("tuner1")
    ended(chief, other)
    assert chief.create_trial("tuner1").status == TrialStatus.IDLE
    for second in (1, 2):
        give_sign(tmp_path, "tuner1", second)
        lost.take_back()
    assert told == ["worker tuner0 is lost: trial 0 is given out again"]
    again = chief.create_trial("tuner1")
    assert (again.trial_id, again.status) == (begun.trial_id, TrialStatus.RUNNING)
    ended(chief, again)
    assert chief.create_trial("tuner1").status == TrialStatus.STOPPED
    assert not chief.tuner_ids
    assert not chief.ongoing_trials


def test_a_worker_that_is_lost_while_it_waits_is_not_waited_for(chief, tmp_path):
    lost, told = lost_workers(chief, tmp_path)
    first, second = chief.create_trial("tuner0"), chief.create_trial("tuner1")
    ended(chief, second)
    assert chief.create_trial("tuner1").status == TrialStatus.IDLE
    for moment in (1, 2):
        give_sign(tmp_path, "tuner0", moment)
        lost.take_back()
    ended(chief, first)
    assert chief.create_trial("tuner0").status == TrialStatus.STOPPED
    assert not chief.tuner_ids
    assert told == []
