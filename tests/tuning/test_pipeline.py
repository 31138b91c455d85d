"""A sweep as a user runs it: its files, going on after a kill, several workers, mistakes."""

import csv
import json
import shutil
import signal
import socket
from pathlib import Path

import pytest
from commands import COMMAND, Python, error_line, signalled_at

from envise_tf.distillation.training import DivergenceError
from envise_tf.settings import TrainSettings, parsed
from envise_tf.tuning import runner
from envise_tf.tuning.__main__ import main

pytestmark = pytest.mark.slow

SMALL = [
    *("--preset", "digits", "--windows", "2", "--window", "64", "--batch_size", "32", "--classes", "pinned"),
    *("--widths", "[32]", "--blocks", "[1]", "--held_back", "64", "--faithful", "0.5"),
    *("--objectives", '{"soft_label": {"weight": 1.0}}'),  # traced faster
]


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("space") / "two.yaml"
    file.write_text(
        "learning_rate: {least: 0.001, most: 0.01, scale: log}\nobjectives.soft_label.temperature: [1.0, 2.0]"
    )
    return str(file)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, space: str) -> Path:
    sweep = tmp_path_factory.mktemp("sweep") / "sweep"
    main([*SMALL, "--trials", "2", "--space", space, "--out", str(sweep)])
    return sweep


def records(sweep: Path) -> dict[str, dict]:
    files = [file for file in (sweep / "trials").glob("*.json") if not file.name.startswith("unfinished")]
    return {file.stem: json.loads(file.read_text()) for file in files}


def written(sweep: Path) -> dict[str, int]:
    """Returns when the record of each trial was written, in nanoseconds."""
    return {name: (sweep / f"trials/{name}.json").stat().st_mtime_ns for name in records(sweep)}


