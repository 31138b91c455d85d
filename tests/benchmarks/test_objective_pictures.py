"""Every objective has a picture, and the guide shows it."""

from pathlib import Path

import objective_pictures

from envise_tf.distillation.objectives import OBJECTIVES

GUIDE = Path(__file__).parents[2] / "docs" / "objectives.md"


def test_every_objective_is_drawn_and_shown():
    assert set(objective_pictures.PICTURES) == set(OBJECTIVES)
    for name in OBJECTIVES:
        assert f"(objectives/{name}.svg)" in GUIDE.read_text()
        assert (objective_pictures.FOLDER / f"{name}.svg").is_file()


def test_a_picture_holds_the_curves_of_its_function(tmp_path, monkeypatch):
    monkeypatch.setattr(objective_pictures, "FOLDER", tmp_path)
    monkeypatch.setattr(objective_pictures, "PICTURES", {"amc": objective_pictures.PICTURES["amc"]})
    monkeypatch.setattr("sys.argv", ["objective_pictures.py"])
    objective_pictures.main()
    assert "two images of one class" in (tmp_path / "amc.svg").read_text()
