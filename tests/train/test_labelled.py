"""Training by labels, without a teacher: what comes out, that a killed one resumes to the same, and what is refused."""

import json
import signal

import numpy as np
import pytest
import tensorflow as tf
from commands import error_line, signalled_at

from envise_tf.evaluate import __main__ as evaluate
from envise_tf.images.digits import Digits
from envise_tf.teach import __main__ as teach
from envise_tf.train.__main__ import main

pytestmark = pytest.mark.slow

SMALL = [
    *("--teacher", "none", "--source", "digits", "--scenario", "digits"),
    *("--windows", "2", "--window", "64", "--batch_size", "32"),
    *("--widths", "[32]", "--blocks", "[1]", "--tensorboard", "false"),
    *("--objectives", '{"hard_label": {}, "oskd": {"memory": 40}, "amc": {}, "deep_gambler": {"weight": 0.1}}'),
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    run = tmp_path_factory.mktemp("labelled") / "run"
    main([*SMALL, "--out", str(run)])
    return run


def test_the_result_has_the_accuracy_of_the_student_on_its_classes(finished):
    result = json.loads((finished / "result.json").read_text())
    student = tf.keras.models.load_model(finished / "student.keras", compile=False)
    examples = [each for each in Digits().examples("test").as_numpy_iterator() if each["label"] < 7]
    answers = student.predict(np.stack([each["image"] for each in examples]), verbose=0).argmax(axis=1)
    assert result["accuracy"] == pytest.approx(np.mean(answers == [each["label"] for each in examples]))
    assert result["class_names"] == ["zero", "one", "two", "three", "four", "five", "six"]
    assert result["architecture"]["classes"] == 7
    entries = [json.loads(line) for line in (finished / "log.jsonl").read_text().splitlines()]
    assert {"oskd", "amc", "abstention", "accuracy", "val_accuracy"} <= set(entries[-1])
    assert result["accuracy_on_held_back"] == entries[-1]["val_accuracy"]
    assert (finished / "curves.png").exists()


def test_a_killed_one_resumes_to_the_same_student_with_all_that_objectives_remember(finished, tmp_path):
    run = tmp_path / "run"
    killed = signalled_at(2, "envise_tf.run:Run.write_log", "envise_tf.train.__main__", [*SMALL, "--out", str(run)])
    assert killed.wait() == -signal.SIGKILL, killed.stderr
    main(["--resume", str(run)])
    weights = [
        tf.keras.models.load_model(each / "student.keras", compile=False).get_weights() for each in (finished, run)
    ]
    for one, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_generic_student_is_taught_by_labels_of_all_classes_on_the_teachers_half(tmp_path):
    words, run = [*SMALL], tmp_path / "run"
    at = words.index("--scenario")
    del words[at : at + 2]
    teach.main(["--student", *words, "--part", "teacher", "--out", str(run)])
    assert json.loads((run / "result.json").read_text())["architecture"]["classes"] == 10


def test_it_has_nothing_to_evaluate_or_resume(finished, capsys):
    assert "holds no run of train" in error_line(capsys, evaluate.main, [str(finished)])
    assert "is finished: there is nothing to resume" in error_line(capsys, main, ["--resume", str(finished)])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--objectives", '{"hint": {}, "soft_label": {}}'], "hint, soft_label given without a teacher"),
        (["--objectives", '{"deep_gambler": {"soft": true}}'], "deep_gambler given without a teacher"),
        (["--widths", "auto"], "--widths auto given with --teacher none"),
        (["--mixup", "0.5"], "--mixup given with --teacher none"),
        (["--student_init", "generic"], "--student_init generic given with --teacher none"),
    ],
)
def test_what_asks_for_a_teacher_is_refused_before_anything_is_written(tmp_path, capsys, words, message):
    run = tmp_path / "run"
    assert message in error_line(capsys, main, [*SMALL, *words, "--out", str(run)])
    assert not run.exists()


def test_images_without_labels_teach_nothing_by_labels(tmp_path, capsys):
    for number in range(3):
        image = tf.io.encode_png(np.full((16, 16, 3), number, np.uint8)).numpy()
        (tmp_path / f"{number}.png").write_bytes(image)
    words = ["--teacher", "none", "--source", str(tmp_path), "--image_size", "16", "--objectives", '{"hard_label": {}}']
    line = error_line(capsys, main, words)
    assert "has no labels: --teacher none needs images in one sub-folder per class" in line
