import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from commands import error_line
from PIL import Image

from envise_tf.errors import storage_problem
from envise_tf.evaluate import __main__ as evaluate
from envise_tf.train.__main__ import main

NETWORK = ["--widths", "[32]", "--blocks", "[1]", "--tensorboard", "false"]
SMALL = [
    "--preset",
    "digits",
    "--windows",
    "3",
    "--window",
    "128",
    "--batch_size",
    "32",
    *NETWORK,
    "--evaluate",
    "false",
]


def student_weights(run: Path) -> list[np.ndarray]:
    return tf.keras.models.load_model(run / "student.keras", compile=False).get_weights()


def error_of(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    return error_line(capsys, main, [*SMALL, *words])


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("train") / "run"
    main([*SMALL, "--evaluate", "true", "--out", str(run)])
    return run


def test_a_finished_run_holds_all_that_the_readme_promises(finished):
    result = json.loads((finished / "result.json").read_text())
    for key in (
        "agreement",
        "accuracy_student",
        "accuracy_teacher",
        "images_per_second",
        "steps",
        "seconds",
        "git_commit",
    ):
        assert key in result
    assert result["steps"] == 3 * 128 // 32
    assert result["class_names"] == ["zero", "one", "two", "three", "four", "five", "six"]
    assert result["accuracy_teacher"] > 0.9
    assert "</html>" in (finished / "report.html").read_text()
    assert (finished / "curves.png").read_bytes().startswith(b"\x89PNG")
    student = tf.keras.models.load_model(finished / "student.keras", compile=False)
    assert student.output_shape == (None, 7)
    assert tf.keras.models.load_model(finished / "teacher.keras", compile=False).output_shape == (None, 10)
    assert len((finished / "log.jsonl").read_text().splitlines()) == 3


def test_killed_and_resumed_the_run_ends_with_the_same_student(finished, tmp_path):
    run = tmp_path / "run"
    command = [sys.executable, "-m", "envise_tf.train"]
    process = subprocess.Popen([*command, *SMALL, "--out", str(run)], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (run / "log.jsonl").exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (run / "student.keras").exists(), "the kill came too late to test anything"
    subprocess.run([*command, "--resume", str(run)], check=True, stdout=subprocess.DEVNULL)
    for one, other in zip(student_weights(finished), student_weights(run), strict=True):
        np.testing.assert_array_equal(one, other)
    windows = [json.loads(line)["window"] for line in (run / "log.jsonl").read_text().splitlines()]
    assert windows == [0, 1, 2]


def test_the_twin_is_trained_by_one_flag(tmp_path):
    main([*SMALL, "--windows", "1", "--twin", "true", "--out", str(tmp_path / "run")])
    twin = tf.keras.models.load_model(tmp_path / "run" / "student.keras", compile=False)
    assert not any("quant" in layer.name for layer in twin.layers)


def test_the_twin_beside_the_student_is_a_run_of_its_own(finished, tmp_path, capsys):
    run = tmp_path / "run"
    main([*SMALL, "--with_twin", "true", "--out", str(run)])
    for one, other in zip(student_weights(finished), student_weights(run), strict=True):
        np.testing.assert_array_equal(one, other)
    twin = tf.keras.models.load_model(run / "twin" / "student.keras", compile=False)
    assert not any("quant" in layer.name for layer in twin.layers)
    weights = twin.get_weights()
    shutil.rmtree(run / "twin")
    main(["--resume", str(run)])
    for one, other in zip(weights, student_weights(run / "twin"), strict=True):
        np.testing.assert_array_equal(one, other)
    assert f"envise_tf.evaluate {run / 'twin'}" in capsys.readouterr().out.replace("\n", "")
    assert "--with_twin" in error_of(capsys, "--with_twin", "true", "--twin", "true")


def test_a_teacher_and_a_folder_of_photographs_are_enough_and_the_run_is_evaluated_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    photos = tmp_path / "photos"
    photos.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (60, 40, 40, 3), np.uint8)
    for number, image in enumerate(pixels):
        Image.fromarray(image).save(photos / f"{number}.png")
    (photos / "broken.jpg").write_bytes(b"not an image")
    teacher = tf.keras.Sequential(
        [
            tf.keras.layers.Input((24, 24, 3)),
            tf.keras.layers.Conv2D(8, 3, activation="relu"),
            tf.keras.layers.GlobalAveragePooling2D(),
            tf.keras.layers.Dense(5, activation="softmax"),
        ]
    )
    teacher.layers[-1].set_weights([np.random.default_rng(1).normal(size=(8, 5)), np.zeros(5)])
    teacher.save(tmp_path / "mine.keras")
    given = ["--teacher", "mine.keras", "--teacher_range", "unit", "--stream", "photos", "--evaluate", "false"]
    length = ["--windows", "1", "--window", "32", "--batch_size", "16", "--classes", "all"]
    main([*given, *length, *NETWORK, "--out", "run"])
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    evaluate.main(["../run"])
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["class_names"] == [f"class_{i}" for i in range(5)]
    assert result["unreadable_files"] == 1
    assert "accuracy_student" not in result
    assert "rates" not in result["evaluation"]
    assert 0 <= result["evaluation"]["work"]["stream"]["deferral_rate"] <= 1
    assert "</html>" in (tmp_path / "run" / "report.html").read_text()


def test_frequent_classes_follow_the_prior_of_the_stream(tmp_path):
    prior = ["--prior", "{two: 0.45, five: 0.45, nine: 0.1}", "--scenario", "null", "--min_share", "0.2"]
    main([*SMALL, *prior, "--windows", "1", "--out", str(tmp_path / "run")])
    assert json.loads((tmp_path / "run" / "result.json").read_text())["class_names"] == ["two", "five"]


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--source", "cifar100", "--data_dir", "no/such/folder"], "no/such/folder"),
        (["--teacher", "no_such.keras"], "no_such.keras"),
        (["--teacher", "cifar100-disjont"], "cifar100-disjoint"),
        (["--scenario", "digit"], "digits"),
        (["--widths", "[33]"], "multiples of 32"),
        (["--image_size", "64"], "32x32"),
        (["--prior", "{zero: 0.5, oen: 0.5}"], "nearest: one"),
        (["--prior", "{zero: 0.5, one: 0}"], "more than 0"),
        (["--source", "null"], "no images are given"),
        (["--scenario", "null", "--classes", "pinned"], "--scenario"),
        (["--objectives.soft_label.temprature", "2"], "temperature"),
        (["--student_init", "generic"], "no generic student"),
        (["--window", "16"], "at least one batch"),
        (["--min_share", "0.9"], "min_share"),
        (["--out", "/proc/none/run"], "/proc"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing_behind(words, named, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert named in error_of(capsys, *words)
    assert list(tmp_path.iterdir()) == []


def test_a_misspelt_class_of_a_scenario_is_named(capsys, tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text("source: digits\nreason: a test\ninlier: [zero, oen]\noutlier: [two]\n")
    line = error_of(capsys, "--scenario", str(path))
    assert "oen" in line
    assert "one" in line


def test_a_teacher_without_convolutions_is_refused(capsys, tmp_path):
    teacher = tf.keras.Sequential(
        [tf.keras.layers.Input((32, 32, 3)), tf.keras.layers.Flatten(), tf.keras.layers.Dense(10)]
    )
    teacher.save(tmp_path / "dense.keras")
    assert "convolution" in error_of(capsys, "--teacher", str(tmp_path / "dense.keras"), "--out", str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_a_loss_that_is_not_finite_ends_the_run(capsys, tmp_path):
    line = error_of(capsys, "--learning_rate", "1e38", "--out", str(tmp_path / "run"))
    assert "learning_rate" in line
    assert not (tmp_path / "run" / "student.keras").exists()


def test_a_folder_that_holds_a_run_is_not_overwritten(finished, capsys):
    assert "--resume" in error_of(capsys, "--out", str(finished))


def test_errors_of_the_disk_are_told_from_bugs():
    assert "disk is full" in str(storage_problem(OSError(28, os.strerror(28)), "start again"))
    wrapped = tf.errors.ResourceExhaustedError(None, None, "checkpoint; No space left on device")
    assert "disk is full" in str(storage_problem(wrapped, "start again"))
    assert "no permission" in str(storage_problem(PermissionError(13, "Permission denied"), "start again"))
    assert storage_problem(ValueError("a bug"), "start again") is None
