import csv
import os
import re
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from commands import error_line, signalled_at
from PIL import Image
from small_bundle import NAMES, small_bundle, varied_images
from thresholds import widest_gap

from envise_tf.errors import UserError
from envise_tf.export.classify import ClassifySettings, classify, image_paths, main
from envise_tf.export.runtime import Cascade

pytestmark = pytest.mark.slow

IMAGES = varied_images(24)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """A bundle whose student answers about half of IMAGES."""
    folder = tmp_path_factory.mktemp("bundles")
    scores = Cascade.load(small_bundle(folder / "open")).classify_batch(IMAGES).score
    return small_bundle(folder / "bundle", thresholds=[widest_gap(scores)] * 7)


def rows(path) -> list[list[str]]:
    with Path(path).open(newline="") as file:
        return list(csv.reader(file))


def run(bundle, *images, out, **options) -> list[list[str]]:
    classify(ClassifySettings(str(bundle), [str(image) for image in images], str(out), **options))
    header, *found = rows(out)
    assert header == ["origin", "class", "by_student", "score"]
    return found


def save(path: Path, image) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path)
    return path


@pytest.mark.parametrize("builtin", [False, True])
def test_the_rows_are_what_the_cascade_says(bundle, tmp_path, builtin):
    paths = [save(tmp_path / f"images/{number:02}.png", image) for number, image in enumerate(IMAGES)]
    found = run(bundle, tmp_path / "images", out=tmp_path / "out.csv", builtin=builtin)
    answers = Cascade.load(bundle, builtin).classify_batch(IMAGES)
    assert [row[0] for row in found] == [str(path) for path in paths]
    assert [row[1] for row in found] == [NAMES[label] for label in answers.label]
    assert [row[2] for row in found] == [str(bool(by)).lower() for by in answers.by_student]
    np.testing.assert_allclose([float(row[3]) for row in found], answers.score, rtol=1e-5)
    assert builtin or {row[2] for row in found} == {"true", "false"}


def test_the_same_picture_in_every_form_gets_the_same_row(bundle, tmp_path):
    grey = np.kron(np.random.default_rng(1).integers(0, 256, (8, 8)), np.ones((4, 4))).astype(np.uint8)
    exif = Image.Exif()
    exif[274] = 6  # turn clockwise to see it upright
    turned = Image.fromarray(np.ascontiguousarray(np.rot90(grey)))
    folder = tmp_path / "images"
    save(folder / "a.png", np.stack([grey] * 3, -1))
    save(folder / "grey.png", grey)
    save(folder / "deep.png", grey.astype(np.uint16) * 257)
    save(folder / "opaque.png", Image.fromarray(grey).convert("RGBA"))
    turned.save(folder / "turned.png", exif=exif)
    found = run(bundle, folder, out=tmp_path / "out.csv")
    assert len(found) == 5
    assert {tuple(row[1:]) for row in found} == {tuple(found[0][1:])}


def test_one_pixel_is_a_picture_of_one_colour(bundle, tmp_path):
    save(tmp_path / "1.png", np.full((1, 1, 3), (200, 30, 60), np.uint8))
    ((_, label, by_student, _),) = run(bundle, tmp_path / "1.png", out=tmp_path / "out.csv")
    expected = Cascade.load(bundle).classify(np.full((32, 32, 3), (200, 30, 60), np.uint8))
    assert (label, by_student) == (expected.label, str(expected.by_student).lower())


def test_unreadable_files_are_named_counted_and_skipped(bundle, tmp_path, capsys):
    good = save(tmp_path / "images/good.png", IMAGES[0])
    (tmp_path / "images/empty.jpg").touch()
    (tmp_path / "images/text.png").write_text("no image")
    (tmp_path / "images/cut.png").write_bytes(good.read_bytes()[:-900])
    found = run(bundle, tmp_path / "images", out=tmp_path / "out.csv")
    assert [row[0] for row in found] == [str(good)]
    printed = capsys.readouterr().out
    for name in ("empty.jpg", "text.png", "cut.png"):
        assert f"skipped {tmp_path / 'images' / name}: it cannot be read as an image (" in printed
    assert re.search(r"1 images, \S+ ms each: \d answered by the student, \d by the teacher; 3 files could", printed)


