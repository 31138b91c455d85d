import json
import re
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from small_bundle import changed, python, small_bundle, varied_images
from thresholds import widest_gap

from envise_tf.errors import UserError
from envise_tf.export.benchmark import (
    MIX,
    OUTLIER_RATES,
    BenchmarkSettings,
    Contender,
    adb_commands,
    benchmark,
    file_sizes,
    latency_rows,
    main,
    mean_time,
    milliseconds,
    mixed_rows,
)
from envise_tf.export.bundle import file_entry, load_bundle
from envise_tf.export.coldstart import peak_bytes
from envise_tf.export.golden import golden_arrays
from envise_tf.export.runtime import Cascade

pytestmark = pytest.mark.slow

IMAGES = varied_images(12)


def bundle_with(folder: Path, images: np.ndarray, **thresholds) -> Path:
    """A bundle whose golden images are these."""
    small_bundle(folder, **thresholds)
    np.savez(folder / "golden.npz", images=images)
    entry = file_entry(folder / "golden.npz")
    changed(folder, lambda manifest: manifest["golden"].update(entry, images=max(len(images), 1)))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The binary student answers seven of the twelve images, the built-in one all."""
    where = tmp_path_factory.mktemp("bundles")
    scores = Cascade.load(small_bundle(where / "open")).classify_batch(IMAGES).score
    return bundle_with(where / "bundle", IMAGES, thresholds=[widest_gap(scores)] * 7)


@pytest.fixture(scope="module")
def result(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "benchmark.json"
    found = benchmark(BenchmarkSettings(str(folder), str(out), threads=(1, 2), rounds=2))
    assert json.loads(out.read_text()) == json.loads(json.dumps(found))
    assert [path.name for path in out.parent.iterdir()] == ["benchmark.json"]
    return found


@pytest.mark.parametrize(("rate", "deferred"), [(0.0, 0), (0.05, 1), (0.1, 2), (0.2, 4)])
def test_a_mix_defers_exactly_its_share_and_uses_every_image(rate, deferred):
    answered = np.arange(12) % 3 > 0
    rows = mixed_rows(answered, rate)
    assert len(rows) == MIX == 20
    assert (~answered[rows]).sum() == deferred
    assert set(rows[answered[rows]]) == set(np.flatnonzero(answered))
    places = np.flatnonzero(~answered[rows])
    assert len(set(np.diff(places))) <= 1  # evenly spread


def test_a_mix_that_no_image_can_make_is_none():
    assert mixed_rows(np.zeros(4, bool), 0.0) is None
    assert mixed_rows(np.ones(4, bool), 0.05) is None
    np.testing.assert_array_equal(mixed_rows(np.ones(4, bool), 0.0), np.arange(20) % 4)


def test_the_mean_time_forgets_a_disturbed_round_but_no_deferred_image():
    assert mean_time(np.array([[1.0, 3.0], [90.0, 10.0], [2.0, 2.0]])) == 2.5  # the mean of 2 and 3
    deferred = np.full((3, MIX), 1.0)
    deferred[:, 0] = 21.0
    assert mean_time(deferred) == 2.0


def test_every_contender_sees_its_images_in_every_round():
    seen: dict[str, list[int]] = {"a": [], "b": []}
    images = np.arange(MIX)
    contenders = [
        Contender("teacher", None, seen["a"].append, images),
        Contender("student", None, seen["b"].append, images[::-1]),
    ]
    times = milliseconds(contenders, range(3))
    warm_up = MIX // 4
    assert seen["a"] == [*range(warm_up), *([*range(MIX)] * 3)]
    assert seen["b"][warm_up:] == [*range(MIX)][::-1] * 3
    assert [taken.shape for taken in times] == [(3, MIX), (3, MIX)]
    assert all((taken >= 0).all() for taken in times)


def test_rows_by_hand(folder):
    """Teacher 10 ms, student 2 ms, the cascade at 10 % outliers 2 + 1 ms and 0.3 ms of its own."""
    times = {
        ("teacher", None): np.full((3, MIX), 10.0),
        ("student", None): np.full((3, MIX), 2.0),
        ("student_builtin", None): np.full((3, MIX), 5.0),
        ("student", 0.1): np.full((3, MIX), 2.3),
        ("student_builtin", 0.1): np.full((3, MIX), 6.6),
    }
    times["student", 0.1][:, [0, 10]] = 12.3
    rows = {(row["what"], row["outlier_rate"]): row for row in latency_rows(times, 2, load_bundle(folder))}
    assert list(rows) == list(times)
    cascade = rows["student", 0.1]
    assert cascade["threads"] == 2
    assert cascade["rounds"] == 3
    assert cascade["mean_ms"] == pytest.approx(3.3)
    assert cascade["median_ms"] == pytest.approx(2.3)
    assert cascade["p95_ms"] == pytest.approx(12.3)
    assert cascade["of_teacher"] == pytest.approx(0.33)
    assert cascade["of_builtin"] == pytest.approx(3.3 / 6.6)
    assert cascade["overhead"] == pytest.approx(3.3 / 3.0 - 1)
    assert cascade["flops_of_teacher"] == pytest.approx(1.1)  # student and teacher have the same FLOPs in this bundle
    assert rows["student", None]["of_builtin"] == pytest.approx(0.4)
    assert rows["student", None]["overhead"] is None
    assert rows["teacher", None]["of_teacher"] == 1.0
    assert rows["student_builtin", 0.1]["of_builtin"] is None


def test_sizes_are_those_on_the_disk_and_add_up(folder):
    rows = {row["what"]: row for row in file_sizes(load_bundle(folder), ["student", "student_builtin"])}
    for which in ("student", "student_builtin", "teacher"):
        assert rows[which]["bytes"] == (folder / f"{which}.tflite").stat().st_size
    assert rows["cascade of student"]["bytes"] == rows["student"]["bytes"] + rows["teacher"]["bytes"]
    for row in rows.values():
        assert row["of_teacher"] == row["bytes"] / rows["teacher"]["bytes"]


def test_everything_is_measured_for_each_number_of_threads(result):
    found = [(row["threads"], row["what"], row["outlier_rate"]) for row in result["latency"]]
    networks = [(which, None) for which in ("teacher", "student", "student_builtin")]
    cascades = [("student", rate) for rate in OUTLIER_RATES] + [("student_builtin", 0.0)]  # that one defers nothing
    assert found == [(threads, *one) for threads in (1, 2) for one in (*networks, *cascades)]
    for row in result["latency"]:
        assert row["rounds"] == 2
        assert 0 < row["median_ms"] <= row["p95_ms"]
    assert result["mixes"] == {
        "student": {"answered": 7, "deferred": 5},
        "student_builtin": {"answered": 12, "deferred": 0},
    }


def test_both_kernels_answer_alike(result):
    assert result["kernels"]["images_equal"] == result["kernels"]["images"] == 12
    assert result["kernels"]["indirect_over_default"] > 0


def test_a_cold_start_grows_step_by_step(result):
    starts = {start["what"]: start for start in result["cold_start"]}
    assert list(starts) == ["teacher", "student", "student_builtin"]
    assert "deferred_ms" in starts["student"]
    assert "deferred_ms" not in starts["teacher"]
    assert "deferred_ms" not in starts["student_builtin"]
    for start in starts.values():
        peaks = [value for name, value in start.items() if name.endswith("_bytes")]
        assert peaks == sorted(peaks)
        assert all(value > 0 for value in start.values() if not isinstance(value, str))


def test_the_machine_and_the_runtimes_are_named(result):
    assert {"larq-compute-engine", "numpy"} < set(result["libraries"])
    assert result["machine"]["architecture"]
    assert result["machine"]["cores_usable"] >= 1


def test_warnings_say_what_the_figures_do_not_mean(result):
    said = "\n".join(result["warnings"])
    is_arm = result["machine"]["architecture"].lower() in ("aarch64", "arm64")
    assert ("say nothing of a phone" in said) != is_arm
    assert "no golden image is deferred by the cascade of student_builtin" in said
    assert "computed in float" in said


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells")
def test_the_peak_is_that_of_the_process_and_not_of_its_parent():
    """What `ru_maxrss` says of a child of a large process is the parent's peak."""
    ballast = np.ones(40_000_000)
    code = "from envise_tf.export.coldstart import peak_bytes; print(peak_bytes())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 5e6 < int(done.stdout) < ballast.nbytes < peak_bytes()
    assert peak_bytes() == pytest.approx(1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, rel=0.2)


