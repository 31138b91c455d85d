"""An archive answered in turns: each way's figures are written beside those of the plain loop."""

import json

import archive
import numpy as np
import pytest
from PIL import Image
from small_bundle import small_bundle


@pytest.mark.slow
def test_ways_take_turns(tmp_path, monkeypatch):
    for number in range(3):
        Image.fromarray(np.full((16, 16, 3), 80 * number, np.uint8)).save(tmp_path / f"{number}.png")
    monkeypatch.setattr(archive, "TARGET", tmp_path / "archive.json")
    monkeypatch.setattr(archive, "WAYS", dict.fromkeys(("plain loop", "again"), archive.WAYS["plain loop"]))
    words = [str(small_bundle(tmp_path / "bundle")), str(tmp_path / "*.png"), "--rounds", "1"]
    monkeypatch.setattr("sys.argv", ["archive.py", *words])
    archive.main()
    found = json.loads((tmp_path / "archive.json").read_text())
    assert (found["images"], found["rounds"]) == (3, 1)
    assert found["ways"]["plain loop"]["ratio"] == 1
    assert found["ways"]["again"]["start_seconds"] > 0


def test_the_time_to_start_is_not_counted_for_the_other_images():
    found = archive.rounds([(2.0, 3.0), (1.0, 3.0)], [(4.0, 13.0), (6.0, 3.0)], 10)
    np.testing.assert_allclose(found["images_a_second"], [5, 2])
    np.testing.assert_allclose(found["processor_milliseconds_an_image"], [1000, 0])
