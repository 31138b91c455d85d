import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from envise_tf.images.loading import load_source
from envise_tf.networks.loading import load_teacher
from envise_tf.runs.job import found_job
from envise_tf.settings import TrainSettings, parsed
from envise_tf.teach.__main__ import main
from envise_tf.teach.pipeline import accuracy_on_test_split

pytestmark = pytest.mark.slow

TINY = ["--source", "digits", "--window", "64", "--batch_size", "32", "--learning_rate", "0.1"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("teach") / "run"
    main([*TINY, "--windows", "2", "--out", str(run)])
    return run


def test_the_next_command_runs_as_printed(tmp_path, capsys):
    main([*TINY, "--windows", "1", "--out", str(tmp_path / "run")])
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("next: ")]
    words = line.removeprefix("next: python -m envise_tf.train ").split()
    settings, _ = parsed(TrainSettings, "train", "", words)
    assert found_job(settings).teacher.class_names[:2] == ("zero", "one")


def test_the_run_of_a_teacher_can_be_given_to_train(finished):
    result = json.loads((finished / "result.json").read_text())
    teacher = load_teacher(str(finished))
    assert teacher.class_names[:3] == ("zero", "one", "two")
    assert accuracy_on_test_split(teacher.model, load_source("digits")) == pytest.approx(result["accuracy"])


def test_a_saved_teacher_is_ready_to_be_trained_on(finished):
    teacher = tf.keras.models.load_model(finished / "teacher.keras")
    before = teacher.get_weights()
    teacher.fit(np.zeros((2, 32, 32, 3), np.uint8), np.eye(10)[:2], verbose=0)
    assert not all(np.array_equal(one, other) for one, other in zip(before, teacher.get_weights(), strict=True))


def test_resumed_half_way_it_ends_as_the_same_teacher(finished, tmp_path, monkeypatch):
    run = tmp_path / "run"

    class Killed(BaseException):
        pass

    def killed(self, epoch, logs=None):
        if epoch == 1:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("envise_tf.progress.ProgressBar.on_epoch_begin", killed)
        with pytest.raises(Killed):
            main([*TINY, "--windows", "2", "--out", str(run)])
    main(["--resume", str(run)])
    for one, other in zip(trained(finished).get_weights(), trained(run).get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_bfloat16_training_ends_in_a_float32_teacher(tmp_path):
    run = tmp_path / "run"
    main([*TINY, "--windows", "1", "--precision", "mixed_bfloat16", "--out", str(run)])
    teacher = trained(run)
    assert {layer.compute_dtype for layer in teacher.layers if layer.weights} == {"float32"}


def test_a_teacher_is_fine_tuned_from_another(tmp_path):
    """One that knows the digits: it is right at once, by the labels of the images, and its weights move."""
    shipped = load_teacher("digits-disjoint")
    initial = tmp_path / "initial.keras"
    shipped.model.save(initial)
    slowly = ["--learning_rate", "1e-3", "--windows", "1"]
    main([*TINY, *slowly, "--initial", str(initial), "--out", str(tmp_path / "run")])
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["accuracy"] > 0.9
    (entry,) = map(json.loads, (tmp_path / "run" / "log.jsonl").read_text().splitlines())
    assert entry["accuracy"] > 0.9
    kernels = [network.trainable_weights[0].numpy() for network in (shipped.model, trained(tmp_path / "run"))]
    assert (kernels[0] != kernels[1]).any()


def test_a_generic_student_has_all_the_teachers_classes(tmp_path):
    small = ["--widths", "[32]", "--blocks", "[1]", "--windows", "1", "--window", "128", "--batch_size", "32"]
    words = ["--source", "digits", "--part", "teacher", "--classes", "all", "--tensorboard", "false", *small]
    main(["--student", "--teacher", "digits-disjoint", *words, "--out", str(tmp_path / "run")])
    assert json.loads((tmp_path / "run" / "result.json").read_text())["teacher_classes"] == list(range(10))


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--network", "ResNet51"], "ResNet50"),
        (["--depth", "12"], "depth 12"),
        (["--initial", "nowhere.keras"], "nowhere.keras"),
        (["--batch_size", "1024"], "at least one batch"),
        (["--source", "/no/such/folder", "--image_size", "32"], "/no/such/folder"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing_behind(words, named, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main([*TINY, *words])
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert named in line
    assert list(tmp_path.iterdir()) == []


def trained(run: Path) -> tf.keras.Model:
    return tf.keras.models.load_model(run / "teacher.keras", compile=False)
