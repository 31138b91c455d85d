"""python -m envise_tf.export.benchmark BUNDLE: what a bundle costs on this machine, against its teacher alone.

Everything is measured in one run and told as ratios: to the teacher alone, and to the cascade of the built-in student.
Milliseconds stand beside them, but belong to one machine on one day.

- Warm latency. Networks and cascades take turns, round by round, on the same number of images, one image at a time. A
  cascade's images are a mix of golden images that it answers and that it defers. An outlier rate of 5 % is made by
  deferring 5 % of the mix: every outlier deferred, every inlier answered. A real detector does neither, so the
  latency to expect on a stream is that at its deferral rate, which the manifest states. Times do not depend on what an
  image shows, only on who answers it.
- A ratio is that of mean times: for each image of the mix the median over the rounds, so that other work on the machine
  counts little, then the mean over the images, so that deferred ones count by their share.
- Overhead. The cascade in Python over the interpreter calls that it makes: r = C / (S + d T) - 1, with C, S, T the mean
  times of cascade, student and teacher, d the share deferred. At d = 0 it is the runtime's own; beyond, it also holds
  that a network called seldom finds the processor's caches cold.
- Cold start and peak memory: `envise_tf.export.coldstart`, a fresh process each.

Larq Compute Engine (LCE) is optimised for 64-bit Arm alone. On other machines the student's figures say nothing of a
phone; the commands that measure there are printed. Needs neither TensorFlow nor Larq's Python packages.

    python -m envise_tf.export.benchmark BUNDLE --merge phone.json

measures nothing: it puts what a phone has measured (`envise_tf.export.phones`) into a report that is there already.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from rich import box
from rich.console import Console
from rich.progress import track
from rich.table import Table

from envise_tf.errors import UserError, reports_user_errors
from envise_tf.export.bundle import Bundle, File, Student, load_bundle
from envise_tf.export.golden import golden_arrays
from envise_tf.export.phones import phone_times
from envise_tf.export.runtime import Cascade, LceNetwork, Network, network_of
from envise_tf.files import require_writable, whole
from envise_tf.settings import Checked, Count, FilePath, parsed

ABOUT = "Measure a bundle on this machine: cold start, latency, memory and size, against its teacher alone."

OUTLIER_RATES = (0.0, 0.05, 0.1, 0.2)
MIX = 20
"""Images a round: the smallest number that every outlier rate divides."""

_STUDENTS: tuple[Student, ...] = ("student", "student_builtin")
_COLD_STARTS = 3
_FEWEST_ROUNDS, _SECONDS = 3, 15.0
_LIBRARIES = {
    "larq_compute_engine": "larq-compute-engine",
    "tflite_runtime": "tflite-runtime",
    "ai_edge_litert": "ai-edge-litert",
    "numpy": "numpy",
}
_ARM = frozenset({"aarch64", "arm64"})
_SHORT: dict[File, str] = {"teacher": "teacher", "student": "student", "student_builtin": "built-in"}
_ON_PHONE = "/data/local/tmp"

_CONSOLE = Console()

Step = TypeVar("Step")


@dataclass(frozen=True)
class BenchmarkSettings(Checked):
    """Measurement and output.

    Args:
        bundle: folder of the bundle.
        out: JSON file to write; one that is already there is replaced.
        threads: threads of each interpreter; everything is measured for each number.
        rounds: turns that networks and cascades take; cut to as few as three if they take longer than 15 s.
        builtin: leave out the binary student, for machines without Larq Compute Engine.
        merge: JSON file that the Android library's benchmark has printed on a phone; it is put into the report of the
            bundle that is already at out, and nothing is measured.
    """

    bundle: FilePath
    out: FilePath = "benchmark.json"
    threads: tuple[Count, ...] = (1, 2)
    rounds: Count = 15
    builtin: bool = False
    merge: FilePath | None = None


@dataclass(frozen=True)
class Contender:
    """Something that answers images, one at a time.

    Attributes:
        what: "teacher", "student" or "student_builtin"; with an outlier rate, the cascade of that student.
        outlier_rate: share of `images` that the cascade defers; None for a network alone.
        ask: answers one image.
        images: uint8 (MIX, size, size, 3).
    """

    what: File
    outlier_rate: float | None
    ask: Callable[[np.ndarray], object]
    images: np.ndarray


@reports_user_errors("nothing was written; start again")
def main(argv: Sequence[str] | None = None) -> None:
    """Reads the settings, measures or merges, writes the JSON file and shows tables and commands."""
    settings, _ = parsed(BenchmarkSettings, "export.benchmark", ABOUT, argv)
    if settings.merge is None:
        _show(benchmark(settings), settings.out)
    else:
        _show_phone(merged(settings, settings.merge), settings.out)


def benchmark(settings: BenchmarkSettings) -> dict[str, Any]:
    """Measures a bundle; returns what it also writes to `settings.out`.

    Raises:
        UserError: the bundle is damaged or has no golden images, an interpreter is missing, a setting is out of range,
            or the file cannot be written.
    """
    out = Path(settings.out)
    if out.is_dir() or not out.absolute().parent.is_dir():
        raise UserError(f"cannot write {out}: expected a file in a folder that exists; choose another --out")
    require_writable(out)
    bundle = load_bundle(settings.bundle)
    students = [which for which in _STUDENTS if which in bundle.files and not (settings.builtin and which == "student")]
    networks: list[File] = ["teacher", *students]
    images = golden_arrays(bundle)["images"]
    answered = {which: _is_answered(bundle, which, images) for which in students}
    result: dict[str, Any] = {
        "bundle": bundle.manifest["name"],
        "networks": {which: bundle.manifest[which]["network"] for which in networks},
        "date": time.strftime("%Y-%m-%d"),
        "settings": asdict(settings),
        "machine": machine(),
        "files": file_sizes(bundle, students),
        "cold_start": [_cold_start(bundle, which, answered) for which in _shown(networks, "cold starts")],
        "kernels": _kernels(bundle, images, settings.rounds) if "student" in students else None,
        "latency": [
            row
            for threads in settings.threads
            for row in latency_rows(_timed(bundle, answered, images, threads, settings.rounds), threads, bundle)
        ],
        "mixes": {which: {"answered": int(by.sum()), "deferred": int((~by).sum())} for which, by in answered.items()},
        "adb": adb_commands(bundle, settings.threads),
    }
    result["libraries"] = _libraries()
    result["warnings"] = list(_warnings(result, settings))
    with whole(out) as unfinished:
        unfinished.write_text(json.dumps(result, indent=2) + "\n")
    return result


def merged(settings: BenchmarkSettings, phone: FilePath) -> dict[str, Any]:
    """Puts the figures of a phone into the report at `settings.out`, in place of older ones of the same phone.

    Two sets of figures are of the same phone where model and library agree.

    Returns:
        What was put under "phones": "device", "load_ms" and "latency", rows as `latency_rows` gives them.

    Raises:
        UserError: the bundle is damaged, the phone's file is no such one or of another bundle, or there is no report of
            this bundle.
    """
    bundle = load_bundle(settings.bundle)
    times, figures = phone_times(phone, bundle)
    figures["latency"] = [row for threads, taken in times.items() for row in latency_rows(taken, threads, bundle)]
    out = Path(settings.out)
    report = _report(out, bundle)
    others = [other for other in report.get("phones", []) if _phone(other) != _phone(figures)]
    report["phones"] = [*others, figures]
    with whole(out) as unfinished:
        unfinished.write_text(json.dumps(report, indent=2) + "\n")
    return figures


def _report(out: Path, bundle: Bundle) -> dict[str, Any]:
    try:
        report = json.loads(out.read_text())
        name = report["bundle"]
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(
            f"{out} is no report of a benchmark: expected one to merge into; measure without --merge first"
        ) from None
    if name != bundle.manifest["name"]:
        raise UserError(f"{out} is the report of the bundle {name}, expected {bundle.manifest['name']}: give its --out")
    return report


def _phone(figures: dict[str, Any]) -> tuple[str, str]:
    return figures["device"]["model"], figures["device"]["library"]


# --- What is measured ------------------------------------------------------------------------------------------------


def mixed_rows(answered: np.ndarray, outlier_rate: float) -> np.ndarray | None:
    """Returns MIX rows of images of which a share is deferred, evenly spread; None where no image is there to make it.

    Args:
        answered: bool (n,), which images the student answers.
        outlier_rate: share to be deferred, a multiple of 1 / MIX.
    """
    count = round(outlier_rate * MIX)
    is_deferred = np.zeros(MIX, bool)
    is_deferred[np.arange(count) * MIX // max(count, 1)] = True
    rows = np.zeros(MIX, int)
    for here, there in ((is_deferred, ~answered), (~is_deferred, answered)):
        if here.any() and not there.any():
            return None
        rows[here] = np.resize(np.flatnonzero(there), here.sum())
    return rows


def milliseconds(contenders: Sequence[Contender], rounds: Iterable[int]) -> list[np.ndarray]:
    """Returns how long each contender took for each image, float64 (rounds, MIX), in milliseconds.

    They take turns in every round; a shorter one before the others warms them up. On a slow or busy machine there are
    fewer rounds than asked for: no new one begins when the time is over, once there are three.
    """
    for contender in contenders:
        _passed(contender, contender.images[: MIX // 4])
    passes: list[list[list[float]]] = []
    begun = time.perf_counter()
    for _ in rounds:
        if len(passes) >= _FEWEST_ROUNDS and time.perf_counter() - begun > _SECONDS:
            break
        passes.append([_passed(contender, contender.images) for contender in contenders])
    return [np.array(times) for times in zip(*passes, strict=True)]


def _passed(contender: Contender, images: np.ndarray) -> list[float]:
    times = []
    for image in images:
        begun = time.perf_counter()
        contender.ask(image)
        times.append(1000 * (time.perf_counter() - begun))
    return times


def _timed(
    bundle: Bundle, answered: dict[Student, np.ndarray], images: np.ndarray, threads: int, rounds: int
) -> dict[tuple[File, float | None], np.ndarray]:
    """Returns the milliseconds of each network (rate None) and of each cascade at each outlier rate."""
    mix = images[np.resize(np.arange(len(images)), MIX)]
    networks: tuple[File, ...] = ("teacher", *answered)
    contenders = [Contender(which, None, _alone(network_of(bundle, which, threads)), mix) for which in networks]
    for which, by_student in answered.items():
        cascade = Cascade(bundle, which == "student_builtin", threads)
        for rate in OUTLIER_RATES:
            rows = mixed_rows(by_student, rate)
            if rows is not None:
                contenders.append(Contender(which, rate, cascade.classify, images[rows]))
    times = milliseconds(contenders, _shown(range(rounds), f"warm latency, threads: {threads}"))
    return {(one.what, one.outlier_rate): taken for one, taken in zip(contenders, times, strict=True)}


def _is_answered(bundle: Bundle, which: Student, images: np.ndarray) -> np.ndarray:
    return Cascade(bundle, builtin=which == "student_builtin").classify_batch(images).by_student


def _alone(network: Network) -> Callable[[np.ndarray], object]:
    return lambda image: network(image[np.newaxis])


def _kernels(bundle: Bundle, images: np.ndarray, rounds: int) -> dict[str, Any]:
    """Returns whether LCE's two kernels answer the golden images alike, and which is faster here."""
    content, name = bundle.content("student"), str(bundle.path("student"))
    networks = [LceNetwork(content, name, indirect_bgemm=indirect) for indirect in (True, False)]
    equal = [_are_equal(*(network(image) for network in networks)) for image in images[:, np.newaxis]]
    mix = images[np.resize(np.arange(len(images)), MIX)]
    contenders = [Contender("student", None, _alone(network), mix) for network in networks]
    indirect, default = milliseconds(contenders, _shown(range(rounds), "kernels"))
    return {
        "used": "indirect bgemm",
        "images": len(equal),
        "images_equal": sum(equal),
        "indirect_over_default": mean_time(indirect) / mean_time(default),
    }


