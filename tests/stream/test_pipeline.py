"""The command stream: what it writes, what survives a kill, and what it says to mistakes."""

import csv
import dataclasses
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from commands import Python, error_line
from PIL import Image
from videos import video

from envise_tf.images.digits import Digits
from envise_tf.run import Run
from envise_tf.settings import StreamSettings, parsed
from envise_tf.stream.__main__ import main
from envise_tf.stream.pipeline import adapt_plan, begun_lifecycle, found_sight
from envise_tf.stream.record import read_record
from envise_tf.stream.store import write_tree

pytestmark = pytest.mark.slow

PHASES = """
phases:
  - {prior: {zero: 1, one: 1, two: 1}, images: 360}
  - {prior: {five: 1, six: 1, seven: 1}, images: 240, change: 60}
"""
FAST = {
    "widths": "[32]",
    "blocks": "[1]",
    "steps": 1,
    "find": 96,
    "recheck": 64,
    "window": 64,
    "patience": 1,
    "floor": 0.0,
    "longest": 192,
    "rule": "risk",
    "epsilon": 0.95,  # any student keeps it
    "checkpoint": 128,
    "memory": 1,
    "objectives": '{"soft_label": {"weight": 1.0}}',  # traced faster
}


def words(**settings: object) -> list[str]:
    return [word for name, value in {**FAST, **settings}.items() for word in (f"--{name}", str(value))]


@pytest.fixture(scope="module")
def simulated(tmp_path_factory) -> list[str]:
    path = tmp_path_factory.mktemp("phases") / "two.yaml"
    path.write_text(PHASES)
    return words(source="digits", protocol="shared", phases=path)


