"""What a step costs: every objective's preset is measured against the soft label alone, and the figures are written."""

import json
import sys

import pytest
import step_cost

from envise_tf.distillation.objectives import OBJECTIVES
from envise_tf.errors import UserError
from envise_tf.settings import TrainSettings, parsed


def test_every_objective_has_a_preset():
    chosen = [
        parsed(TrainSettings, "train", "", ["--preset", name])[0].objectives for name in step_cost.objective_presets()
    ]
    assert {name for objectives in chosen for name in objectives} == set(OBJECTIVES)


@pytest.mark.slow
def test_kinds_take_turns_and_are_compared_with_the_soft_label(tmp_path, monkeypatch):
    words = ["--preset", "digits", "--objectives", "hard-label", "--steps", "1", "--rounds", "1"]
    monkeypatch.setattr("sys.argv", ["step_cost.py", *words, "--out", str(tmp_path / "cost.json")])
    step_cost.main()
    found = json.loads((tmp_path / "cost.json").read_text())
    assert list(found["objectives"]) == ["soft-label", "attention-triplet", "hard-label"]
    assert found["objectives"]["soft-label"] == 1
    assert found["input_ratio"] > 0


OTHER = """
import sys
print("another", " ".join(sys.argv[1:]), flush=True)
for line in sys.stdin:
    print(0.25 * int(line), flush=True)
"""
"""A loop that says of each of its steps that it took a quarter of a second."""


def test_another_loop_takes_as_many_steps_as_it_is_asked_for(tmp_path, monkeypatch):
    (tmp_path / "other.py").write_text(OTHER)
    monkeypatch.setattr(step_cost, "IN_PYTORCH", tmp_path / "other.py")
    with step_cost.in_pytorch(sys.executable, [100, 20, 64]) as (version, seconds):
        assert version == "another 100 20 64"
        assert (seconds(1), seconds(8)) == (0.25, 2.0)


def test_an_interpreter_without_torch_is_named_in_one_line():
    with (
        pytest.raises(UserError, match="expected an interpreter with torch"),
        step_cost.in_pytorch(sys.executable, [2]),
    ):
        pass