def _are_equal(outputs: list[np.ndarray], others: list[np.ndarray]) -> bool:
    return all(np.array_equal(one, other, equal_nan=True) for one, other in zip(outputs, others, strict=True))


def _cold_start(bundle: Bundle, which: File, answered: dict[Student, np.ndarray]) -> dict[str, Any]:
    """Returns the median of three cold starts, see `envise_tf.export.coldstart`; the teacher answers any image."""
    rows = {"answered": 0}
    if which in _STUDENTS:
        by_student = answered[which]
        rows = {
            name: int(np.argmax(there))
            for name, there in (("answered", by_student), ("deferred", ~by_student))
            if there.any()
        }
    command = [sys.executable, "-m", "envise_tf.export.coldstart", str(bundle.folder), which, json.dumps(rows)]
    starts = [_child(command) for _ in range(_COLD_STARTS)]
    return {"what": which, **{name: statistics.median(start[name] for start in starts) for name in starts[0]}}


def _child(command: Sequence[str]) -> dict[str, float]:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise UserError(f"a cold start failed ({last}): expected it to answer; try python -m envise_tf.export.verify")
    return json.loads(done.stdout.splitlines()[-1])


# --- What comes of it ------------------------------------------------------------------------------------------------


def mean_time(times: np.ndarray) -> float:
    """Returns the mean over images of the median over rounds, of float (rounds, images)."""
    return float(np.median(times, axis=0).mean())


