import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from commands import error_line, signalled_at
from PIL import Image

from envise_tf.errors import storage_problem
from envise_tf.evaluate import __main__ as evaluate
from envise_tf.networks.loading import load_teacher
from envise_tf.runs.finished import load_run
from envise_tf.train.__main__ import main

pytestmark = pytest.mark.slow

NETWORK = ["--widths", "[32]", "--blocks", "[1]", "--tensorboard", "false"]
SMALL = [
    "--preset",
    "digits",
    "--windows",
    "2",
    "--window",
    "64",
    "--batch_size",
    "32",
    *NETWORK,
    "--evaluate",
    "false",
]
SIMPLE = [*SMALL, "--objectives", '{"soft_label": {"weight": 1.0}}']
"""For what does not depend on the objectives: traced faster."""


def student_weights(run: Path) -> list[np.ndarray]:
    return tf.keras.models.load_model(run / "student.keras", compile=False).get_weights()


def assert_same_student(one: Path, other: Path) -> None:
    """Asserts that two runs end with the same weights, to the last bit."""
    for weights, others in zip(student_weights(one), student_weights(other), strict=True):
        np.testing.assert_array_equal(weights, others)


def error_of(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    return error_line(capsys, main, [*SIMPLE, *words])


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student, and its twin in a run of its own beside it."""
    run = tmp_path_factory.mktemp("train") / "run"
    main([*SMALL, "--with_twin", "true", "--out", str(run)])
    return run


def test_a_finished_run_holds_all_that_the_readme_promises(finished):
    result = json.loads((finished / "result.json").read_text())
    for key in ("agreement", "images_per_second", "steps", "seconds", "git_commit"):
        assert key in result
    assert result["steps"] == 2 * 64 // 32
    assert result["class_names"] == ["zero", "one", "two", "three", "four", "five", "six"]
    assert (finished / "curves.png").read_bytes().startswith(b"\x89PNG")
    student = tf.keras.models.load_model(finished / "student.keras", compile=False)
    assert student.output_shape == (None, 7)
    assert tf.keras.models.load_model(finished / "teacher.keras", compile=False).output_shape == (None, 10)
    assert len((finished / "log.jsonl").read_text().splitlines()) == 2


def test_killed_and_resumed_the_run_ends_with_the_same_student(finished, tmp_path):
    run = tmp_path / "run"
    # At the end of the second window, before its checkpoint: the window is trained again.
    words = [*SMALL, "--out", str(run)]
    killed = signalled_at(2, "envise_tf.run:Run.write_log", "envise_tf.train.__main__", words)
    assert killed.wait() == -signal.SIGKILL, killed.stderr
    assert not (run / "student.keras").exists()
    main(["--resume", str(run)])
    assert_same_student(finished, run)
    windows = [json.loads(line)["window"] for line in (run / "log.jsonl").read_text().splitlines()]
    assert windows == [0, 1]


def test_two_stages_killed_in_the_second_end_with_the_same_student(tmp_path):
    words, runs = [*SIMPLE, "--stages", "2"], (tmp_path / "whole", tmp_path / "killed")
    main([*words, "--out", str(runs[0])])
    words = [*words, "--out", str(runs[1])]
    killed = signalled_at(2, "envise_tf.run:Run.write_log", "envise_tf.train.__main__", words)
    assert killed.wait() == -signal.SIGKILL, killed.stderr
    main(["--resume", str(runs[1])])
    assert_same_student(*runs)


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("found_job", "there is nothing to resume"),
        ("Run.write_log", "resume it with python -m envise_tf.train --resume"),
    ],
)
def test_interrupted_it_says_whether_and_how_it_is_resumed(tmp_path, monkeypatch, capsys, place, said):
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(f"envise_tf.run.{place}" if "." in place else f"envise_tf.runs.jobs.{place}", stopped)
    with pytest.raises(SystemExit) as stop:
        main([*SMALL, "--out", str(tmp_path / "run")])
    assert stop.value.code == 130
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(f"interrupted; {said}")
    assert last.endswith(str(tmp_path / "run")) is (tmp_path / "run" / "settings.yaml").exists()


def test_a_finished_run_has_nothing_to_resume(finished, capsys):
    with pytest.raises(SystemExit):
        main(["--resume", str(finished)])
    assert f"{finished} is finished: there is nothing to resume; to evaluate it again" in capsys.readouterr().err


def test_a_twin_that_is_missing_is_trained_as_one_flag_would(finished, tmp_path, capsys):
    twin = tf.keras.models.load_model(finished / "twin" / "student.keras", compile=False)
    assert not any("quant" in layer.name for layer in twin.layers)
    main([*SMALL, "--twin", "true", "--out", str(tmp_path / "alone")])
    assert_same_student(finished / "twin", tmp_path / "alone")
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    shutil.rmtree(run / "twin")
    (run / "settings.yaml").write_text((run / "settings.yaml").read_text().replace(str(finished), str(run)))
    main(["--resume", str(run)])
    assert_same_student(finished / "twin", run / "twin")
    assert f"envise_tf.evaluate {run / 'twin'}" in capsys.readouterr().out.replace("\n", "")
    assert "--with_twin" in error_of(capsys, "--with_twin", "true", "--twin", "true")


def test_a_teacher_and_a_folder_of_photographs_are_enough_and_the_run_is_evaluated_from_anywhere(
    tmp_path, monkeypatch, capsys
):
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
    assert result["class_names"] == ["0", "1", "2", "3", "4"]
    said = " ".join(capsys.readouterr().out.split())
    assert "teacher mine.keras has no names for its classes: they are called 0 to 4" in said
    assert "of the teacher's work, so this pair can hardly pay" in said
    assert "about 8 of some 61 distinct images test the promise, which takes at least 308 for a loss of 1 %" in said
    assert "that is too few, and everything will be deferred" in said
    assert result["unreadable_files"] == 1
    assert "accuracy_student" not in result
    assert "rates" not in result["evaluation"]
    assert 0 <= result["evaluation"]["work"]["stream"]["deferral_rate"] <= 1
    assert "</html>" in (tmp_path / "run" / "report.html").read_text()


def test_frequent_classes_follow_the_prior_of_the_stream(tmp_path):
    prior = ["--prior", "{two: 0.45, five: 0.45, nine: 0.1}", "--scenario", "null", "--min_share", "0.2"]
    main([*SIMPLE, *prior, "--windows", "1", "--out", str(tmp_path / "run")])
    assert json.loads((tmp_path / "run" / "result.json").read_text())["class_names"] == ["two", "five"]


def test_the_student_learns_from_the_teacher_adapted_to_the_stream(finished):
    opened = load_run(str(finished))
    images = next(iter(opened.job.promising_images(64))).numpy()
    raw = load_teacher("digits-disjoint")(images)
    saved = tf.keras.models.load_model(finished / "teacher.keras", compile=False)(images).numpy()
    np.testing.assert_allclose(saved, opened.adaptation.logits(raw), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(opened.job.teacher(images), saved, rtol=1e-6, atol=1e-6)
    assert (opened.adaptation.estimate[:7] > 0.05).all()
    assert (opened.adaptation.estimate[7:] < 0.01).all()
    told = json.loads((finished / "result.json").read_text())["prior"]
    assert told["images"] == opened.adaptation.images > 300
    assert 6 < told["effective_classes"] < 8


def test_the_teacher_can_be_taken_as_it_comes(tmp_path):
    run = tmp_path / "run"
    main([*SIMPLE, "--windows", "1", "--adapt", "false", "--classes", "pinned", "--out", str(run)])
    opened = load_run(str(run))
    images = next(iter(opened.job.promising_images(64))).numpy()
    np.testing.assert_allclose(opened.job.teacher(images), load_teacher("digits-disjoint")(images), rtol=1e-6)
    assert opened.adaptation is None
    assert not (run / "prior.json").exists()


def test_a_student_is_picked_by_the_teachers_work(tmp_path, capsys):
    main([*SIMPLE, "--widths", "auto", "--blocks", "[1,1]", "--windows", "1", "--out", str(tmp_path)])
    # The stem of 32 channels alone takes 7 % of this teacher's work: none is cheaper than the narrowest.
    assert json.loads((tmp_path / "result.json").read_text())["architecture"]["widths"] == [32, 32]
    opened = load_run(str(tmp_path))
    assert opened.job.settings.widths == "auto"
    assert [layer.filters for layer in opened.student.layers if hasattr(layer, "filters")][-1] == 32


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--source", "cifar100", "--data_dir", "no/such/folder"], "no/such/folder"),
        (["--teacher", "no_such.keras"], "no_such.keras"),
        (["--teacher", "cifar100-disjont"], "cifar100-disjoint"),
        (["--scenario", "digit"], "digits"),
        (["--widths", "[33]"], "multiples of 32"),
        (["--student_size", "48"], "student_size 48 for images of 32 pixels"),
        (["--image_size", "64"], "32x32"),
        (["--prior", "{zero: 0.5, oen: 0.5}"], "nearest: one"),
        (["--prior", "{zero: 0.5, one: 0}"], "more than 0"),
        (["--source", "null"], "no images are given"),
        (["--scenario", "null", "--classes", "pinned"], "--scenario"),
        (["--objectives.soft_label.temprature", "2"], "temperature"),
        (["--student_init", "generic"], "no generic student"),
        (["--student_init", "cifar100-disjoint", "--widths", "auto"], "cifar100-disjoint, which has its own"),
        (["--window", "16"], "at least one batch"),
        (["--min_share", "0.9"], "min_share"),
        (["--out", "/proc/none/run"], "/proc"),
        (["--calibrate", "no/such/folder"], "no/such/folder"),
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