def test_nothing_readable_is_an_error_and_leaves_no_file(bundle, tmp_path):
    (tmp_path / "a.png").touch()
    with pytest.raises(UserError, match="none of the 1 files can be read as an image"):
        run(bundle, tmp_path / "a.png", out=tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()


def test_files_folders_and_patterns_are_found_once_in_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("b/2.jpg", "b/c/1.png", "b/notes.txt", "a.png", "x[1].png"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    assert image_paths(["b", "a.png"]) == ["b/2.jpg", "b/c/1.png", "a.png"]
    assert image_paths(["a.png", "*.png"]) == ["a.png", "x[1].png"]
    assert image_paths(["**/*.png"]) == ["a.png", "b/c/1.png", "x[1].png"]
    assert image_paths(["x[1].png"]) == ["x[1].png"]  # a name that is there is no pattern
    assert image_paths(["b/notes.txt"]) == ["b/notes.txt"]  # what is named is tried


def test_arguments_without_an_image_are_errors(tmp_path):
    (tmp_path / "empty").mkdir()
    for argument, told in [("nowhere.png", "is not there"), ("*.jpg", "is not there"), ("empty", "holds no image")]:
        with pytest.raises(UserError, match=re.escape(f"{tmp_path / argument} {told}: expected a file, a folder")):
            image_paths([str(tmp_path / argument)])


def test_an_old_result_is_not_written_over(bundle, tmp_path):
    save(tmp_path / "a.png", IMAGES[0])
    (tmp_path / "out.csv").write_text("precious")
    with pytest.raises(UserError, match="exists already: expected a new file"):
        run(bundle, tmp_path / "a.png", out=tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text() == "precious"
    with pytest.raises(UserError, match=r"cannot write .* \(No such file or directory\): expected a file in a folder"):
        run(bundle, tmp_path / "a.png", out=tmp_path / "nowhere/out.csv")


def test_names_with_commas_quotes_and_foreign_bytes_survive(bundle, tmp_path):
    name = os.fsdecode(b'a "b", c\xff.png')
    save(tmp_path / "images" / "plain.png", IMAGES[0]).rename(tmp_path / "images" / name)
    classify(ClassifySettings(str(bundle), [str(tmp_path / "images")], str(tmp_path / "out.csv")))
    with (tmp_path / "out.csv").open(newline="", errors="surrogateescape", encoding="utf-8") as file:
        assert list(csv.reader(file))[1][0] == str(tmp_path / "images" / name)


def test_the_command_ends_with_two_and_one_line_for_a_mistake(bundle, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main([str(tmp_path / "nowhere"), str(bundle / "labels.txt"), "--out", str(tmp_path / "out.csv")])
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith(f"error: there is no bundle {tmp_path / 'nowhere'}")
    assert not (tmp_path / "out.csv").exists()


def test_the_command_line_gives_the_settings(bundle, tmp_path, capsys):
    save(tmp_path / "a.png", IMAGES[0])
    out = tmp_path / "out.csv"
    main(
        [str(bundle), str(tmp_path / "a.png"), str(tmp_path), "--out", str(out), "--builtin", "true", "--threads", "2"]
    )
    assert [row[0] for row in rows(out)[1:]] == [str(tmp_path / "a.png")]
    assert f"predictions: {out}" in capsys.readouterr().out


def test_ctrl_c_leaves_whole_rows(bundle, tmp_path):
    for number in range(40):
        save(tmp_path / f"images/{number:02}.png", IMAGES[0])
    out = tmp_path / "out.csv"
    words = [str(bundle), str(tmp_path / "images"), "--out", str(out)]
    place = "envise_tf.export.runtime:Cascade.classify"
    stopped = signalled_at(20, place, "envise_tf.export.classify", words, signal.SIGINT)
    assert stopped.wait() == 130, stopped.stderr
    assert stopped.stderr.splitlines()[-1] == "interrupted; --out holds the images answered so far"
    assert out.read_text().endswith("\n")
    found = rows(out)[1:]
    assert [row[0] for row in found] == [str(tmp_path / f"images/{number:02}.png") for number in range(19)]
    assert {len(row) for row in found} == {4}


def test_parquet_without_beam_says_what_to_install(bundle, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    save(tmp_path / "a.png", IMAGES[0])
    line = error_line(capsys, main, [str(bundle), str(tmp_path / "a.png"), "--out", str(tmp_path / "a.parquet")])
    assert "not installed: pip install 'envise-tf[beam]', or give a CSV file as --out" in line


@pytest.mark.parametrize("flag", ["--workers", "--beam"])
def test_a_flag_of_parquet_beside_a_csv_file_is_told(bundle, tmp_path, capsys, flag):
    line = error_line(capsys, main, [str(bundle), "a.png", "--out", str(tmp_path / "a.csv"), flag, "2"])
    assert "are for Parquet" in line


@pytest.mark.parametrize("out", ["a.csv", "a.parquet"])
def test_a_pattern_that_matches_nothing_is_told_and_nothing_is_written(bundle, tmp_path, capsys, out):
    words = [str(bundle), "--images", str(tmp_path / "*.jpg"), "--out", str(tmp_path / out)]
    if out == "a.parquet":
        pytest.importorskip("apache_beam", reason="the extra [beam] is not installed")
    assert "*.jpg is not there: expected a file, a folder" in error_line(capsys, main, words)
    assert not (tmp_path / out).exists()