def latency_rows(
    times: dict[tuple[File, float | None], np.ndarray], threads: int, bundle: Bundle
) -> list[dict[str, Any]]:
    """Returns a row for each network and each cascade.

    Args:
        times: milliseconds (rounds, MIX) by what was timed and its outlier rate, None for a network alone; the
            teacher alone is among them.
        threads: of the interpreters.
        bundle: its manifest gives the FLOPs.

    Returns:
        "what", "outlier_rate", "threads", "rounds"; "mean_ms" (see `mean_time`), "median_ms" and "p95_ms" of an
        image; the ratios "of_teacher" and "of_builtin" (the same of the built-in student; None without one);
        "flops_of_teacher", what counted work would have the first of them be; "overhead", None for a network.
    """
    rows = []
    flops = {which: bundle.manifest[which]["flops"] for which, rate in times if rate is None}
    mean = {key: mean_time(taken) for key, taken in times.items()}
    teacher = mean["teacher", None]
    for (what, rate), taken in times.items():
        builtin = mean.get(("student_builtin", rate)) if what == "student" else None
        rows.append(
            {
                "what": what,
                "outlier_rate": rate,
                "threads": threads,
                "rounds": len(taken),
                "mean_ms": mean[what, rate],
                "median_ms": float(np.median(taken)),
                "p95_ms": float(np.percentile(taken, 95)),
                "of_teacher": mean[what, rate] / teacher,
                "of_builtin": None if builtin is None else mean[what, rate] / builtin,
                "flops_of_teacher": flops[what] / flops["teacher"] + (rate or 0.0),
                "overhead": None if rate is None else mean[what, rate] / (mean[what, None] + rate * teacher) - 1,
            }
        )
    return rows


