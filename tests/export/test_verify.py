"""Verifying a bundle: what passes, and how each kind of damage is told."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from envise_tf.deferral.scores import outlier_score
from envise_tf.errors import UserError
from envise_tf.export.bundle import file_entry, write_manifest
from envise_tf.export.conversion import converted_builtin, output_indices
from envise_tf.export.settings import VerifySettings
from envise_tf.export.verify import Comparison, Failed, main, verify
from envise_tf.networks.students import residual_student


@pytest.fixture
def bundle(exported, tmp_path):
    return Path(shutil.copytree(exported, tmp_path / "bundle"))


def renew(bundle: Path, which: str, **changes: object) -> None:
    """Writes size and checksum of a changed file to the manifest, so that only its content tells on it."""
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest[which] |= file_entry(bundle / manifest[which]["file"]) | changes
    write_manifest(bundle, manifest)


def change_golden(bundle: Path, **arrays: np.ndarray) -> None:
    with np.load(bundle / "golden.npz") as file:
        content = dict(file) | arrays
    np.savez_compressed(bundle / "golden.npz", **content)
    renew(bundle, "golden")


def golden(bundle: Path, name: str) -> np.ndarray:
    with np.load(bundle / "golden.npz") as file:
        return file[name]


def failure_of(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as stop:
        main(list(words))
    assert stop.value.code == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("failed: ")
    return lines[0]


def test_a_bundle_reproduces_its_golden_file_without_tensorflow(exported):
    program = (
        "import sys; from envise_tf.export.verify import main; main(sys.argv[1:]); "
        "print(sorted({'tensorflow', 'larq', 'keras', 'tf_keras'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program, str(exported)], capture_output=True, text=True, check=True)
    assert "32 golden images reproduced" in " ".join(done.stdout.split())
    assert done.stdout.strip().endswith("[]")


def test_a_bundle_agrees_with_keras_on_all_test_digits(exported, digits_run):
    agreements = verify(VerifySettings(str(exported), run=str(digits_run)))
    assert [one.file for one in agreements] == ["student.tflite", "student_builtin.tflite", "teacher.tflite"]
    for one in agreements:
        assert one.images == 360
        assert one.required == 0.998
        assert one.same_class >= 0.998
        assert one.median_difference < 0.01
    assert agreements[2].same_decision is None
    some = verify(VerifySettings(str(exported), run=str(digits_run), source="digits", images=90))
    assert [one.images for one in some] == [90, 90, 90]


def test_a_flipped_byte_is_told_by_file(bundle, capsys):
    content = bytearray((bundle / "teacher.tflite").read_bytes())
    content[5000] ^= 1
    (bundle / "teacher.tflite").write_bytes(content)
    assert "teacher.tflite" in failure_of(capsys, str(bundle))


@pytest.mark.parametrize(
    ("name", "file"), [("label", "student"), ("builtin_by_student", "student_builtin"), ("by_student", "student")]
)
def test_another_answer_is_told_by_file_and_image(bundle, capsys, name, file):
    changed = golden(bundle, name)
    right = changed[11]
    changed[11] = not changed[11] if changed.dtype == bool else (changed[11] + 1) % 10
    wrong = changed[11]
    change_golden(bundle, **{name: changed})
    line = failure_of(capsys, str(bundle))
    assert (
        f"{file}.tflite answers 1 of 32 golden images otherwise: image 11 has {name} {right}, expected {wrong}" in line
    )


def test_other_logits_are_told_by_how_much(bundle, capsys):
    logits = golden(bundle, "teacher_logits")
    logits += 0.5
    logits[3] += 2
    change_golden(bundle, teacher_logits=logits)
    line = failure_of(capsys, str(bundle))
    assert "teacher.tflite gives other logits than the golden ones: median difference 0.5" in line
    assert "largest in image 3, 2.5" in line


def test_another_network_in_place_of_the_student_is_told(bundle, capsys):
    tf.keras.utils.set_random_seed(3)
    flatbuffer = converted_builtin(residual_student(32, 7, [32], [1]), outlier_score("msp"))
    (bundle / "student_builtin.tflite").write_bytes(flatbuffer)
    renew(bundle, "student_builtin", outputs=output_indices(flatbuffer))
    assert "student_builtin.tflite" in failure_of(capsys, str(bundle))


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"images": np.zeros((32, 8, 8, 3), np.uint8)}, "expected uint8 (32, 32, 32, 3)"),
        ({"student_logits": np.zeros((32, 3), np.float32)}, "has no student_logits of shape (32, 7)"),
    ],
)
def test_a_golden_file_that_is_none_is_told(bundle, capsys, arrays, reason):
    change_golden(bundle, **arrays)
    assert reason in failure_of(capsys, str(bundle))


def test_text_in_place_of_the_golden_file_is_told(bundle, capsys):
    (bundle / "golden.npz").write_text("no arrays")
    renew(bundle, "golden")
    assert "is no golden file" in failure_of(capsys, str(bundle))


def test_a_run_that_does_not_fit_is_refused(bundle, digits_run, tmp_path):
    run = Path(shutil.copytree(digits_run, tmp_path / "run"))
    threshold = json.loads((run / "threshold.json").read_text())
    threshold["values"][2] = 0.5
    (run / "threshold.json").write_text(json.dumps(threshold))
    with pytest.raises(UserError, match="evaluated again"):
        verify(VerifySettings(str(bundle), run=str(run)))


@pytest.mark.parametrize(
    ("flags", "reason"),
    [(["--source", "digits"], "without --run"), (["--images", "0"], "at least 1"), (["--immages", "3"], "immages")],
)
def test_mistakes_are_one_line(exported, capsys, flags, reason):
    with pytest.raises(SystemExit) as stop:
        main([str(exported), *flags])
    assert stop.value.code == 2
    assert reason in capsys.readouterr().err


@pytest.mark.parametrize(
    ("same_class", "same_decision", "said"),
    [(0.997, 1.0, "predicts the same class"), (1.0, 0.9975, "defers the same"), (float("nan"), 1.0, "predicts")],
)
def test_too_little_agreement_fails_with_an_example(same_class, same_decision, said):
    with pytest.raises(
        Failed, match=f"student.tflite {said} .* of 2000 images, expected 99.8 %; .* image 5 is class 1"
    ):
        Comparison("student.tflite", 2000, same_class, same_decision, 1e-6, 0.998, "image 5 is class 1").require()


@pytest.mark.parametrize("images", [2, 137, 499])
def test_one_of_few_images_may_be_answered_otherwise_and_no_second(images):
    one, two = (np.mean(np.arange(images) >= missed) for missed in (1, 2))
    Comparison("teacher.tflite", images, float(one), None, 1e-6, 0.998, "image 5 is class 1").require()
    with pytest.raises(Failed, match=f"of {images} images"):
        Comparison("teacher.tflite", images, float(two), None, 1e-6, 0.998, "image 5 is class 1").require()


def test_enough_agreement_passes():
    Comparison("student.tflite", 2000, 0.998, 0.9985, 1e-6, 0.998, "image 5 is class 1").require()
    Comparison("teacher.tflite", 2000, 1.0, None, 1e-6, 0.998, None).require()


def test_networks_under_each_others_names_are_told(bundle, capsys):
    for which, other in (("student_builtin", "teacher"), ("teacher", "student_builtin")):
        (bundle / f"{which}.swapped").write_bytes((bundle / f"{other}.tflite").read_bytes())
    for which in ("student_builtin", "teacher"):
        (bundle / f"{which}.swapped").rename(bundle / f"{which}.tflite")
        renew(bundle, which)
    line = failure_of(capsys, str(bundle))
    assert "student_builtin.tflite takes uint8 (1, 32, 32, 3) and gives float32 (1, 10); by the manifest" in line
