import contextlib
import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from torch_files import write_lite0_package

from envise_tf.distillation.replicas import replicas_of
from envise_tf.images.loading import load_source
from envise_tf.images.windows import Stream
from envise_tf.networks.imagenet import ImagenetReference, to_fine_tune
from envise_tf.networks.loading import load_teacher
from envise_tf.networks.teachers import wide_resnet
from envise_tf.runs.job import found_job
from envise_tf.settings import TeachSettings, TrainSettings, parsed
from envise_tf.teach.__main__ import main
from envise_tf.teach.pipeline import _compiled, accuracy_on_test_split

pytestmark = pytest.mark.slow

TINY = ["--source", "digits", "--window", "64", "--batch_size", "32", "--learning_rate", "0.1"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher; what was printed lies in printed.txt beside its folder."""
    run = tmp_path_factory.mktemp("teach") / "run"
    with (run.parent / "printed.txt").open("w") as printed, contextlib.redirect_stdout(printed):
        main([*TINY, "--windows", "2", "--out", str(run)])
    return run


def test_the_next_command_runs_as_printed(finished):
    printed = (finished.parent / "printed.txt").read_text()
    (line,) = [line for line in printed.splitlines() if line.startswith("next: ")]
    words = line.removeprefix("next: python -m envise_tf.train ").split()
    settings, _ = parsed(TrainSettings, "train", "", words)
    assert found_job(settings).teacher.class_names[:2] == ("zero", "one")


def test_the_run_of_a_teacher_can_be_given_to_train(finished):
    result = json.loads((finished / "result.json").read_text())
    teacher = load_teacher(str(finished))
    assert teacher.class_names[:3] == ("zero", "one", "two")
    assert accuracy_on_test_split(teacher.model, load_source("digits")) == pytest.approx(result["accuracy"])


def test_the_images_kept_out_of_the_training_calibrate_the_teacher(finished):
    result, teacher = json.loads((finished / "result.json").read_text()), load_teacher(str(finished))
    labelled = teacher.labelled
    kept = Stream(load_source("digits"), "calibration", "disjoint", None, None, 64, 32, 0)
    images, labels = (np.concatenate(each) for each in zip(*kept.labelled_images().as_numpy_iterator(), strict=True))
    assert len(labelled) == len(images) == result["kept_images"] > 40
    np.testing.assert_array_equal(labelled.labels, labels)
    np.testing.assert_allclose(labelled.logits, teacher(images), rtol=1e-3, atol=1e-3)
    assert result["accuracy_on_kept"] == np.mean(teacher(images).argmax(axis=1) == labels)
    assert result["calibration"]["error_after"] <= result["calibration"]["error_before"]


def test_a_saved_teacher_is_ready_to_be_trained_on(finished):
    teacher = tf.keras.models.load_model(finished / "teacher.keras")
    before = teacher.get_weights()
    teacher.fit(np.zeros((2, 32, 32, 3), np.uint8), np.eye(10)[:2], verbose=0)
    assert not all(np.array_equal(one, other) for one, other in zip(before, teacher.get_weights(), strict=True))


@pytest.mark.parametrize("words", [[], ["--mixup", "0.5", "--ema", "0.9"]], ids=["plain", "mixup and a mean"])
def test_resumed_half_way_it_ends_as_the_same_teacher(words, finished, tmp_path, monkeypatch):
    whole = tmp_path / "whole" if words else finished
    words = [*TINY, "--windows", "2", *words]
    if whole != finished:
        main([*words, "--out", str(whole)])

    class Killed(BaseException):
        pass

    def killed(self, epoch, logs=None):
        if epoch == 1:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("envise_tf.progress.ProgressBar.on_epoch_begin", killed)
        with pytest.raises(Killed):
            main([*words, "--out", str(tmp_path / "killed")])
    main(["--resume", str(tmp_path / "killed")])
    weights = (trained(run).get_weights() for run in (whole, tmp_path / "killed"))
    for one, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_mean_of_weights_is_what_each_step_keeps_of_it(tmp_path):
    settings = TeachSettings(source="digits", window=96, batch_size=32, ema=0.7, learning_rate=0.1)
    model = wide_resnet(8, 10, 10, 1)
    trained = _compiled(replicas_of("one", 32, print), model, settings, steps=3)
    images = np.random.default_rng(0).integers(0, 256, (96, 8, 8, 3), np.uint8)
    expected = [weight.numpy() for weight in model.trainable_weights]

    def average(batch, logs):
        for mean, weight in zip(expected, model.trainable_weights, strict=True):
            mean[...] = 0.7 * mean + 0.3 * weight.numpy()

    kept = tf.keras.callbacks.LambdaCallback(on_train_batch_end=average)
    trained.fit(images, np.eye(10)[np.arange(96) % 10], batch_size=32, callbacks=[kept], verbose=0)
    for mean, weight in zip(expected, model.trainable_weights, strict=True):
        np.testing.assert_allclose(weight.numpy(), mean, atol=1e-5)


def test_an_imagenet_classifier_is_fine_tuned_with_a_head_for_the_classes(tmp_path, monkeypatch):
    write_lite0_package(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    run = tmp_path / "run"
    words = ["--initial", "imagenet-lite0@48", "--frozen", "15", "--head_passes", "2", "--windows", "1"]
    main([*TINY, *words, "--out", str(run)])
    result = json.loads((run / "result.json").read_text())
    made_of = {"network": "efficientnet_lite", "scale": "lite0", "network_size": 48, "size": 32, "classes": 10}
    assert result["architecture"] == made_of
    assert 0 <= result["accuracy_on_kept"] <= 1
    teacher = load_teacher(str(run))
    assert (teacher.size, teacher.classes) == (32, 10)
    untrained = to_fine_tune(ImagenetReference("lite0", 48), 32, 10)
    for name in ("stem", "block14_project_bn"):
        for one, other in zip(
            teacher.model.get_layer(name).get_weights(), untrained.get_layer(name).get_weights(), strict=True
        ):
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
    small += ["--objectives", '{"soft_label": {"weight": 1.0}}']  # traced faster
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