def file_sizes(bundle: Bundle, students: Sequence[Student]) -> list[dict[str, Any]]:
    """Returns "what", "bytes" and "of_teacher", the ratio to the teacher's file, for networks and cascades.

    What an app ships for a cascade is one student and the teacher; labels and manifest are left out of both sides.
    """
    size = {which: bundle.manifest[which]["bytes"] for which in (*students, "teacher")}
    sizes = {**size, **{f"cascade of {which}": size[which] + size["teacher"] for which in students}}
    return [{"what": what, "bytes": count, "of_teacher": count / size["teacher"]} for what, count in sizes.items()]


def machine() -> dict[str, Any]:
    """Returns what the figures belong to: architecture, processor, cores, system, load and Python."""
    affinity = getattr(os, "sched_getaffinity", None)
    return {
        "architecture": platform.machine(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "cores_usable": len(affinity(0)) if affinity else os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 2),
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.lower().startswith(("model name", "model\t"))]
    return next((name for name in names if not name.isdigit()), platform.processor() or "unknown")


def _libraries() -> dict[str, str]:
    """Returns the versions of the interpreters that have been used, and of NumPy."""
    loaded = {name.partition(".")[0] for name in sys.modules}
    return {package: metadata.version(package) for module, package in _LIBRARIES.items() if module in loaded}


