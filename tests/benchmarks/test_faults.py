"""The benchmark of faults: what it takes for whole and for equal, and each fault once with the fastest command."""

import json
import os
import subprocess
import sys
from pathlib import Path

import faults
import numpy as np
import pytest

BENCHMARK = Path(faults.__file__)


@pytest.fixture
def run(tmp_path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "result.json").write_text(json.dumps({"accuracy": {"raw": 0.5}, "seconds": 3.0}))
    (folder / "log.jsonl").write_text('{"window": 0, "seconds": 1.0}\n')
    (folder / "answers.csv").write_text("image\n0\n")
    np.savez(folder / "score.npz", a=np.arange(3))
    return folder


def test_times_make_no_difference_and_all_else_does(run):
    expected = faults.digests(run)
    (run / "result.json").write_text(json.dumps({"accuracy": {"raw": 0.5}, "seconds": 4.0}))
    (run / "log.jsonl").write_text('{"window": 0, "seconds": 2.0}\n')
    assert faults.differences(expected, faults.digests(run)) == []
    (run / "result.json").write_text(json.dumps({"accuracy": {"raw": 0.25}, "seconds": 4.0}))
    np.savez(run / "score.npz", a=np.arange(4))
    (run / "answers.csv").unlink()
    (run / "unfinished.log.jsonl").touch()
    assert faults.differences(expected, faults.digests(run)) == [
        "missing: answers.csv",
        "left over: unfinished.log.jsonl",
        "differs: result.json, accuracy raw: 0.25, expected 0.5",
        "differs: score.npz",
    ]


def test_a_half_file_is_found_unless_its_name_says_so(run):
    assert faults.unreadable(run) == []
    for name in ("result.json", "score.npz"):
        content = (run / name).read_bytes()
        (run / name).write_bytes(content[: len(content) // 2])
        (run / f"unfinished.{name}").write_bytes(content[: len(content) // 2])
    assert faults.unreadable(run) == ["result.json (JSONDecodeError)", "score.npz (BadZipFile)"]


@pytest.mark.slow
def test_weights_count_in_their_order_and_the_names_of_layers_do_not(tmp_path):
    import tensorflow as tf

    def saved(*weights: float) -> dict[str, str]:
        image = tf.keras.Input((4, 4, 3))  # layers are numbered on from those of the last call
        x = tf.keras.layers.Conv2D(1, 1, use_bias=False)(tf.keras.layers.GlobalAveragePooling2D(keepdims=True)(image))
        network = tf.keras.Model(image, tf.keras.layers.Dense(1, use_bias=False)(tf.keras.layers.Flatten()(x)))
        network.set_weights([np.full(each.shape, value) for each, value in zip(network.weights, weights, strict=True)])
        network.save(tmp_path / "run" / "student.keras")
        return faults.digests(tmp_path / "run")

    (tmp_path / "run").mkdir()
    assert saved(1.0, 2.0) == saved(1.0, 2.0)
    assert saved(1.0, 2.0) != saved(2.0, 1.0)
    for name in ("student.keras", "unfinished.student.keras"):
        (tmp_path / "run" / name).write_bytes(b"PK")
    assert faults.digests(tmp_path / "run") == dict.fromkeys(["student.keras", "unfinished.student.keras"], "not whole")


@pytest.mark.slow
def test_a_teacher_survives_each_fault_once(tmp_path):
    out = tmp_path / "faults.json"
    words = ["--commands", "teach", "--count", "1", "--others", "1", "--faults", "killed", "twice"]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, str(BENCHMARK), *words, "--out", str(out)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    rows = json.loads(out.read_text())["rows"]
    assert {"teach, killed, 0", "teach, twice, 0"} == {row["name"] for row in rows}
    assert all(row["struck"] for row in rows if row["fault"] == "twice")
