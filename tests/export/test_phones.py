"""Figures of a phone, as the Android library prints them, in a report."""

import hashlib
import json
import shutil

import numpy as np
import pytest
from android_bundle import FOLDER

from envise_tf.errors import UserError
from envise_tf.export.benchmark import BenchmarkSettings, main, merged
from envise_tf.export.bundle import load_bundle
from envise_tf.export.phones import phone_times

DEVICE = {
    "model": "Fairphone FP4",
    "android": "13 (API 33)",
    "abi": "arm64-v8a",
    "cores": "8",
    "library": "TensorFlow Lite",
    "runtime": "2.16.1",
    "date": "2026-01-31",
}


def row(what: str, rate: float | None, milliseconds: float, threads: int = 1) -> dict:
    times = np.full((2, 20), milliseconds)
    return {"what": what, "outlier_rate": rate, "threads": threads, "milliseconds": times.tolist()}


def figures(**others) -> dict:
    return {
        "bundle": "digits",
        "manifest_sha256": hashlib.sha256((FOLDER / "manifest.json").read_bytes()).hexdigest(),
        "device": DEVICE,
        "load_ms": {"teacher": 20.0, "student_builtin": 5.0},
        "times": [row("teacher", None, 10), row("student_builtin", None, 2), row("student_builtin", 0.1, 3.3)],
    } | others


@pytest.fixture
def phone(tmp_path):
    """Writes a phone's file and returns its path."""

    def written(**others) -> str:
        path = tmp_path / "phone.json"
        content = {name: value for name, value in figures(**others).items() if value is not ...}
        path.write_text(json.dumps(content))
        return str(path)

    return written


@pytest.fixture
def report(tmp_path):
    path = tmp_path / "benchmark.json"
    path.write_text(json.dumps({"bundle": "digits", "latency": [], "machine": {"cores": 2}}))
    return path


def settings(report) -> BenchmarkSettings:
    return BenchmarkSettings(str(FOLDER), str(report))


def test_a_phone_is_put_beside_what_the_report_holds(phone, report, capsys):
    main([str(FOLDER), "--out", str(report), "--merge", phone()])
    written = json.loads(report.read_text())
    assert written["machine"] == {"cores": 2}
    (found,) = written["phones"]
    assert found["device"] == DEVICE
    assert found["load_ms"] == {"teacher": 20.0, "student_builtin": 5.0}
    cascade = found["latency"][-1]
    assert (cascade["what"], cascade["outlier_rate"], cascade["threads"], cascade["rounds"]) == (
        "student_builtin",
        0.1,
        1,
        2,
    )
    assert cascade["of_teacher"] == pytest.approx(0.33)
    assert cascade["overhead"] == pytest.approx(3.3 / 3 - 1)
    assert cascade["flops_of_teacher"] == pytest.approx(1 / 3 + 0.1)
    printed = capsys.readouterr().out
    assert "Fairphone FP4, arm64-v8a, 8 cores" in printed
    assert "loading, once: teacher 20.0 ms, built-in 5.0 ms" in printed


def test_the_same_phone_again_takes_the_place_of_its_older_figures(phone, report):
    for device in (DEVICE, DEVICE | {"model": "Pixel"}, DEVICE | {"library": "LCE"}, DEVICE | {"date": "2026-02-01"}):
        merged(settings(report), phone(device=device))
    found = [phone["device"] for phone in json.loads(report.read_text())["phones"]]
    assert [(device["model"], device["library"], device["date"]) for device in found] == [
        ("Pixel", "TensorFlow Lite", "2026-01-31"),
        ("Fairphone FP4", "LCE", "2026-01-31"),
        ("Fairphone FP4", "TensorFlow Lite", "2026-02-01"),
    ]


def test_times_are_read_by_number_of_threads(phone):
    rows = [row("teacher", None, 10), row("teacher", None, 7, threads=2)]
    times, _ = phone_times(phone(times=rows), load_bundle(FOLDER))
    assert {threads: list(taken) for threads, taken in times.items()} == {
        1: [("teacher", None)],
        2: [("teacher", None)],
    }
    np.testing.assert_array_equal(times[2]["teacher", None], np.full((2, 20), 7.0))


WRONG = {
    r"breaks the schema at its top: 'times' is a required": {"times": ...},
    r"breaks the schema at device": {"device": {"model": "Pixel"}},
    r"breaks the schema at times\[0\].milliseconds\[0\]": {
        "times": [row("teacher", None, 10) | {"milliseconds": [[1.0] * 19]}]
    },
    r"0 is less than or equal to the minimum": {"times": [row("teacher", None, 0)]},
    r"breaks the schema at times\[0\].what": {"times": [row("teachers", None, 1)]},
    r"is of another bundle zoo": {"bundle": "zoo", "manifest_sha256": "0" * 64},
    r"has no times of teacher alone with 1 threads": {"times": [row("student_builtin", None, 2)]},
    r"has no times of student_builtin alone": {"times": [row("teacher", None, 2), row("student_builtin", 0.0, 2)]},
    r"has times of student, which": {"times": [row("teacher", None, 2), row("student", None, 2)]},
    r"is not JSON": {"load_ms": {"teacher": float("nan")}},
}


@pytest.mark.parametrize("message", WRONG)
def test_what_is_no_phones_file_is_told_and_the_report_stays(message, phone, report):
    path, before = phone(**WRONG[message]), report.read_text()
    with pytest.raises(UserError, match=message):
        merged(settings(report), path)
    assert report.read_text() == before


def test_a_missing_file_and_a_missing_or_other_report_are_told(phone, report, tmp_path):
    with pytest.raises(UserError, match=r"cannot read .*nowhere.json"):
        merged(settings(report), str(tmp_path / "nowhere.json"))
    with pytest.raises(UserError, match=r"is no report of a benchmark: .* measure without --merge first"):
        merged(settings(tmp_path / "nowhere.json"), phone())
    report.write_text(json.dumps({"bundle": "zoo"}))
    with pytest.raises(UserError, match=r"is the report of the bundle zoo, expected digits"):
        merged(settings(report), phone())
    damaged = shutil.copytree(FOLDER, tmp_path / "bundle")
    (damaged / "labels.txt").write_text("")
    with pytest.raises(UserError, match=r"labels.txt has 0 bytes"):
        merged(BenchmarkSettings(str(damaged), str(report)), phone())
