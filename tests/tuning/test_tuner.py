"""What KerasTuner keeps on disk: whole at every moment."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from keras_tuner.engine.hyperparameters import HyperParameters
from keras_tuner.engine.trial import Trial, TrialStatus

from envise_tf.tuning import tuner  # noqa: F401 - how KerasTuner writes is its


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