@pytest.fixture(scope="module")
def finished(simulated, tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("stream") / "run"
    main([*simulated, "--out", str(run)])
    return run


@pytest.fixture(scope="module")
def photographs(tmp_path_factory) -> Path:
    """Digits as files, one of them no image, named against the order of their times."""
    folder = tmp_path_factory.mktemp("photographs")
    examples = Digits().examples("test").take(150)
    for i, example in enumerate(examples):
        path = folder / f"{999 - i}.png"
        Image.fromarray(example["image"].numpy()).save(path)
        if i == 70:
            path.write_bytes(b"no image")
        os.utime(path, (1_700_000_000 + i,) * 2)
    return folder


def test_every_image_is_answered_once_and_in_order(finished):
    record = read_record(finished)
    np.testing.assert_array_equal(record.image, np.arange(600))
    np.testing.assert_array_equal(record.phase, np.repeat([0, 1], [360, 240]))
    adapting = ~record.is_serving
    assert not record.by_student[adapting].any()
    assert adapting[:192].all()
    assert (~adapting).any()
    # Where the teacher was asked its class is the answer, and in a simulated stream it is known everywhere.
    assert (record.teacher >= 0).all()
    np.testing.assert_array_equal(record.label[record.asked], record.teacher[record.asked])
    np.testing.assert_array_equal(record.asked, ~record.by_student)


def test_the_result_counts_what_the_record_holds(finished):
    result, record = json.loads((finished / "result.json").read_text()), read_record(finished)
    assert result["images"] == 600
    assert [phase["start"] for phase in result["phases"]] == [0, 360]
    assert result["total"]["answered"] == 600
    assert result["total"]["accuracy"] == pytest.approx((record.label == record.truth).mean())
    assert result["total"]["accuracy_teacher"] == pytest.approx((record.teacher == record.truth).mean())
    assert result["total"]["accuracy_raw_teacher"] == pytest.approx((record.raw == record.truth).mean())
    assert result["settings"]["find"] == 96
    assert (finished / "stream_report.html").stat().st_size > 20_000


def test_both_teachers_are_recorded_for_every_image_of_a_simulated_stream(simulated, finished):
    sight, record = (
        found_sight(parsed(StreamSettings, "stream", "", simulated)[0], Run(finished)),
        read_record(finished),
    )
    images = np.concatenate([batch.images for batch in sight.frames.batches(0, 100)])
    np.testing.assert_array_equal(record.raw, sight.teacher(images).argmax(axis=-1))
    assert (record.teacher != record.raw).any()
    np.testing.assert_array_equal(record.label[~record.by_student], record.teacher[~record.by_student])


DYING = """
import os, sys
from envise_tf.stream import __main__ as command, record

def write(log, batch, *rest, whole=record.Log.write):
    whole(log, batch, *rest)
    if batch.numbers[-1] >= 300:  # behind the checkpoint at 256, and before the next one
        log._answers.write("99")  # within a row
        log._answers.flush()
        os._exit(9)

record.Log.write = write
command.main(sys.argv[1:])
"""


def test_a_run_that_is_killed_answers_every_image_once_and_as_if_nothing_had_happened(finished, simulated, tmp_path):
    run = tmp_path / "run"
    process = Python(DYING, *simulated, "--out", str(run))
    assert process.wait() == 9, process.stderr
    given = (run / "answers.csv").read_text()
    assert given.endswith("\n99")
    assert (run / "state.npz").exists()
    main(["--resume", str(run)])
    assert not any((each / "state.npz").exists() for each in (run, finished)), "it holds images"
    assert (run / "answers.csv").read_text().startswith(given.removesuffix("99"))
    for name in ("answers.csv", "work.csv", "events.jsonl"):
        assert (run / name).read_text() == (finished / name).read_text()


@pytest.mark.parametrize("state", ["state.pkl", "state.npz"])
def test_a_run_of_an_earlier_version_is_told_what_changed(finished, tmp_path, capsys, state):
    for name in ("settings.yaml", "answers.csv", "work.csv", "events.jsonl"):
        shutil.copy(finished / name, tmp_path)
    write_tree(tmp_path / "tree.npz", {"lifecycle": {}, "next": 128})
    (tmp_path / "tree.npz").rename(tmp_path / state)
    line = error_line(capsys, main, ["--resume", str(tmp_path)])
    assert f"{state} was written by an earlier version, which kept another state: start again" in line
    assert (tmp_path / "answers.csv").read_text() == (finished / "answers.csv").read_text()


def test_photographs_and_films_are_held_back_in_blocks_of_time_and_simulated_images_one_by_one(simulated, photographs):
    words_of = {"simulated": simulated, "photographs": words(images=photographs, image_size=32)}
    settings = {name: parsed(StreamSettings, "stream", "", given)[0] for name, given in words_of.items()}
    plans = {name: adapt_plan(one, found_sight(one, Run(Path("nowhere"))).frames) for name, one in settings.items()}
    assert plans["simulated"].block_of_time is None
    assert plans["photographs"].block_of_time == 64


def test_labelled_images_calibrate_the_teacher_and_come_with_what_it_says_of_each(simulated, tmp_path):
    for i, example in enumerate(Digits().examples("test").take(40)):
        folder = tmp_path / Digits.class_names[int(example["label"])]
        folder.mkdir(exist_ok=True)
        Image.fromarray(example["image"].numpy()).save(folder / f"{i}.png")
    settings = parsed(StreamSettings, "stream", "", [*simulated, "--calibrate", str(tmp_path)])[0]
    sight = found_sight(settings, Run(Path("nowhere")))
    labelled = sight.labelled
    assert labelled is not None
    assert sight.teacher.labelled is labelled.teacher_said
    images, labels = (np.concatenate([each[name] for each in labelled.batches]) for name in ("image", "label"))
    np.testing.assert_array_equal(labels, labelled.teacher_said.labels)
    np.testing.assert_allclose(sight.teacher(images), labelled.teacher_said.logits, atol=1e-4)
    # The threshold of another rule is none of theirs.
    for rule, expected in (("accuracy", labelled), ("risk", None)):
        asked = dataclasses.replace(settings, rule=rule, epsilon=0.05)
        assert begun_lifecycle(asked, sight).workshop.labelled is expected


def test_photographs_are_answered_in_the_order_of_their_times(photographs, tmp_path, capsys):
    run = tmp_path / "run"
    main([*words(), "--images", str(photographs), "--image_size", "32", "--out", str(run)])
    record = read_record(run)
    assert record.image.tolist() == [i for i in range(150) if i != 70]
    result = json.loads((run / "result.json").read_text())
    assert result["unreadable"] == 1
    assert result["total"]["accuracy"] is None
    assert (run / "stream_report.html").exists()
    rows = list(csv.DictReader((run / "answers.csv").open(encoding="utf-8")))
    assert [row["origin"] for row in rows] == [str(photographs / f"{999 - i}.png") for i in record.image]
    assert [row["class"] for row in rows] == [Digits.class_names[label] for label in record.label]
    said = " ".join(capsys.readouterr().out.split())
    assert "has 150 images, and a student serves after about 192 at the earliest" in said
    labels = [int(example["label"]) for example in Digits().examples("test").take(150)]
    truth = np.delete(labels, 70)
    assert (record.label == truth).mean() > 0.9
    capsys.readouterr()
    # Photographs that come later change nothing for a run that has begun.
    Image.new("RGB", (32, 32)).save(photographs / "late.png")
    (run / "result.json").unlink()
    main(["--resume", str(run)])
    assert read_record(run).image.tolist() == record.image.tolist()
    (photographs / "late.png").unlink()


def test_too_few_photographs_for_any_student_are_told_before_they_are_answered(photographs, tmp_path, capsys):
    given = words(images=photographs, image_size=32, rule="accuracy", epsilon=0.05, held_back=300)
    main([*given, "--out", str(tmp_path / "run")])
    said = " ".join(capsys.readouterr().out.split())
    assert "has 150 images, and a student serves after about 578 at the earliest, so the teacher will answer" in said
    assert "answered by the student │ 0" in said


def test_a_video_is_answered_frame_by_frame(tmp_path):
    images = np.stack([example["image"] for example in Digits().examples("test").take(40).as_numpy_iterator()])
    video(tmp_path / "digits.avi", images, "MJPG", rate=10)
    main([*words(video=tmp_path / "digits.avi", every=2), "--image_size", "32", "--out", str(tmp_path / "run")])
    assert read_record(tmp_path / "run").image.tolist() == list(range(20))
    rows = csv.DictReader((tmp_path / "run" / "answers.csv").open(encoding="utf-8"))
    assert [row["origin"] for row in rows][:3] == ["frame 0, 0.00 s", "frame 2, 0.20 s", "frame 4, 0.40 s"]


def test_other_policies_are_compared_in_the_same_report(tmp_path, simulated):
    (tmp_path / "short.yaml").write_text(PHASES.replace("360", "230").replace("240", "70"))
    run = tmp_path / "run"
    main([*simulated, "--phases", str(tmp_path / "short.yaml"), "--baselines", "true", "--out", str(run)])
    page = (run / "stream_report.html").read_text()
    for policy in ("never", "scheduled", "scratch"):
        assert policy in page
        assert json.loads((run / policy / "result.json").read_text())["settings"]["policy"] == policy
        assert len(read_record(run / policy).image) == 300


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({}, "nothing to watch given: expected one of --phases, --images and --video"),
        ({"images": "a", "video": "b"}, "--images and --video given: expected one of"),
        ({"phases": "digits-three"}, "--phases without --source"),
        ({"phases": "digits-there", "source": "digits"}, "nearest: digits-three"),
        ({"images": "{tmp}/nowhere", "image_size": 32}, "{tmp}/nowhere"),
        ({"images": "{tmp}", "image_size": 32}, "{tmp}"),
        ({"video": "{tmp}/none.mp4", "image_size": 32}, "none.mp4"),
        ({"phases": "digits-three", "source": "digits", "image_size": 64}, "64"),
        ({"phases": "digits-three", "source": "digits", "student_init": "generic"}, "no generic student of"),
        ({"adapt_by": "restriction"}, "--adapt_by restriction with --student_init scratch given: expected a generic"),
        ({"adapt_by": "restriction", "student_init": "generic"}, "no generic student of digits-disjoint is shipped"),
        ({"phases": "digits-three", "source": "digits", "polycy": "never"}, "polycy"),
        ({"phases": "digits-three", "source": "digits", "find": 0}, "--find 0 given: expected at least 1"),
        (
            {"phases": "digits-three", "source": "digits", "epsilon": 1.5},
            "--epsilon 1.5 given: expected more than 0 and less",
        ),
        (
            {"phases": "digits-three", "source": "digits", "held_back": 53},
            "--held_back 53 given: expected at least 566, 377 of them for the promise with --epsilon 0.01",
        ),
        ({"phases": "digits-three", "source": "digits", "false_alarms": 0}, "--false_alarms 0 given: expected more"),
        ({"phases": "digits-three", "source": "digits", "audit_least": 100}, "--audit_least 100 and --audit_most 64"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(flags, said, tmp_path, capsys):
    given = [word.format(tmp=tmp_path) for name, value in flags.items() for word in (f"--{name}", str(value))]
    with pytest.raises(SystemExit) as stop:
        main([*given, "--out", str(tmp_path / "out")])
    assert stop.value.code == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1
    assert said.format(tmp=tmp_path) in error[0]
    assert list(tmp_path.iterdir()) == []
