"""Bundles of a fixed run: what the files say, computed a second time; the twin; and what is refused."""

import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from commands import error_line
from fixed_run import held_back_images
from scipy import special, stats

from envise_tf.deferral.held_back import HeldBack
from envise_tf.deferral.scores import outlier_score
from envise_tf.deferral.threshold import Threshold, chosen_threshold
from envise_tf.errors import UserError
from envise_tf.export.__main__ import main
from envise_tf.export.bundle import load_bundle
from envise_tf.export.golden import clear_images
from envise_tf.export.runtime import TfliteNetwork
from envise_tf.networks.macs import macs
from envise_tf.networks.students import residual_student


@pytest.fixture
def copied(digits_run, tmp_path):
    return Path(shutil.copytree(digits_run, tmp_path / "run"))


def manifest_of(folder: Path) -> dict:
    return json.loads((folder / "manifest.json").read_text())


def golden_of(folder: Path) -> dict[str, np.ndarray]:
    with np.load(folder / "golden.npz") as file:
        return {name: file[name] for name in file.files}


def error_of(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    return error_line(capsys, main, list(words))


def rate_threshold(rate: float) -> dict:
    """What a threshold.json of the rule "rate" holds, for seven classes."""
    part = HeldBack(np.linspace(0, 1, 500), np.zeros(500), np.ones(500), np.ones(500), np.zeros(500))
    return chosen_threshold("rate", part, part, 7, rate=rate).as_dict()


def accuracy_threshold_of(folder: Path, run: Path, epsilon: float) -> Threshold:
    """The threshold of the built-in student by the rule accuracy, with regrets by hand from the run's teacher."""
    entry, flatbuffer = manifest_of(folder)["student_builtin"], (folder / "student_builtin.tflite").read_bytes()
    network = TfliteNetwork(flatbuffer, "twin")
    teacher = tf.keras.models.load_model(run / "teacher.keras", compile=False)

    def seen(part: str) -> HeldBack:
        images = held_back_images(run, part)
        said = [network(image[np.newaxis]) for image in images]
        own = np.array([one[entry["outputs"]["logits"]].argmax() for one in said])
        score = np.array([one[entry["outputs"]["score"]].item() for one in said])
        shares = special.softmax(teacher(images).numpy().astype(np.float64), axis=1)
        label, rows = shares.argmax(axis=1), np.arange(len(images))
        # The seven classes of the student are the first seven of the teacher.
        regret = shares[rows, label] - shares[rows, own]
        return HeldBack(score, own, own == label, label < 7, regret)

    return chosen_threshold("accuracy", seen("choosing"), seen("promising"), 7, epsilon=epsilon)


def test_the_manifest_is_that_of_the_run(exported, digits_run):
    bundle = load_bundle(exported)
    threshold = json.loads((digits_run / "threshold.json").read_text())
    classes = json.loads((digits_run / "classes.json").read_text())
    assert list(bundle.class_names) == classes["teacher_names"]
    assert list(bundle.teacher_classes) == classes["teacher_classes"]
    for which in ("student", "student_builtin"):
        assert bundle.manifest[which]["threshold"] == threshold
        assert bundle.manifest[which]["score"] == "msp"
    assert [bundle.manifest[which]["network"] for which in ("student", "student_builtin")] == [
        "binary",
        "float_emulation",
    ]
    assert "for want of a twin" in bundle.manifest["student_builtin"]["note"]
    assert bundle.manifest["teacher"]["precision"] == "float16"


def test_the_files_of_stock_operators_carry_the_names_of_their_classes(exported):
    names = manifest_of(exported)["class_names"]
    expected = {"teacher": names, "student_builtin": [names[c] for c in manifest_of(exported)["teacher_classes"]]}
    for which, labels in expected.items():
        with zipfile.ZipFile(exported / f"{which}.tflite") as archive:
            assert archive.read("labels.txt").decode().splitlines() == labels
    assert not zipfile.is_zipfile(exported / "student.tflite")


def test_work_and_gain_are_counted_as_each_file_runs(exported, digits_run):
    entries = manifest_of(exported)
    student, teacher = (
        macs(tf.keras.models.load_model(digits_run / f"{name}.keras", compile=False)) for name in ("student", "teacher")
    )
    assert entries["student"]["binary_macs"] == student.binary_macs > 0
    assert entries["student"]["flops"] == student.flops
    assert entries["student_builtin"]["binary_macs"] == 0
    assert entries["student_builtin"]["float_macs"] == student.float_macs + student.binary_macs
    assert entries["student_builtin"]["flops"] == 2 * entries["student_builtin"]["float_macs"]
    for which in ("student", "student_builtin"):
        expected = entries[which]["expected"]
        assert expected["deferral_rate"] == pytest.approx(1 - entries[which]["threshold"]["coverage"])
        share = entries[which]["flops"] / teacher.flops
        assert expected["gie"] == pytest.approx(1 - share - expected["deferral_rate"])
        assert expected["speedup"] == pytest.approx(1 / (share + expected["deferral_rate"]))


def test_the_golden_decisions_follow_from_the_golden_outputs(exported):
    golden, entries = golden_of(exported), manifest_of(exported)
    assert golden["images"].shape == (32, 32, 32, 3)
    assert len(np.unique(golden["images"].reshape(32, -1), axis=0)) == 32
    threshold = np.float32(entries["student"]["threshold"]["values"][0])
    for prefix, label, by_student in (
        ("student", "label", "by_student"),
        ("builtin", "builtin_label", "builtin_by_student"),
    ):
        answers = golden[f"{prefix}_score"] >= threshold
        np.testing.assert_array_equal(golden[by_student], answers)
        # The seven classes of the student are the first seven of the teacher.
        expected = np.where(answers, golden[f"{prefix}_logits"].argmax(axis=1), golden["teacher_logits"].argmax(axis=1))
        np.testing.assert_array_equal(golden[label], expected)
    assert 0 < golden["by_student"].sum() < 32


def test_the_golden_images_are_held_back_ones(exported, digits_run):
    known = {image.tobytes() for image in held_back_images(digits_run, "choosing")}
    assert all(image.tobytes() in known for image in golden_of(exported)["images"])


def test_golden_images_are_clear_and_half_of_them_deferred():
    random = np.random.default_rng(0)
    logits = random.normal(size=(400, 5)).astype(np.float32)
    score = random.uniform(size=400).astype(np.float32)
    thresholds = np.full(5, 0.3, np.float32)
    rows = clear_images(logits, score, thresholds, score >= 0.3)
    assert len(rows) == 32
    assert (np.diff(rows) > 0).all()
    assert (score[rows] >= 0.3).sum() == 16
    lead = np.diff(np.sort(logits)[:, -2:])[:, 0]
    assert lead[rows].min() >= np.quantile(lead, 0.25)
    assert np.abs(score - 0.3)[rows].min() >= np.quantile(np.abs(score - 0.3), 0.25)


def test_golden_images_are_as_many_as_there_are():
    random = np.random.default_rng(0)
    logits, score = random.normal(size=(40, 5)), random.uniform(size=40)
    always = np.full(5, np.inf)
    assert len(clear_images(logits, score, always, np.zeros(40, bool))) == 32
    np.testing.assert_array_equal(clear_images(logits[:7], score[:7], always, np.zeros(7, bool)), np.arange(7))


def test_a_twin_becomes_the_builtin_student_in_int8(copied, exported, tmp_path):
    twin = Path(shutil.copytree(copied, copied / "twin"))
    settings = (twin / "settings.yaml").read_text().replace("twin: false", "twin: true", 1)
    (twin / "settings.yaml").write_text(settings)
    # A twin that guesses costs nearly 90 % of accuracy where it answers: this much lets it answer some images.
    none = HeldBack(*np.zeros((5, 0)))
    threshold = chosen_threshold("accuracy", none, none, 7, epsilon=0.3)
    (twin / "threshold.json").write_text(json.dumps(threshold.as_dict()))
    assert "\ntwin: true" in settings
    tf.keras.utils.set_random_seed(0)
    residual_student(32, 7, [32, 64], [2, 2], binary=False).save(twin / "student.keras")
    target = Path(shutil.copytree(exported, tmp_path / "bundle"))
    main([str(copied), "--out", str(target), "--overwrite", "true", "--teacher_precision", "dynamic"])
    entries = manifest_of(target)
    assert entries["student"]["network"] == "binary"
    assert entries["student_builtin"]["network"] == "twin_int8"
    assert "chosen on what this file says" in entries["student_builtin"]["note"]
    assert entries["teacher"]["precision"] == "dynamic"
    assert entries["student_builtin"]["bytes"] < 150_000
    assert load_bundle(target).manifest == entries
    expected = accuracy_threshold_of(target, copied, 0.3)
    assert np.isfinite(expected.values).all()
    found = entries["student_builtin"]["threshold"]
    assert found["values"] == pytest.approx(expected.values.tolist())
    assert 0 < expected.coverage < 1
    assert found["coverage"] == pytest.approx(expected.coverage)
    assert (found["rule"], found["options"], found["promise"]) == ("accuracy", expected.options, expected.promise)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "run"]
    # A run of the twin alone has no binary student.
    (twin / "threshold.json").write_text(json.dumps(rate_threshold(0.3)))
    main([str(twin), "--out", str(tmp_path / "twin")])
    assert "student" not in manifest_of(tmp_path / "twin")
    assert not (tmp_path / "twin" / "student.tflite").exists()
    assert set(golden_of(tmp_path / "twin")) == {
        "images",
        "builtin_logits",
        "builtin_score",
        "builtin_label",
        "builtin_by_student",
        "teacher_logits",
    }
    flatbuffer = (tmp_path / "twin" / "student_builtin.tflite").read_bytes()
    network = TfliteNetwork(flatbuffer, "twin")
    assert len(network.outputs) == 3
    # Its threshold is that of its own scores: the largest rank of which the rule is sure.
    entry = manifest_of(tmp_path / "twin")["student_builtin"]
    promising = held_back_images(copied, "promising")
    scores = np.array([network(image[np.newaxis])[entry["outputs"]["score"]].item() for image in promising])
    rank = int(stats.binom.ppf(0.05, len(scores), 0.3))
    assert entry["threshold"]["values"] == [np.sort(scores)[rank - 1]] * 7
    assert entry["threshold"]["coverage"] == pytest.approx(1 - (rank - 1) / len(scores))
    assert entry["expected"]["deferral_rate"] == pytest.approx(1 - entry["threshold"]["coverage"])


