"""Our scores beside another library's: both get the same features, and a library that is missing is named in a line."""

import json
import sys

import detectors
import numpy as np
import pytest

OTHER = """
import sys
import numpy as np
from scipy.special import logsumexp

with np.load(sys.argv[1], allow_pickle=False) as file:
    energy = logsumexp(file["tested"] @ file["kernel"] + file["bias"], axis=1)
    assert file["fitted"].shape == (len(file["group"]), file["tested"].shape[1])
    assert 0 < file["principal"] < file["tested"].shape[1]
np.savez(sys.argv[2], version="another 1.0", **dict.fromkeys(NAMES, -energy))
"""
"""A program that takes the energy for every score."""


def asked_for(run, out, monkeypatch) -> None:
    monkeypatch.setattr("sys.argv", ["detectors.py", str(run), "--python", sys.executable, "--out", str(out)])
    detectors.main()


@pytest.mark.slow
def test_both_score_the_same_features_of_the_same_images(digits_run, tmp_path, monkeypatch):
    (tmp_path / "other.py").write_text(OTHER.replace("NAMES", repr(detectors.SCORES)))
    monkeypatch.setattr(detectors, "THEIRS", tmp_path / "other.py")
    asked_for(digits_run, tmp_path / "detectors.json", monkeypatch)
    found = json.loads((tmp_path / "detectors.json").read_text())
    assert found["peer"] == "another 1.0"
    rows = {row["score"]: row for row in found["rows"]}
    assert rows["energy"]["theirs"] == pytest.approx(rows["energy"]["ours"], abs=1e-6)
    assert rows["energy"]["rank_correlation"] == pytest.approx(1, abs=1e-6)
    evaluation = json.loads((digits_run / "result.json").read_text())["evaluation"]
    for name, row in rows.items():
        assert row["ours"] == pytest.approx(evaluation["scores"][name]["auroc"], abs=1e-6), name


@pytest.mark.slow
def test_without_the_other_library_one_line_says_what_is_missing(digits_run, tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit, match="2"):
        asked_for(digits_run, tmp_path / "detectors.json", monkeypatch)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert "No module named 'torch'" in line
    assert "expected an interpreter with torch, pytorch-ood and scikit-learn" in line
    assert not (tmp_path / "detectors.json").exists()


def test_alike_are_scores_that_rank_alike_whatever_their_scale():
    ours, is_inlier = np.array([0.1, 0.4, 0.3, 0.9]), np.array([False, False, True, True])
    found = detectors.compared("energy", ours, 10 * ours - 3, is_inlier)
    assert found == {"score": "energy", "ours": 0.75, "theirs": 0.75, "rank_correlation": pytest.approx(1)}
