"""The grid of trainings: which cells there are, in what order, and that a finished or killed one is not lost."""

import json
import os
import shutil
import signal
from pathlib import Path

import grid
import pytest
import yaml

from envise_tf.errors import UserError

GRIDS = sorted((Path(__file__).parents[2] / "benchmarks" / "grids").glob("*.yaml"))

SMALL = """
settings: {preset: digits, windows: 1, window: 64, batch_size: 32, widths: [32], blocks: [1], tensorboard: false}
kinds:
  soft: {objectives: {soft_label: {weight: 1.0}}}
  hard: {objectives: {hard_label: {weight: 1.0}}}
cells:
- {scenario: [digits], kind: [soft], seed: [0]}
- {scenario: [digits], kind: [soft, hard], seed: [0]}
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "small.yaml"
    path.write_text(text)
    return path


def test_cells_come_once_in_the_order_of_the_file_with_what_is_compared_together(tmp_path):
    text = SMALL.replace("kind: [soft, hard], seed: [0]", "kind: [soft, hard], seed: [1, 0]")
    cells = list(grid.cells_of(grid.loaded(written(tmp_path, text))))
    assert [(cell.kind, cell.seed) for cell in cells] == [("soft", 0), ("soft", 1), ("hard", 1), ("hard", 0)]
    assert cells[2].settings["objectives"] == {"hard_label": {"weight": 1.0}}
    assert (cells[2].settings["scenario"], cells[2].settings["seed"]) == ("digits", 1)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("kind: [soft, hard]", "kind: [soft, herd]", r"cells of the kinds \['herd'\]: expected some of"),
        ("seed: [0]", "seed: [first]", r"seed\[0\] is 'first', expected a seed"),
        ("kinds:", "kins:", "unknown key 'kins'"),
    ],
)
def test_a_file_that_is_no_grid_is_refused(tmp_path, old, new, message):
    with pytest.raises(UserError, match=message):
        grid.loaded(written(tmp_path, SMALL.replace(old, new)))


@pytest.mark.parametrize("path", GRIDS, ids=lambda path: path.stem)
def test_shipped_grids_name_settings_and_objectives_that_there_are(path, tmp_path):
    from envise_tf.runs.job import found_objectives
    from envise_tf.settings import TrainSettings, parsed, preset_file

    for number, cell in enumerate(grid.cells_of(grid.loaded(path))):
        config = tmp_path / f"{number}.yaml"
        config.write_text(json.dumps(cell.settings))
        found, _ = parsed(TrainSettings, "train", "", [*cell.words, "--config", str(config)])
        preset = yaml.safe_load(preset_file("train", cell.presets[-1]).read_text())
        assert set(found_objectives(found)) == set({**preset, **cell.settings}["objectives"])
        assert found.objectives == {**preset, **cell.settings}["objectives"]


def test_the_preset_of_a_kind_is_laid_over_the_common_one(tmp_path):
    text = SMALL.replace("{objectives: {hard_label: {weight: 1.0}}}", "{preset: oskd, window: 128}")
    text = text.replace("preset: digits", "preset: [digits, wide-resnet]")
    *_, cell = grid.cells_of(grid.loaded(written(tmp_path, text)))
    assert cell.presets == ["digits", "wide-resnet", "oskd"]
    assert (cell.settings["window"], cell.settings["windows"]) == (128, 1)
    assert "preset" not in cell.settings


def test_a_run_is_called_by_its_kind(tmp_path):
    text = SMALL.replace("soft:", "soft + hard:").replace("[soft", "[soft + hard")
    cell = next(grid.cells_of(grid.loaded(written(tmp_path, text))))
    assert grid.kind_of(cell.run(tmp_path)) == cell.kind == "soft + hard"
    assert grid.kind_of("runs/mine") == "mine"


@pytest.mark.slow
def test_a_table_grows_by_what_is_trained_and_a_failed_cell_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(grid, "KEPT", tmp_path / "runs")
    monkeypatch.setattr(grid, "TABLES", tmp_path)
    path = written(tmp_path, SMALL.replace("hard_label", "hard_lable"))

    def rows() -> list[dict]:
        monkeypatch.setattr("sys.argv", ["grid.py", str(path)])
        grid.main()
        return json.loads((tmp_path / "small.json").read_text())["rows"]

    (soft,) = rows()
    assert "no objective is called hard_lable: nearest: hard_label" in capsys.readouterr().out
    written(tmp_path, SMALL)
    again, hard = rows()
    assert again == soft  # it was not trained a second time
    assert (hard["kind"], hard["settings"]["objectives"]) == ("hard", {"hard_label": {"weight": 1.0}})
    assert 0 <= hard["rates"][0]["accuracy_cascade"] <= 1
    assert {"auroc", "fpr_at_95_recall"} <= set(hard["scores"]["energy"])
    out = capsys.readouterr().out
    assert "digits, hard, seed 0: agreement" in out
    assert "digits, soft, seed 0: agreement" not in out
    # Elsewhere there is the table alone.
    shutil.rmtree(tmp_path / "runs")
    monkeypatch.setattr("sys.argv", ["grid.py", str(path), "--missing"])
    grid.main()
    assert json.loads((tmp_path / "small.json").read_text())["rows"] == [soft, hard]
    assert not (tmp_path / "runs").exists()


def test_a_driver_that_is_told_to_end_ends_as_by_ctrl_c_which_ends_its_training(tmp_path, monkeypatch):
    monkeypatch.setattr(grid, "KEPT", tmp_path / "runs")
    monkeypatch.setattr(grid, "trained", lambda cell, run: os.kill(os.getpid(), signal.SIGTERM))
    monkeypatch.setattr("sys.argv", ["grid.py", str(written(tmp_path, SMALL))])
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(SystemExit, match="130"):
            grid.main()
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_row_of_other_settings_is_no_row_of_the_cell(tmp_path):
    cells = list(grid.cells_of(grid.loaded(written(tmp_path, SMALL))))
    rows = [
        {name: getattr(cell, name) for name in ("scenario", "kind", "seed", "presets", "settings")} for cell in cells
    ]
    table = tmp_path / "small.json"
    assert grid.known_rows(table, cells) == {}
    table.write_text(json.dumps({"rows": rows}))
    assert list(grid.known_rows(table, cells)) == ["digits, soft, seed 0", "digits, hard, seed 0"]
    rows[0]["settings"] = {**rows[0]["settings"], "windows": 2}
    table.write_text(json.dumps({"rows": rows}))
    assert list(grid.known_rows(table, cells)) == ["digits, hard, seed 0"]