def test_a_folder_that_is_taken_is_kept(exported, digits_run, capsys, tmp_path):
    before = sorted((path.name, path.stat().st_mtime_ns) for path in exported.iterdir())
    assert "--overwrite true" in error_of(capsys, str(digits_run), "--out", str(exported))
    assert sorted((path.name, path.stat().st_mtime_ns) for path in exported.iterdir()) == before
    (tmp_path / "photos").mkdir()
    line = error_of(capsys, str(digits_run), "--out", str(tmp_path / "photos"), "--overwrite", "true")
    assert "is no bundle" in line


def test_mistakes_are_one_line_and_leave_nothing(copied, capsys, tmp_path):
    out = tmp_path / "out" / "bundle"
    assert "holds no run" in error_of(capsys, str(tmp_path / "nowhere"), "--out", str(out))
    assert "teacher_precision" in error_of(capsys, str(copied), "--teacher_precision", "int4")
    assert "run" in error_of(capsys)
    outlier_score("odin").save(copied / "score.npz")
    assert "odin does not run on a phone" in error_of(capsys, str(copied), "--out", str(out))
    (copied / "threshold.json").unlink()
    assert f"python -m envise_tf.evaluate {copied}" in error_of(capsys, str(copied), "--out", str(out))
    assert not out.parent.exists()


def test_a_class_that_the_teacher_lacks_is_told_before_anything_is_converted(copied, capsys, tmp_path):
    classes = json.loads((copied / "classes.json").read_text())
    classes["teacher_classes"][0] = 70
    (copied / "classes.json").write_text(json.dumps(classes))
    line = error_of(capsys, str(copied), "--out", str(tmp_path / "bundle"))
    assert "classes.json has class 70 of the teacher, which has 10" in line


def test_an_export_that_fails_leaves_nothing(copied, capsys, tmp_path, monkeypatch):
    def failing(*arguments):
        raise UserError("the last file cannot be made")

    monkeypatch.setattr("envise_tf.export.pipeline.golden_answers", failing)
    assert "the last file cannot be made" in error_of(capsys, str(copied), "--out", str(tmp_path / "bundle"))
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