def test_the_commands_for_a_phone_name_every_file_and_option(folder):
    commands = adb_commands(load_bundle(folder), (1, 2))
    pushed = [command.split()[2] for command in commands if command.startswith("adb push")]
    networks = [str(folder / f"{which}.tflite") for which in ("student", "student_builtin", "teacher")]
    assert pushed == [*networks, "benchmark_model", "lce_benchmark_model"]
    runs = [command for command in commands if "--graph" in command]
    assert len(runs) == 2 * (2 + 2 + 2)  # threads, and two options for each network
    for run in runs:
        is_binary = "/student.tflite" in run
        assert ("/lce_benchmark_model " in run) == is_binary
        assert ("--use_indirect_bgemm=" in run) == is_binary
        assert re.search(r"--graph=/data/local/tmp/\w+\.tflite --num_threads=[12] ", run)


def test_a_bundle_without_the_binary_student(tmp_path, folder, capsys):
    bundle = bundle_with(tmp_path / "twin", IMAGES)
    (bundle / "student.tflite").unlink()
    changed(bundle, lambda manifest: manifest.pop("student"))
    out = tmp_path / "b.json"
    main([str(bundle), "--out", str(out), "--threads", "[1]", "--rounds", "1"])
    found = json.loads(out.read_text())
    assert found["kernels"] is None
    assert {row["what"] for row in found["latency"]} == {"teacher", "student_builtin"}
    printed = capsys.readouterr().out
    assert "lce_benchmark_model" not in printed
    assert f"written: {out}" in printed


