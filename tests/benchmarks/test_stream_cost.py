"""What serving costs: both ways answer the same batches, and the figures are written."""

import json

import pytest
import stream_cost


@pytest.mark.slow
def test_lifecycle_and_bare_cascade_take_turns(tmp_path, monkeypatch):
    words = ["--preset", "digits", "--longest", "256", "--rounds", "1", "--images", "128"]
    monkeypatch.setattr(stream_cost, "_AUDITS", {"with audits": {}})
    monkeypatch.setattr("sys.argv", ["stream_cost.py", *words, "--out", str(tmp_path / "cost.json")])
    stream_cost.main()
    found = json.loads((tmp_path / "cost.json").read_text())
    of = found["throughput"]["with audits"]
    assert min(of["lifecycle"], of["cascade"]) > 0
    assert of["ratio"] == pytest.approx(of["lifecycle"] / of["cascade"], rel=0.01)
    assert 0 <= of["deferred"] <= 1
