import csv
import re
import shutil
import signal
import subprocess
import sys

import pyarrow.parquet as pq
import pytest
from commands import error_line
from PIL import Image
from small_bundle import small_bundle, varied_images
from thresholds import widest_gap

from envise_tf.export.classify import main
from envise_tf.export.runtime import Cascade
from envise_tf.export.shards import Shards

pytest.importorskip("apache_beam", reason="the extra [beam] is not installed")
pytestmark = pytest.mark.slow

IMAGES = varied_images(24)
IN_THIS_PROCESS = "--runner=apache_beam.runners.portability.fn_api_runner.FnApiRunner"

_KILLED = """
import os, signal, sys
from envise_tf.export import classify
from envise_tf.export.shards import Shards
written, wanted, number = Shards.written, int(sys.argv[1]), int(sys.argv[2])
def struck(self):
    found = written(self)
    if len(found) >= wanted:
        os.kill(os.getpid(), number)
    return found
Shards.written = struck
signal.signal(signal.SIGINT, signal.default_int_handler)
classify.main(sys.argv[3:])
"""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """A bundle whose student answers about half of IMAGES."""
    folder = tmp_path_factory.mktemp("bundles")
    scores = Cascade.load(small_bundle(folder / "open")).classify_batch(IMAGES).score
    return small_bundle(folder / "bundle", thresholds=[widest_gap(scores)] * 7)


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """A folder of 24 photographs and two files that are none."""
    folder = tmp_path_factory.mktemp("archive")
    for number, image in enumerate(IMAGES):
        Image.fromarray(image).save(folder / f"{number:02}.png")
    (folder / "empty.jpg").touch()
    (folder / "text.png").write_text("no image")
    return folder


@pytest.fixture(scope="module")
def answers(bundle, archive, tmp_path_factory):
    """The folder that two workers have written."""
    out = tmp_path_factory.mktemp("answers") / "answers.parquet"
    main(words(bundle, archive, out, "--workers", "2"))
    return out


def words(bundle, archive, out, *flags) -> list[str]:
    return [str(bundle), "--images", f"{archive}/*", "--out", str(out), "--shard", "4", *flags]


def content(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_one_worker_writes_the_files_that_two_write(bundle, archive, answers, tmp_path, capfd):
    main(words(bundle, archive, tmp_path / "one.parquet", "--workers", "1"))
    assert content(tmp_path / "one.parquet") == content(answers)
    assert len(content(answers)) == 7
    printed = capfd.readouterr()
    assert re.search(r"24 images: \d+ answered by the student, \d+ by the teacher; 2 files could not", printed.out)
    assert f"be read: {archive}/empty.jpg, {archive}/text.png; the column problem says why" in printed.out
    assert "WARNING" not in printed.err


def test_the_answers_are_those_of_the_plain_loop(bundle, archive, answers, tmp_path):
    main([str(bundle), str(archive), "--out", str(tmp_path / "out.csv")])
    with (tmp_path / "out.csv").open() as file:
        expected = {row["origin"]: row for row in csv.DictReader(file)}
    rows = {row["origin"]: row for row in pq.read_table(answers).to_pylist()}
    assert set(rows) - set(expected) == {f"{archive}/empty.jpg", f"{archive}/text.png"}
    for path, row in expected.items():
        assert (rows[path]["class"], rows[path]["problem"]) == (row["class"], None)
        assert str(rows[path]["by_student"]).lower() == row["by_student"]
        assert rows[path]["score"] == pytest.approx(float(row["score"]), rel=1e-6)
    assert {row["by_student"] for row in expected.values()} == {"true", "false"}
    assert rows[f"{archive}/text.png"] == {
        **{"origin": f"{archive}/text.png", "class": None, "by_student": None, "score": None},
        "problem": "of no known format",
    }


@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -9), (signal.SIGINT, 130)])
def test_after_a_kill_the_same_command_answers_the_rest(bundle, archive, answers, tmp_path, capsys, number, code):
    out = tmp_path / "answers.parquet"
    line = words(bundle, archive, out, "--workers", "2")
    stopped = subprocess.run(
        [sys.executable, "-c", _KILLED, "2", str(int(number)), *line], capture_output=True, text=True, check=False
    )
    assert stopped.returncode == code, stopped.stderr
    if number == signal.SIGINT:
        command = (
            f"python -m envise_tf.export.classify {bundle} --images '{archive}/*' --out {out} --shard 4 --workers 2"
        )
        assert stopped.stderr.splitlines()[-1] == f"interrupted; resume it with {command}"
    # What was written by then; a worker may have finished the file that it was at.
    kept = sorted(path for path in out.glob("part-*"))
    for path in kept[2:]:
        path.unlink()
    before = {path: path.stat().st_ino for path in kept[:2]}
    capsys.readouterr()
    main(line)
    assert re.search(r"\d of 26 images are answered already", capsys.readouterr().out)
    assert content(out) == content(answers)
    assert {path: path.stat().st_ino for path in before} == before, "a file was written again"


def test_a_finished_folder_is_only_counted(bundle, archive, answers, capsys, monkeypatch):
    monkeypatch.setattr(Shards, "write", None)
    main(words(bundle, archive, answers))
    assert "26 of 26 images are answered already" in capsys.readouterr().out


def test_a_worker_loads_one_cascade_for_all_its_files(bundle, archive, answers, tmp_path, monkeypatch):
    loaded = []
    load = Cascade.load.__func__
    monkeypatch.setattr(Cascade, "load", classmethod(lambda cls, *place: loaded.append(place) or load(cls, *place)))
    main(words(bundle, archive, tmp_path / "a.parquet", "--beam", IN_THIS_PROCESS))
    assert len(loaded) == 2, "the command's own, and the worker's"
    assert content(tmp_path / "a.parquet") == content(answers)


def test_the_built_in_student_has_answers_of_its_own(bundle, archive, answers, tmp_path, capsys):
    shutil.copytree(answers, tmp_path / "a.parquet")
    line = error_line(capsys, main, words(bundle, archive, tmp_path / "a.parquet", "--builtin"))
    assert "was not answered by student_builtin of bundle" in line


def test_a_worker_that_fails_is_told_in_one_line(bundle, archive, tmp_path, capsys, monkeypatch):
    def failing(*arguments):
        raise OSError("No space left on device")

    monkeypatch.setattr(Shards, "write", failing)
    line = error_line(capsys, main, words(bundle, archive, tmp_path / "a.parquet", "--beam", IN_THIS_PROCESS))
    assert line.startswith("error: the pipeline failed (")
    assert "No space left on device" in line
    assert "what is written stays, and the same command goes on from there" in line


def test_an_unknown_runner_is_told(bundle, archive, tmp_path, capsys):
    line = error_line(capsys, main, words(bundle, archive, tmp_path / "a.parquet", "--beam", "--runner=NoRunner"))
    assert line.startswith("error: Apache Beam cannot run with '--runner=NoRunner' (")
