"""What else stands before a teacher: how its thresholds are chosen, and that all are measured on the same images."""

import json

import competitors
import numpy as np
import pytest
import tensorflow as tf

from envise_tf.deferral.held_back import HeldBack
from envise_tf.errors import UserError
from envise_tf.networks.teachers import wide_resnet


def held_back(score, agrees):
    own = np.zeros(len(score), int)
    return HeldBack.of(np.array(score, np.float32), own, np.where(agrees, 0, 1))


@pytest.mark.parametrize(
    ("epsilon", "threshold"),
    [
        (0.0, 0.9),  # of the two at 0.8, which go together, one is wrong
        (0.2, 0.5),
        (0.4, 0.1),
    ],
)
def test_the_threshold_by_held_back_accuracy_defers_least_among_those_that_lose_no_more(epsilon, threshold):
    shown = held_back([0.1, 0.9, 0.8, 0.8, 0.5], [False, True, False, True, True])
    assert competitors.as_in_wisdom_of_committees(shown, epsilon) == pytest.approx(threshold)


def test_nothing_is_answered_where_even_the_surest_answers_lose_too_much():
    assert competitors.as_in_wisdom_of_committees(held_back([0.5, 0.5], [False, True]), 0.2) == np.inf


def test_the_second_stage_ends_where_the_grid_is_halved_next():
    teacher = wide_resnet(32, 10, 10, 1)
    stage = competitors.second_stage(teacher)
    assert stage.output_shape == (None, 16, 16, 32)
    assert isinstance(teacher.get_layer(stage.layers[-1].name), tf.keras.layers.Add)
    with pytest.raises(UserError, match="expected a residual network of two or more stages"):
        competitors.second_stage(tf.keras.Sequential([tf.keras.layers.Input((8, 8, 3)), tf.keras.layers.Conv2D(3, 3)]))


@pytest.mark.slow
def test_all_are_measured_on_the_images_of_one_run(digits_run, tmp_path, monkeypatch):
    out, drawn = tmp_path / "competitors.json", tmp_path / "competitors.png"
    monkeypatch.setattr("sys.argv", ["competitors.py", str(digits_run), "--out", str(out), "--picture", str(drawn)])
    competitors.main()
    rows = json.loads(out.read_text())["rows"]
    names = [(row["name"], row["choice"]) for row in rows]
    run = digits_run.name
    each = ["alone", "promise", "learn then test", "held-back accuracy"]
    contenders = ["teacher's second stage", f"{run}, own score", f"{run}, largest probability"]
    assert names == [("teacher, raw", "alone"), *((name, choice) for name in contenders for choice in each)]
    evaluation = json.loads((digits_run / "result.json").read_text())["evaluation"]
    (rate,) = [each for each in evaluation["rates"] if each["outlier_rate"] == 0.05]
    found = {name: row["accuracy"] for name, row in zip(names, rows, strict=True)}
    assert found["teacher, raw", "alone"] == pytest.approx(rate["accuracy_teacher"])
    assert found[f"{run}, own score", "alone"] == pytest.approx(rate["accuracy_student"])
    assert all(row["flops"] <= rows[0]["flops"] for row in rows if row["choice"] == "alone")
    assert drawn.read_bytes().startswith(b"\x89PNG")
