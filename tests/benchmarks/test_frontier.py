"""Pairs of networks at equal work: how much of it buys which answers."""

import json

import frontier
import numpy as np
import pytest

from envise_tf.measures.operating_points import Predictions


@pytest.fixture
def pair():
    """20 inliers; the student is right about the ten that it is surest of, the teacher about all."""
    truth = np.zeros(20, int)
    predictions = Predictions(truth, truth, np.repeat([1, 0], 10), np.zeros(20, bool))
    return frontier.Pair("zoo", "pair", predictions, np.arange(20, dtype=np.float32), 1e7, 1e8)


@pytest.mark.parametrize(
    ("flops", "deferred", "accuracy"),
    [
        (0.0, 0.0, 0.5),  # less than the student takes: nothing can be deferred
        (1e7, 0.0, 0.5),
        (3.9e7, 0.25, 0.75),  # 0.29 of the images could be deferred, the sixth would be too much
        (4e7, 0.3, 0.8),
        (6e7, 0.5, 1.0),
        (1e9, 1.0, 1.0),
    ],
)
def test_the_images_that_the_student_is_least_sure_of_are_deferred_as_far_as_the_work_goes(
    pair, flops, deferred, accuracy
):
    found = pair.at(flops)
    assert found["deferred"] == pytest.approx(deferred)
    assert found["accuracy"] == pytest.approx(accuracy)


@pytest.mark.slow
def test_a_row_agrees_with_what_the_evaluation_says_of_both_networks(digits_run, tmp_path, monkeypatch):
    out, drawn = tmp_path / "frontier.json", tmp_path / "frontier.png"
    monkeypatch.setattr("sys.argv", ["frontier.py", str(digits_run), "--out", str(out), "--picture", str(drawn)])
    other = {"scenario": "cifar100-zoo", "pair": "another", "cascade": [{"flops": 1e6, "accuracy": 0.5}] * 4}
    other |= {name: {"flops": 1e6, "accuracy": 0.5} for name in ("student", "teacher")}
    before = {"scenario": "digits", "pair": frontier.kind_of(digits_run)}
    out.write_text(json.dumps({"rows": [other, before]}))
    frontier.main()
    kept, row = json.loads(out.read_text())["rows"]
    assert kept == other
    evaluation = json.loads((digits_run / "result.json").read_text())["evaluation"]
    (rate,) = [each for each in evaluation["rates"] if each["outlier_rate"] == 0.05]
    for network in ("student", "teacher"):
        assert row[network]["accuracy"] == pytest.approx(rate[f"accuracy_{network}"])
        assert row[network]["flops"] == evaluation["work"][network]["flops"]
    # More work than both networks take: the teacher answers all.
    assert row["cascade"][-1]["accuracy"] == pytest.approx(rate["accuracy_teacher"])
    assert drawn.read_bytes().startswith(b"\x89PNG")
