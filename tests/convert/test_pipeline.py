"""The command convert, from a file of Keras 3 to a teacher."""

import re

import numpy as np
import pytest
from commands import error_line
from PIL import Image

from envise_tf.convert.__main__ import main
from envise_tf.networks.keras3 import layers
from envise_tf.networks.loading import load_teacher


@pytest.fixture
def photographs(tmp_path):
    folder = tmp_path / "photographs"
    folder.mkdir()
    draw = np.random.default_rng(5)
    for number in range(3):
        Image.fromarray(draw.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    (folder / "broken.jpg").write_bytes(b"no image")
    return folder


def test_a_network_is_written_that_answers_as_the_original_on_random_images_and_photographs(
    keras3_files, tmp_path, photographs, capsys
):
    out = tmp_path / "teacher.keras"
    main([str(keras3_files / "nested.keras"), "--images", str(photographs), "--out", str(out)])
    said = capsys.readouterr().out
    shown = re.findall(r"^(.*): largest difference .* same class on (\S+) % of (\d+)$", said, re.MULTILINE)
    assert shown == [("random images", "100.0", "128"), ("photographs", "100.0", "6")]
    assert f"skipped {photographs / 'broken.jpg'}" in said
    assert f"--teacher {out}" in said
    with np.load(keras3_files / "answers.npz") as file:
        images, expected = file["images"][:, :32, :32].astype(np.uint8), file["nested"]
    np.testing.assert_allclose(load_teacher(str(out))(images), expected, rtol=1e-4, atol=1e-4)


def test_a_network_that_answers_otherwise_is_refused(keras3_files, tmp_path, monkeypatch, capsys):
    # The silent difference: what Keras 2 calls by the same name.
    monkeypatch.setitem(layers._ACTIVATIONS, "hard_sigmoid", "hard_sigmoid")
    line = error_line(capsys, main, [str(keras3_files / "sequential.keras"), "--out", str(tmp_path / "out.keras")])
    assert "answers otherwise than" in line
    assert "nothing was written" in line
    assert list(tmp_path.iterdir()) == []


def test_without_keras_3_nothing_is_compared(keras3_files, tmp_path, monkeypatch, capsys):
    (tmp_path / "keras.py").write_text("__version__ = '2.15.0'\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    out = tmp_path / "teacher.keras"
    main([str(keras3_files / "sequential.keras"), "--out", str(out)])
    said = capsys.readouterr().out
    assert "nothing was compared: Keras 2.15.0 is installed" in said
    assert load_teacher(str(out)).classes == 5


def test_an_exported_network_is_compared_without_keras_3(keras3_files, tmp_path, monkeypatch, capsys):
    (tmp_path / "keras.py").write_text("__version__ = '2.15.0'\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    out = tmp_path / "teacher.keras"
    main([str(keras3_files / "operations_exported"), "--out", str(out)])
    assert "same class on 100.0 % of 128" in capsys.readouterr().out
    assert load_teacher(str(out)).classes == 5


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["one_unit.keras"], "gives one number per image, as a sigmoid of one unit does"),
        (["sequential.keras", "--out", "teacher.h5"], "--out teacher.h5 given: expected a name that ends in .keras"),
        (["sequential.keras", "--images", "empty"], "--images empty given: expected a folder of JPEG"),
        (["sequential.keras", "--out", "there.keras"], "there.keras exists already"),
    ],
)
def test_what_cannot_be_converted_is_told_in_one_line(keras3_files, tmp_path, monkeypatch, capsys, words, told):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "there.keras").touch()
    file, *flags = words
    flags = flags if "--out" in flags else [*flags, "--out", "new.keras"]
    assert told in error_line(capsys, main, [str(keras3_files / file), *flags])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "there.keras"]


@pytest.mark.parametrize(
    ("name", "told"),
    [("t.tflite", "is a TensorFlow Lite file"), ("t.onnx", "is an ONNX file"), ("t.keras", "no network")],
)
def test_files_of_others_are_told_in_one_line(tmp_path, capsys, name, told):
    (tmp_path / name).write_bytes(b"anything")
    assert told in error_line(capsys, main, [str(tmp_path / name)])
