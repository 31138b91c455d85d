"""The table of objectives: names, options, and what a new one takes."""

import pytest
import tensorflow as tf

from envise_tf.distillation.objectives import OBJECTIVES, objective
from envise_tf.distillation.objectives.attention_triplet import AttentionTriplet
from envise_tf.distillation.objectives.soft_label import SoftLabel
from envise_tf.errors import UserError


def test_objectives_are_called_as_their_files():
    for name in OBJECTIVES:
        assert type(objective(name, {})).__module__ == f"envise_tf.distillation.objectives.{name}"


def test_options_are_set_and_the_others_keep_their_defaults():
    assert objective("soft_label", {"temperature": 4, "weight": 0.5}) == SoftLabel(weight=0.5, temperature=4)
    triplet = objective("attention_triplet", {"anchor": "teacher", "squared": True})
    assert triplet == AttentionTriplet(weight=1.0, margin=0.5, anchor="teacher", negative="student", squared=True)


def test_an_objective_is_made_again_from_its_config():
    for name, options in (("soft_label", {"temperature": 4.0}), ("attention_triplet", {"anchor": "teacher"})):
        made = objective(name, {"weight": 0.5, **options})
        assert type(made).from_config(made.get_config()) == made
        config = tf.keras.utils.serialize_keras_object(made)
        assert tf.keras.utils.deserialize_keras_object(config) == made


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("soft_lable", {}, "no objective is called soft_lable: nearest: soft_label"),
        ("objective", {}, "no objective is called objective"),
        ("soft_label", {"temprature": 2.0}, "soft_label has no option temprature: nearest: temperature"),
        ("soft_label", {"temperature": "hot"}, "temperature is 'hot', expected float"),
        ("soft_label", {"temperature": True}, "temperature is True, expected float"),
        ("soft_label", {"temperature": None}, "temperature is None, expected float"),
        ("attention_triplet", {"squared": 1}, "squared is 1, expected bool"),
        ("attention_triplet", {"anchor": 1}, "anchor is 1, expected str"),
        ("hard_label", {"weight": -1.0}, "objective weight -1.0: expected at least 0"),
    ],
)
def test_what_makes_no_sense_is_refused(name, options, message):
    with pytest.raises(UserError, match=message):
        objective(name, options)
