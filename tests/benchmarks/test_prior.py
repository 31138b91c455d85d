"""The table of priors: streams and weights by hand, and its rows of the digits."""

import json

import numpy as np
import prior
import pytest


def test_a_stream_has_its_outliers_and_its_inliers_in_order_of_a_draw():
    inlier, outlier = np.array([0, 2, 3]), np.array([4])
    even = prior.stream_prior("even", inlier, outlier, 5, draw=0)
    np.testing.assert_allclose(even, [0.95 / 3, 0, 0.95 / 3, 0.95 / 3, 0.05])
    zipf = prior.stream_prior("zipf", inlier, outlier, 5, draw=0)
    np.testing.assert_allclose(sorted(zipf[inlier]), 0.95 * np.array([2, 3, 6]) / 11)


def test_each_class_weighs_its_share_however_many_images_it_has():
    found = prior.weights(np.array([0, 0, 0, 1]), np.array([0.25, 0.75]))
    np.testing.assert_allclose(found, [1 / 12, 1 / 12, 1 / 12, 0.75])


@pytest.mark.slow
def test_a_teacher_is_measured_once_and_its_rows_replaced(tmp_path, monkeypatch, capsys):
    others = [
        {"teacher": "another", "source": "digits", "rows": []},
        {"teacher": "digits-disjoint", "source": "digits"},
    ]
    (tmp_path / "prior.json").write_text(json.dumps(others))
    monkeypatch.setattr(prior, "TARGET", tmp_path / "prior.json")
    monkeypatch.setattr(prior, "KEPT", tmp_path / "kept")
    monkeypatch.setattr(prior, "IMAGES", 300)
    monkeypatch.setattr(prior, "DRAWS", 1)
    monkeypatch.setattr(prior, "scenarios", lambda source: [("low", np.arange(5), np.arange(5, 10))])
    monkeypatch.setattr("sys.argv", ["prior.py", "--source", "digits", "digits-disjoint"])
    for _ in range(2):
        prior.main()
        first, second = json.loads((tmp_path / "prior.json").read_text())
        assert first == others[0]
        assert [(row["prior"], row["frequent"]) for row in second["rows"]] == [("even", 10), ("zipf", 10)]
        for row in second["rows"]:
            assert min(row["raw"], row["adapted"]) > 0.9
    assert len(list((tmp_path / "kept").iterdir())) == 2
    assert "all" in capsys.readouterr().out