def _warnings(result: dict[str, Any], settings: BenchmarkSettings) -> Iterable[str]:
    """Yields what keeps the figures from meaning what they seem to."""
    here, kernels = result["machine"], result["kernels"]
    if here["architecture"].lower() not in _ARM:
        yield (
            f"Larq Compute Engine is optimised for 64-bit Arm alone; this machine is {here['architecture']}: the "
            "binary student's times here say nothing of a phone"
        )
    if max(settings.threads) > here["cores_usable"]:
        yield f"{max(settings.threads)} threads on {here['cores_usable']} usable cores: its times say little"
    if kernels and kernels["images_equal"] < kernels["images"]:
        yield (
            f"indirect bgemm and the default kernel differ on {kernels['images'] - kernels['images_equal']} of "
            f"{kernels['images']} golden images: run python -m envise_tf.export.verify before you trust either"
        )
    if result["networks"].get("student_builtin") == "float_emulation":
        yield "the built-in student is the binary one computed in float: being faster than that is no merit"
    for which, count in result["mixes"].items():
        missing = [name for name in ("answered", "deferred") if not count[name]]
        if missing:
            yield f"no golden image is {missing[0]} by the cascade of {which}: mixes that need one are left out"


def adb_commands(bundle: Bundle, threads: Iterable[int]) -> list[str]:
    """Returns the commands that measure a bundle's networks on a phone that is connected by USB.

    All networks run without XNNPACK, as in an app with LCE's library; those of stock operators with it too, as in
    an app with stock TensorFlow Lite.
    """
    commands = []
    for which in (which for which in (*_STUDENTS, "teacher") if which in bundle.files):
        commands.append(f"adb push {bundle.path(which)} {_ON_PHONE}/")
    stock: list[File] = [which for which in bundle.files if which in ("student_builtin", "teacher")]
    runs: list[tuple[str, File, str]] = [
        ("benchmark_model", which, f"--use_xnnpack={flag}") for which in stock for flag in ("true", "false")
    ]
    if "student" in bundle.files:
        for flag in ("false", "true"):
            runs.append(("lce_benchmark_model", "student", f"--use_xnnpack=false --use_indirect_bgemm={flag}"))
    for tool in dict.fromkeys(tool for tool, _, _ in runs):
        commands += [f"adb push {tool} {_ON_PHONE}/", f"adb shell chmod +x {_ON_PHONE}/{tool}"]
    for tool, which, flags in runs:
        for count in threads:
            graph = f"{_ON_PHONE}/{bundle.path(which).name}"
            commands.append(
                f"adb shell {_ON_PHONE}/{tool} --graph={graph} --num_threads={count} --warmup_runs=20 --num_runs=200 "
                f"--report_peak_memory_footprint=true {flags}"
            )
    return commands


# --- The console -----------------------------------------------------------------------------------------------------


def _shown(work: Sequence[Step], what: str) -> Iterable[Step]:
    return track(work, what, console=_CONSOLE, transient=True)


