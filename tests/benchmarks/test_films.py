"""Films as streams: what a film of digits is answered, and the picture of it."""

import json

import films
import numpy as np
import pytest
from fixtures.videos import video

from envise_tf.images.loading import load_source


@pytest.mark.slow
def test_a_film_is_answered_once_and_drawn(tmp_path, monkeypatch):
    examples = load_source("digits").examples("test").as_numpy_iterator()
    frames = [example["image"] for example in examples if example["label"] < 2][:60]
    film = video(tmp_path / "digits.mkv", np.stack(frames))
    monkeypatch.setattr(films, "TARGET", tmp_path / "films.json")
    monkeypatch.setattr(films, "PICTURE", tmp_path / "films.png")
    monkeypatch.setattr(films, "KEPT", tmp_path / "kept")
    settings = {"teacher": "digits-disjoint", "find": 32, "recheck": 16, "window": 16, "epsilon": 0.5, "widths": "auto"}
    monkeypatch.setattr(films, "SETTINGS", {**settings, "blocks": (1,)})
    monkeypatch.setattr("sys.argv", ["films.py", str(film)])
    films.main()
    (row,) = json.loads((tmp_path / "films.json").read_text())["rows"]
    assert (row["film"], row["frames"]) == ("digits.mkv", 60)
    assert row["answers"]["zero"] + row["answers"]["one"] > 0.8
    assert row["events"][0]["event"] == "begin"
    assert (tmp_path / "films.png").stat().st_size > 10_000
    again = films.figures(films.answered(film))
    assert {"film": film.name, **json.loads(json.dumps(again))} == row, "a finished film is not answered again"