def test_the_command_shows_ratios_machine_overhead_and_commands(folder, tmp_path, capsys):
    out = tmp_path / "b.json"
    main([str(folder), "--out", str(out), "--threads", "[1]", "--rounds", "1", "--builtin", "true"])
    printed = capsys.readouterr().out
    for part in ("/ teacher", "cold start", "machine: ", "runtimes: ", "overhead of the runtime", "adb push"):
        assert part in printed
    assert {row["what"] for row in json.loads(out.read_text())["latency"]} == {"teacher", "student_builtin"}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"threads": (0,)}, "--threads [0] given: expected at least 1"),
        ({"threads": ()}, "--threads [] given: expected at least one number"),
        ({"rounds": 0}, "--rounds 0 given: expected at least 1"),
        ({"out": "/nowhere/at/all.json"}, "cannot write /nowhere/at/all.json: expected a file in a folder that exists"),
        ({"out": "/"}, "cannot write /: expected a file in a folder that exists"),
        ({"bundle": "/nowhere"}, "there is no bundle /nowhere"),
    ],
)
def test_mistakes_are_told_before_the_long_work(folder, tmp_path, options, told):
    settings = {"bundle": str(folder), "out": str(tmp_path / "b.json"), **options}
    with pytest.raises(UserError, match=re.escape(told)):
        benchmark(BenchmarkSettings(**settings))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("images", [np.zeros((0, 32, 32, 3), np.uint8), np.zeros((2, 16, 16, 3), np.uint8)])
def test_golden_images_of_another_shape_are_an_error(tmp_path, images):
    bundle = load_bundle(bundle_with(tmp_path / "bundle", images))
    with pytest.raises(UserError, match=re.escape(f"holds images of uint8 with shape {images.shape}: expected uint8")):
        golden_arrays(bundle)


def test_a_golden_file_that_is_none_is_an_error(tmp_path):
    folder = bundle_with(tmp_path / "bundle", IMAGES)
    content = (folder / "golden.npz").read_bytes()
    for damaged in (b"no arrays", content[: len(content) // 2], content[:200] + b"\0" * (len(content) - 200)):
        (folder / "golden.npz").write_bytes(damaged)
        changed(folder, lambda manifest: manifest["golden"].update(file_entry(folder / "golden.npz")))
        with pytest.raises(UserError, match=r"golden\.npz is no golden file"):
            golden_arrays(load_bundle(folder))


def test_neither_tensorflow_nor_larq_is_imported():
    done = python(
        "-c",
        "import sys, envise_tf.export.benchmark, envise_tf.export.coldstart\n"
        "print([name for name in ('tensorflow', 'larq', 'larq_compute_engine', 'tf_keras') if name in sys.modules])",
    )
    assert done.stdout.strip() == "[]", done.stderr