def _show(result: dict[str, Any], out: str) -> None:
    for table in (_latency_table(result), _cold_start_table(result), _size_table(result)):
        _CONSOLE.print(table)
    here = result["machine"]
    _say(
        f"machine: {here['processor']}, {here['architecture']}, {here['cores_usable']} of {here['cores']} cores, load "
        f"{here['load_average']}, {here['system']}"
    )
    libraries = ", ".join(f"{name} {version}" for name, version in result["libraries"].items())
    _say(f"runtimes: {libraries}; XNNPACK off for the binary student, the interpreter's default for the others")
    if result["kernels"]:
        kernels = result["kernels"]
        _say(
            f"kernel: {kernels['used']}, {kernels['indirect_over_default']:.2f} of the default kernel's time; outputs "
            f"equal on {kernels['images_equal']} of {kernels['images']} golden images"
        )
    for row in result["latency"]:
        if row["outlier_rate"] == 0:
            _say(
                f"overhead of the runtime, cascade of {row['what']}, nothing deferred, threads {row['threads']}: "
                f"{100 * row['overhead']:.1f} % over the bare interpreter calls"
            )
    for warning in result["warnings"]:
        _CONSOLE.print(f"warning: {warning}", style="yellow", soft_wrap=True, markup=False)
    _say("\non a phone (docs/android.md says where the tools come from):")
    for command in result["adb"]:
        _say(command)
    _say(f"\nwritten: {out}")


def _show_phone(figures: dict[str, Any], out: str) -> None:
    _CONSOLE.print(_latency_table(figures))
    device = figures["device"]
    _say(
        f"phone: {device['model']}, {device['abi']}, {device['cores']} cores, Android {device['android']}, "
        f"{device['library']} {device['runtime']}, {device['date']}"
    )
    loads = ", ".join(f"{_SHORT[which]} {taken:.1f} ms" for which, taken in figures["load_ms"].items())
    _say(f"loading, once: {loads}\nmerged into: {out}")


def _say(line: str) -> None:
    _CONSOLE.print(line, soft_wrap=True, markup=False, highlight=False)


def _empty_table(title: str, columns: Sequence[str]) -> Table:
    table = Table(title=title, box=box.SIMPLE_HEAD, collapse_padding=True, pad_edge=False)  # fits 80 columns
    table.add_column(no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _latency_table(result: dict[str, Any]) -> Table:
    table = _empty_table(
        "warm latency of one image; outliers are deferred, all others answered",
        ("outliers", "threads", "median ms", "p95 ms", "/ teacher", "/ built-in", "FLOPs / teacher"),
    )
    for row in result["latency"]:
        rate = row["outlier_rate"]
        table.add_row(
            _SHORT[row["what"]] if rate is None else f"cascade, {_SHORT[row['what']]}",
            "" if rate is None else f"{100 * rate:.0f} %",
            str(row["threads"]),
            *(f"{row[name]:.2f}" for name in ("median_ms", "p95_ms", "of_teacher")),
            "" if row["of_builtin"] is None else f"{row['of_builtin']:.2f}",
            f"{row['flops_of_teacher']:.2f}",
            end_section=rate == OUTLIER_RATES[-1],
        )
    return table


def _cold_start_table(result: dict[str, Any]) -> Table:
    table = _empty_table(
        "cold start: a fresh process, files in the system's cache, 1 thread",
        ("libraries ms", "load ms", "first answer ms", "first deferred ms", "/ teacher", "peak MB"),
    )
    teacher = result["cold_start"][0]
    for start in result["cold_start"]:
        names = ("libraries_ms", "load_ms", "answered_ms", "deferred_ms")
        table.add_row(
            "teacher" if start is teacher else f"cascade, {_SHORT[start['what']]}",
            *(f"{start[name]:.1f}" if name in start else "" for name in names),
            f"{_ready(start) / _ready(teacher):.2f}" if "answered_ms" in start else "",
            f"{max(value for name, value in start.items() if name.endswith('_bytes')) / 1e6:.1f}",
        )
    return table


def _ready(start: dict[str, Any]) -> float:
    """Returns the milliseconds until the first answer, without Python's imports."""
    return start["load_ms"] + start["answered_ms"]


def _size_table(result: dict[str, Any]) -> Table:
    table = _empty_table("size of the networks", ("kB", "/ teacher"))
    for row in result["files"]:
        table.add_row(row["what"], f"{row['bytes'] / 1000:,.1f}", f"{row['of_teacher']:.2f}")
    return table


if __name__ == "__main__":
    main()
