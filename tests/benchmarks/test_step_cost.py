"""What a step costs: every objective's preset is measured against the soft label alone, and the figures are written."""

import json

import pytest
import step_cost

from envise_tf.distillation.objectives import OBJECTIVES
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
