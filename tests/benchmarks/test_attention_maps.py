"""Where students look: what is said of maps that are known, and all of it for a run."""

import json

import attention_maps
import numpy as np
import pytest


def looks(teacher, right, wrong, agrees) -> attention_maps.Looks:
    """Looks on a grid of one row, each map a list of rows."""
    maps = {"teacher": teacher, "right": right, "wrong": wrong}
    stacked = {name: np.array(rows, np.float32)[:, np.newaxis] for name, rows in maps.items()}
    count = len(agrees)
    images, classes = np.zeros((count, 2, 2, 3), np.uint8), np.zeros(count, np.int64)
    return attention_maps.Looks("made", images, classes, np.array(agrees), stacked)


def test_cosines_are_those_of_the_maps_and_one_that_looks_nowhere_is_left_out():
    found = attention_maps.figures(
        looks(
            teacher=[[1, 0], [0, 2], [1, 1]],
            right=[[3, 0], [1, 1], [0, 0]],
            wrong=[[0, 1], [4, 4], [1, 0]],
            agrees=[True, False, True],
        )
    )
    assert (found["images"], found["without_a_map"], found["agreement"]) == (3, 1, pytest.approx(2 / 3))
    assert found["agree"] == {"to_teacher": 1, "to_wrong": 0, "nearer_to_teacher": 1}
    assert found["differ"] == {
        "to_teacher": pytest.approx(np.sqrt(0.5)),
        "to_wrong": pytest.approx(1),
        "nearer_to_teacher": 0,
    }
    assert found["all"]["to_teacher"] == pytest.approx((1 + np.sqrt(0.5)) / 2)


def test_maps_are_compared_on_the_smaller_grid():
    found = attention_maps.figures(
        looks(teacher=[[1, 1, 0, 0]], right=[[5, 0]], wrong=[[0, 5]], agrees=[True]),
    )
    assert found["all"]["to_teacher"] == pytest.approx(1)
    assert "differ" not in found


@pytest.mark.slow
def test_a_run_is_measured_and_drawn(digits_run, tmp_path, monkeypatch):
    words = [str(digits_run), "--images", "20", "--out", str(tmp_path / "maps.json")]
    monkeypatch.setattr("sys.argv", ["attention_maps.py", *words, "--picture", str(tmp_path / "maps.png")])
    attention_maps.main()
    (row,) = json.loads((tmp_path / "maps.json").read_text())["rows"]
    assert (row["kind"], row["images"]) == (digits_run.name, 20)
    assert all(0 <= share <= 1 for share in row["all"].values())
    assert (tmp_path / "maps.png").read_bytes().startswith(b"\x89PNG")
