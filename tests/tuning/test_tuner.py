"""What KerasTuner keeps on disk: whole at every moment, and no trial lost between two files."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from keras_tuner.engine.hyperparameters import HyperParameters
from keras_tuner.engine.oracle import Oracle
from keras_tuner.engine.trial import Trial, TrialStatus

from envise_tf.settings import SweepSettings
from envise_tf.tuning.space import load_space
from envise_tf.tuning.tuner import oracle


@contextmanager
def files_end_after(size: int) -> Iterator[None]:
    """Lets no file of this process grow past so many bytes, as a full disk would."""
    allowed = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, allowed[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, allowed)


def test_a_trial_that_cannot_be_written_stays_as_it_was(tmp_path):
    file = str(tmp_path / "trial.json")
    trial = Trial(HyperParameters(), "0", TrialStatus.RUNNING)
    trial.save(file)
    trial.status = TrialStatus.COMPLETED
    with files_end_after(20), pytest.raises(OSError, match="File too large"):
        trial.save(file)
    assert Trial.load(file).status == TrialStatus.RUNNING
    trial.save(file)
    assert Trial.load(file).status == TrialStatus.COMPLETED
    assert [path.name for path in tmp_path.iterdir()] == ["trial.json"]


@pytest.mark.parametrize("name", ["random", "bayesian", "hyperband"])
def test_a_trial_that_the_oracle_had_not_written_down_is_made_again_with_the_same_values(name, tmp_path):
    def opened() -> Oracle:
        settings = SweepSettings(tuner=name, trials=6, windows=4)
        found = oracle(settings, load_space("distillation"))
        found.verbose = 0
        found._set_project_dir(str(tmp_path), "keras_tuner")
        return found

    first = opened()
    first.create_trial("worker")
    written = (tmp_path / "keras_tuner" / "oracle.json").read_text()
    lost = first.create_trial("another")
    (tmp_path / "keras_tuner" / "oracle.json").write_text(written)
    second = opened()
    second.reload()
    given_out_again, made_again = second.create_trial("worker"), second.create_trial("another")
    assert given_out_again.trial_id == "0" * len(lost.trial_id)
    assert made_again.trial_id == lost.trial_id
    assert made_again.hyperparameters.values == lost.hyperparameters.values
