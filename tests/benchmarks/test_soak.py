"""The soak: what counts as growth, and a short one of the runtime."""

import json
from pathlib import Path

import pytest
import soak
from small_bundle import small_bundle


def samples(memory: list[float], files: list[int]) -> list[soak.Sample]:
    return [
        {"images": 10 * (i + 1), "seconds": float(i), "mebibytes": mebibytes, "files": open_files}
        for i, (mebibytes, open_files) in enumerate(zip(memory, files, strict=True))
    ]


def test_growth_after_the_warm_up_is_a_problem_and_before_it_is_not():
    flat, five = [50.0] * 9 + [100.0] * 91, [9] * 9 + [5] * 91
    assert soak._growth(samples(flat, five), 1000) == []
    rising = flat[:50] + [102.5] * 50
    assert soak._growth(samples(rising, five), 1000) == ["memory grew by 2.5 %, from 100 MiB"]
    assert soak._growth(samples(flat, [*five[:-1], 7]), 1000) == ["2 more files are open than after the warm-up"]
    (few,) = soak._growth(samples(flat, five)[:5], 1000)
    assert few.startswith("too little was seen")


def test_lines_of_a_file_that_grows_are_counted(tmp_path):
    lines = soak._Lines(tmp_path / "a.csv")
    assert lines.count() == 0
    (tmp_path / "a.csv").write_text("image\n0\n1")
    assert lines.count() == 2
    (tmp_path / "a.csv").write_text("image\n0\n1\n2\n")
    assert lines.count() == 4


@pytest.mark.slow
def test_a_short_soak_of_the_runtime(tmp_path):
    bundle: Path = small_bundle(tmp_path / "bundle", [0.0] * 7, [0.0] * 7)
    found = soak.soaked_runtime(soak.in_python(), 2000, bundle)
    assert [each["images"] for each in found["samples"]][-1] == 2000
    assert found["files"][0] == found["files"][1]
    assert found["images_per_second"] > 0
    json.dumps(found)
