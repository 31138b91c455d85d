"""A sweep as a user runs it: its files, going on after a kill, several workers, mistakes."""

import csv
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commands import error_line

from envise_tf.settings import TrainSettings, parsed
from envise_tf.tuning import runner
from envise_tf.tuning.__main__ import main

SMALL = [
    *("--preset", "digits", "--windows", "2", "--window", "64", "--batch_size", "32", "--classes", "pinned"),
    *("--widths", "[32]", "--blocks", "[1]", "--held_back", "64", "--faithful", "0.5"),
]
COMMAND = [sys.executable, "-m", "envise_tf.tuning", *SMALL]


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("space") / "two.yaml"
    file.write_text(
        "learning_rate: {least: 0.001, most: 0.01, scale: log}\nobjectives.attention_triplet.anchor: [student, teacher]"
    )
    return str(file)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, space: str) -> Path:
    sweep = tmp_path_factory.mktemp("sweep") / "sweep"
    main([*SMALL, "--trials", "3", "--space", space, "--out", str(sweep)])
    return sweep


def records(sweep: Path) -> dict[str, dict]:
    files = [file for file in (sweep / "trials").glob("*.json") if not file.name.startswith("unfinished")]
    return {file.stem: json.loads(file.read_text()) for file in files}


def error_of(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    return error_line(capsys, main, [*SMALL, *words])


def wait_for(happened, seconds=120):
    ends = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < ends
        time.sleep(0.05)


def test_a_sweep_leaves_table_report_and_best_settings(finished, capsys):
    assert set(records(finished)) == {"preset", "0", "1", "2"}
    with (finished / "sweep.csv").open() as file:
        rows = {row["trial"]: row for row in csv.DictReader(file)}
    assert set(rows) == set(records(finished))
    for name, record in records(finished).items():
        assert record["status"] == "completed"
        assert float(rows[name]["gie"]) == pytest.approx(record["figures"]["gie"])
        assert 0.001 <= float(rows[name]["learning_rate"]) <= 0.01
    assert "</html>" in (finished / "sweep.html").read_text()
    best = max((record for name, record in records(finished).items() if name != "preset"), key=gie_of)
    settings, _ = parsed(TrainSettings, "train", "", ["--config", str(finished / "best.yaml")])
    assert settings.learning_rate == best["values"]["learning_rate"]
    assert settings.objectives["attention_triplet"]["anchor"] == best["values"]["objectives.attention_triplet.anchor"]
    assert settings.out is None


def gie_of(record: dict) -> float:
    return record["figures"]["gie"]


def test_killed_and_resumed_a_sweep_repeats_no_trial_and_makes_the_same_choices(finished, space, tmp_path):
    sweep = tmp_path / "sweep"
    words = [*COMMAND, "--trials", "3", "--space", space, "--out", str(sweep)]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    wait_for(lambda: (sweep / "runs/1/settings.yaml").exists() or process.poll() is not None)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert set(records(sweep)) == {"preset", "0"}, "the kill came at another time than wanted"
    before = {name: (sweep / f"trials/{name}.json").stat().st_mtime_ns for name in ("preset", "0")}
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    assert before == {name: (sweep / f"trials/{name}.json").stat().st_mtime_ns for name in before}
    for name, record in records(finished).items():
        again = records(sweep)[name]
        for key in ("status", "values", "figures", "curve"):
            assert again[key] == record[key]


def test_more_trials_may_be_asked_for_later(finished, space, capsys):
    before = set(records(finished))
    main([*SMALL, "--trials", "4", "--space", space, "--out", str(finished)])
    assert set(records(finished)) - before == {"3"}
    assert "another --out" in error_of(capsys, "--windows", "5", "--space", space, "--out", str(finished))


def test_hyperband_goes_on_with_the_best_students_of_a_rung(tmp_path, space):
    words = [
        "--windows",
        "3",
        "--tuner",
        "hyperband",
        "--trials",
        "5",
        "--space",
        space,
        "--out",
        str(tmp_path / "sweep"),
    ]
    main([*SMALL, *words])
    rungs = {name: record for name, record in records(tmp_path / "sweep").items() if name != "preset"}
    assert len(rungs) == 5
    short = {name: record for name, record in rungs.items() if len(record["curve"]) == 1}
    long = {name: record for name, record in rungs.items() if len(record["curve"]) == 3}
    assert len(short) == 3
    assert len(long) == 2
    first = long[min(long)]
    earlier = next(record for record in short.values() if record["run"] == first["run"])
    assert gie_of(earlier) == max(gie_of(record) for record in short.values())
    assert first["curve"][:1] == earlier["curve"]


def test_a_bug_ends_the_sweep_with_its_traceback(tmp_path, space, monkeypatch):
    def figures(*_):
        raise ZeroDivisionError("a bug")

    main([*SMALL, "--trials", "1", "--space", space, "--out", str(tmp_path / "sweep")])
    monkeypatch.setattr(runner, "objective_figures", figures)
    with pytest.raises(ZeroDivisionError):
        main([*SMALL, "--trials", "2", "--space", space, "--out", str(tmp_path / "sweep")])
    assert set(records(tmp_path / "sweep")) == {"preset", "0"}


def test_three_failures_in_a_row_end_the_sweep_with_the_reason(tmp_path, capsys):
    space = tmp_path / "wild.yaml"
    space.write_text("learning_rate: {least: 1.0e+30, most: 1.0e+31}")
    words = ["--trials", "9", "--warmup", "0", "--space", str(space), "--out", str(tmp_path / "sweep")]
    assert "three trials in a row failed, the last because the loss became" in error_of(capsys, *words)
    assert [record["status"] for record in records(tmp_path / "sweep").values()].count("failed") == 3


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


def test_a_chief_gives_the_trial_of_a_killed_worker_to_another(tmp_path, space):
    sweep = tmp_path / "sweep"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [*COMMAND, "--trials", "4", "--space", space, "--lost_after", "4", "--out", str(sweep)]

    def started(name: str) -> subprocess.Popen:
        oracle = {"KERASTUNER_ORACLE_IP": "127.0.0.1", "KERASTUNER_ORACLE_PORT": str(port)}
        environment = os.environ | oracle | {"KERASTUNER_TUNER_ID": name}
        return subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True)

    processes = {name: started(name) for name in ("chief", "tuner0", "tuner1")}
    try:
        wait_for(lambda: any(owner_of_ongoing(sweep).values()))
        lost = next(name for name in owner_of_ongoing(sweep) if name != "chief")
        trial = owner_of_ongoing(sweep)[lost]
        processes[lost].send_signal(signal.SIGKILL)
        told, _ = processes["chief"].communicate(timeout=240)
    finally:
        for process in processes.values():
            process.kill()
    assert processes["chief"].returncode == 0
    assert f"worker {lost} is lost: trial {trial} is given out again" in told
    done = records(sweep)
    assert set(done) - {"preset"} == {"0", "1", "2", "3"}
    assert done[trial]["worker"] != lost
    assert "</html>" in (sweep / "sweep.html").read_text()


def owner_of_ongoing(sweep: Path) -> dict[str, str]:
    """Returns the trial that each worker runs, by the chief's state on disk."""
    state = sweep / "keras_tuner" / "oracle.json"
    try:
        return json.loads(state.read_text())["ongoing_trials"]
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
