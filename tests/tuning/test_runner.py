"""One trial: what it leaves behind, when it is hopeless, and which errors end it or the sweep."""

import dataclasses
import json
import re

import pytest
from keras_tuner.errors import FailedTrialError

from envise_tf.run import Run
from envise_tf.settings import SweepSettings, parsed
from envise_tf.tuning import runner as runner_module
from envise_tf.tuning.runner import Hopeless, Runner
from envise_tf.tuning.trials import training_settings, trial_records

pytestmark = pytest.mark.slow

SMALL = [
    *("--preset", "digits", "--windows", "3", "--window", "64", "--batch_size", "32"),
    *("--widths", "[32]", "--blocks", "[1]", "--classes", "pinned"),
]


class Model:
    stop_training = False


def hopeless_after(curve, others, windows):
    """Returns the window after which a trial is ended, and the reason; None where it runs to its end."""
    callback = Hopeless(others, windows)
    callback.set_model(Model())
    for epoch, agreement in enumerate(curve):
        callback.on_epoch_end(epoch, {"val_agreement": agreement})
        if callback.model.stop_training:
            return epoch + 1, callback.reason
    return None


def test_a_trial_below_the_median_of_the_others_is_hopeless():
    # The best of the first two windows: 0.2, 0.2, 0.3, 0.4, 0.5.
    others = [[0.1 * k, 0.2, 0.3, 0.4, 0.5, 0.6] for k in range(1, 6)]
    assert hopeless_after([0.1, 0.1, 0.1, 0.1], others, windows=6) == (
        2,
        "hopeless: agreement 10.0 % after 2 windows, half of 5 trials had 30.0 %",
    )


def test_the_best_window_counts_and_an_equal_trial_goes_on():
    others = [[0.2, 0.3, 0.3, 0.3]] * 5
    assert hopeless_after([0.1, 0.3, 0.0, 0.0], others, windows=4) is None


@pytest.mark.parametrize(
    ("others", "windows"),
    [([[0.9, 0.9, 0.9]] * 4, 6), ([[0.9]] * 9, 6), ([[0.9, 0.9]] * 9, 12)],
    ids=["too few others", "none got as far", "too early"],
)
def test_no_trial_is_hopeless_before_it_can_be_judged(others, windows):
    assert hopeless_after([0.1, 0.1], others, windows) is None


@pytest.fixture
def runner(tmp_path) -> Runner:
    settings, _ = parsed(SweepSettings, "tuning", "", [*SMALL, "--out", str(tmp_path)])
    return Runner(Run(tmp_path), settings, "tuner0", lambda *_: None)


def test_a_trial_is_trained_in_rungs_and_no_rung_twice(runner):
    base = training_settings(runner.settings)
    first = runner.record("0", base, {"window": 64}, until=1, earlier=None)
    second = runner.record("1", base, {"window": 64}, until=3, earlier="0")
    assert [first.windows, second.windows] == [1, 3]
    assert first.run == second.run == "runs/0"
    assert second.curve[0] == first.curve[0], "the second rung goes on with the first one's student"
    assert set(second.figures) == {"gie", "auroc", "agreement"}
    log = (runner.sweep.folder / "runs/0/log.jsonl").read_text()
    assert [json.loads(line)["window"] for line in log.splitlines()] == [0, 1, 2]
    result = json.loads((runner.sweep.folder / "runs/0/result.json").read_text())
    assert result["steps"] == 3 * 64 // 32
    before = (runner.sweep.folder / "runs/0/student.keras").stat().st_mtime_ns
    assert runner.record("1", base, {"window": 64}, until=3, earlier="0") == second
    assert (runner.sweep.folder / "runs/0/student.keras").stat().st_mtime_ns == before
    assert trial_records(runner.sweep) == [first, second]


def test_a_loss_that_is_not_finite_fails_the_trial_with_the_reason(runner):
    wild = dataclasses.replace(training_settings(runner.settings), learning_rate=1e30, warmup=0.0)
    for _ in range(2):
        with pytest.raises(FailedTrialError, match="the loss became"):
            runner.record("0", wild, {}, until=None, earlier=None)
    assert trial_records(runner.sweep)[0].status == "failed"
    assert trial_records(runner.sweep)[0].figures == {}


def test_no_memory_fails_the_trial_and_a_bug_does_not_pass_for_one(runner, monkeypatch):
    base = training_settings(runner.settings)

    def raises(error):
        def distil(*_):
            raise error

        monkeypatch.setattr(runner_module, "distil", distil)

    raises(MemoryError("no room for 4 GiB"))
    with pytest.raises(FailedTrialError, match=re.escape("out of memory (no room for 4 GiB)")):
        runner.record("0", base, {}, until=None, earlier=None)
    raises(ZeroDivisionError("a bug"))
    with pytest.raises(ZeroDivisionError):
        runner.record("1", base, {}, until=None, earlier=None)
    assert [record.trial for record in trial_records(runner.sweep)] == ["0"]
