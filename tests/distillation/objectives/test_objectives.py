"""The register of objectives: names, options, and what a new file takes."""

import sys

import pytest

from envise_tf.distillation import objectives
from envise_tf.distillation.objectives import objective, objective_names
from envise_tf.distillation.objectives.attention_triplet import AttentionTriplet
from envise_tf.distillation.objectives.soft_label import SoftLabel
from envise_tf.errors import UserError

NEW_FILE = """
from dataclasses import dataclass
import tensorflow as tf
from envise_tf.distillation.objectives.objective import Objective

@dataclass(frozen=True)
class Constant(Objective):
    value: float = 3.0

    def __call__(self, evidence):
        return tf.constant(self.value), {}
"""


def test_objectives_are_called_as_their_files():
    assert objective_names() == ["attention_triplet", "hard_label", "soft_label"]
    for name in objective_names():
        assert type(objective(name, {})).__module__ == f"envise_tf.distillation.objectives.{name}"


def test_options_are_set_and_the_others_keep_their_defaults():
    assert objective("soft_label", {"temperature": 4, "weight": 0.5}) == SoftLabel(weight=0.5, temperature=4)
    triplet = objective("attention_triplet", {"anchor": "teacher", "squared": True})
    assert triplet == AttentionTriplet(weight=1.0, margin=0.5, anchor="teacher", negative="student", squared=True)


def test_a_new_file_is_a_new_objective(tmp_path, monkeypatch):
    (tmp_path / "constant.py").write_text(NEW_FILE)
    monkeypatch.setattr(objectives, "__path__", [*objectives.__path__, str(tmp_path)])
    try:
        assert "constant" in objective_names()
        assert float(objective("constant", {"value": 5.0})(None)[0]) == 5.0
    finally:
        sys.modules.pop("envise_tf.distillation.objectives.constant")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("soft_lable", {}, "no objective is called soft_lable: nearest: soft_label"),
        ("objective", {}, "no objective is called objective"),
        ("soft_label", {"temprature": 2.0}, "soft_label has no option temprature: nearest: temperature"),
        ("soft_label", {"temperature": "hot"}, "temperature is 'hot', expected a float"),
        ("soft_label", {"temperature": True}, "temperature is True, expected a float"),
        ("soft_label", {"temperature": None}, "temperature is None, expected a float"),
        ("attention_triplet", {"squared": 1}, "squared is 1, expected a bool"),
        ("attention_triplet", {"anchor": 1}, "anchor is 1, expected a str"),
        ("hard_label", {"weight": -1.0}, "objective weight -1.0: expected at least 0"),
    ],
)
def test_what_makes_no_sense_is_refused(name, options, message):
    with pytest.raises(UserError, match=message):
        objective(name, options)
