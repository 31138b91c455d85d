"""A teacher's TensorFlow Lite forms: each has its row, smaller files and the same answers."""

import json

import pytest
import teacher_forms


@pytest.mark.slow
def test_forms_of_the_digits_teacher(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(teacher_forms, "TARGET", tmp_path / "forms.json")
    words = ["--source", "digits", "digits-disjoint", "--images", "100"]
    monkeypatch.setattr("sys.argv", ["teacher_forms.py", *words])
    teacher_forms.main()
    (entry,) = json.loads((tmp_path / "forms.json").read_text())
    rows = {row["form"]: row for row in entry["forms"]}
    assert entry["images"] == 100
    assert rows["float32"]["agreement"] == 1
    assert min(row["agreement"] for row in rows.values()) >= 0.98
    assert rows["float32"]["bytes"] > rows["float16"]["bytes"] > rows["int8"]["bytes"]
    assert "digits-disjoint" in capsys.readouterr().out