def error_of(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    return error_line(capsys, main, [*SMALL, *words])


def test_a_sweep_leaves_table_report_and_best_settings(finished, capsys):
    assert set(records(finished)) == {"preset", "0", "1"}
    with (finished / "sweep.csv").open() as file:
        rows = {row["trial"]: row for row in csv.DictReader(file)}
    assert set(rows) == set(records(finished))
    for name, record in records(finished).items():
        assert record["status"] == "completed"
        assert float(rows[name]["gie"]) == pytest.approx(record["figures"]["gie"])
        assert 0.001 <= float(rows[name]["learning_rate"]) <= 0.01
    assert "</html>" in (finished / "sweep.html").read_text()
    # The first of equals, which students so small are.
    best = max((records(finished)[name] for name in ("0", "1")), key=gie_of)
    settings, _ = parsed(TrainSettings, "train", "", ["--config", str(finished / "best.yaml")])
    assert settings.learning_rate == best["values"]["learning_rate"]
    assert settings.objectives["soft_label"]["temperature"] == best["values"]["objectives.soft_label.temperature"]
    assert settings.out is None


def gie_of(record: dict) -> float:
    return record["figures"]["gie"]


def test_killed_and_resumed_a_sweep_repeats_no_trial_and_makes_the_same_choices(finished, space, tmp_path):
    sweep = tmp_path / "sweep"
    words = [*SMALL, "--trials", "1", "--space", space, "--out", str(sweep)]
    # The third window is the first of trial 0, after two of the preset.
    killed = signalled_at(3, "envise_tf.run:Run.write_log", "envise_tf.tuning.__main__", words)
    assert killed.wait() == -signal.SIGKILL, killed.stderr
    before = written(sweep)
    assert set(before) == {"preset"}
    main(words)
    assert set(written(sweep)) == {"preset", "0"}
    assert written(sweep)["preset"] == before["preset"]
    for name, record in records(sweep).items():
        for key in ("status", "values", "figures", "curve"):
            assert record[key] == records(finished)[name][key]


def test_more_trials_may_be_asked_for_later(finished, space, capsys, tmp_path):
    sweep = Path(shutil.copytree(finished, tmp_path / "sweep"))
    before = written(sweep)
    main([*SMALL, "--trials", "3", "--space", space, "--out", str(sweep)])
    assert set(records(sweep)) - set(before) == {"2"}
    assert {name: written(sweep)[name] for name in before} == before
    assert "another --out" in error_of(capsys, "--windows", "5", "--space", space, "--out", str(finished))


def test_hyperband_goes_on_with_the_best_students_of_a_rung(tmp_path, space):
    words = ["--windows", "3", "--tuner", "hyperband", "--trials", "4", "--space", space]
    main([*SMALL, *words, "--out", str(tmp_path / "sweep")])
    rungs = {name: record for name, record in records(tmp_path / "sweep").items() if name != "preset"}
    assert len(rungs) == 4
    short = {name: record for name, record in rungs.items() if len(record["curve"]) == 1}
    assert len(short) == 3
    (long,) = (record for record in rungs.values() if len(record["curve"]) == 3)
    earlier = next(record for record in short.values() if record["run"] == long["run"])
    assert gie_of(earlier) == max(gie_of(record) for record in short.values())
    assert long["curve"][:1] == earlier["curve"]


def test_a_bug_ends_the_sweep_with_its_traceback(finished, tmp_path, space, monkeypatch):
    def distil(*_):
        raise ZeroDivisionError("a bug")

    sweep = Path(shutil.copytree(finished, tmp_path / "sweep"))
    monkeypatch.setattr(runner, "distil", distil)
    with pytest.raises(ZeroDivisionError):
        main([*SMALL, "--trials", "3", "--space", space, "--out", str(sweep)])
    assert set(records(sweep)) == set(records(finished))


def test_three_failures_in_a_row_end_the_sweep_with_the_reason(finished, tmp_path, space, capsys, monkeypatch):
    def distil(*_):
        raise DivergenceError("the loss became nan")

    sweep = Path(shutil.copytree(finished, tmp_path / "sweep"))
    monkeypatch.setattr(runner, "distil", distil)
    words = ["--trials", "9", "--space", space, "--out", str(sweep)]
    assert "three trials in a row failed, the last because the loss became nan" in error_of(capsys, *words)
    assert [record["status"] for record in records(sweep).values()].count("failed") == 3


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--trials", "0"], "--trials 0"),
        (["--faithful", "95"], "--faithful 95"),
        (["--objective", "accuracy"], "objective"),
        (["--strategy", "multi_worker"], "share trials, not batches"),
        (["--space", "ful"], "nearest: full"),
        (["--space", "full", "--student_init", "generic"], "student_init"),
        (["--resume", "nowhere"], "--resume takes"),
    ],
)
def test_mistakes_are_told_before_the_first_trial(words, named, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert named in error_of(capsys, *words)
    assert not list(tmp_path.iterdir())


def test_a_folder_without_a_sweep_cannot_be_resumed(capsys, tmp_path):
    with pytest.raises(SystemExit):
        main(["--resume", str(tmp_path)])
    assert "holds no run to resume" in capsys.readouterr().err


# A chief whose clock stands still, but for an hour at every look while a file says so. So a worker that is lost counts
# as lost at once, and one that lives never does, however long a busy machine keeps it from giving a sign.
CHIEF = """
import pathlib, sys, types
from envise_tf.tuning import __main__ as command, pipeline, workers
runs, *words = sys.argv[1:]
now = 0
def monotonic():
    global now
    now += 3600 * pathlib.Path(runs).exists()
    return now
workers.time = types.SimpleNamespace(monotonic=monotonic)
pipeline._LOOK = 0.1
command.main(words)
"""


def test_a_chief_gives_the_trial_of_a_killed_worker_to_another(tmp_path, space):
    sweep, clock_runs = tmp_path / "sweep", tmp_path / "clock runs"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [*SMALL, "--windows", "1", "--trials", "1", "--space", space, "--out", str(sweep)]
    oracle = {"KERASTUNER_ORACLE_IP": "127.0.0.1", "KERASTUNER_ORACLE_PORT": str(port)}
    command = "envise_tf.tuning.__main__"
    chief = Python(CHIEF, str(clock_runs), *words, KERASTUNER_TUNER_ID="chief", **oracle)
    chief.wait_until((sweep / "settings.yaml").exists)
    # The second window is that of trial 0, after the one of the preset.
    lost = signalled_at(2, "envise_tf.run:Run.write_log", command, words, KERASTUNER_TUNER_ID="tuner0", **oracle)
    assert lost.wait() == -signal.SIGKILL, lost.stderr
    clock_runs.touch()
    chief.wait_until(lambda: "worker tuner0 is lost: trial 0 is given out again" in chief.stdout)
    clock_runs.unlink()
    other = Python(COMMAND, command, *words, KERASTUNER_TUNER_ID="tuner1", **oracle)
    assert other.wait() == 0, other.stderr
    assert chief.wait() == 0, chief.stderr
    done = records(sweep)
    assert {name: record["worker"] for name, record in done.items()} == {"preset": "tuner0", "0": "tuner1"}
    assert "</html>" in (sweep / "sweep.html").read_text()
