"""python benchmarks/soak.py: whether long service stays as it began: memory, rate, open files, the record.

- stream: the command answers 200,000 images of digits whose prior changes every 5,000, with checkpoints. Its process is
  watched from outside. Killed with this benchmark, it is resumed when the benchmark is started again.
- runtime, Kotlin's runtime: a bundle's cascade gives a million answers in a process of its own, in Python and, where
  Maven and a JDK are, in Kotlin, whose heap has one size from the start; begun anew after a kill.

A sample is taken at every hundredth of the images. The first tenth is warm-up. Afterwards memory may grow by 2 % from
the second tenth's median to the last one's, and no file may be open at the end that was not open then. The rate of the
last half over that of the first is given; a loaded machine changes it, so it is no verdict.

Writes soak.json beside this file, as it goes on.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from rich.console import Console
from trust.bundle import BUNDLE, require_bundle
from trust.ledger import Ledger, Row

from envise_tf import progress
from envise_tf.stream.record import read_record

COMMAND = "python benchmarks/soak.py"
CONSOLE = Console(width=160, soft_wrap=True)
KEPT = Path("runs/soak")
KOTLIN = Path(__file__).parents[1] / "export" / "android" / "envise-core"
CHANGE = 5000
"""Images between two changes of the prior."""
SAMPLES = 100
ALLOWED_GROWTH = 0.02
MEMORY = "4"
"""MB of images that the stream keeps to train on: full before the warm-up ends, as the default of 64 would not be."""
_PRIORS = ("{zero: 1, one: 1, two: 1, three: 1, four: 1}", "{five: 1, six: 1, seven: 1, eight: 1, nine: 1}")

Sample = dict[str, float]
"""Images so far, seconds, resident mebibytes, and open files of the process that answers."""


def main() -> None:
    """Answers what has not been answered yet, and writes what was seen; exit code 1 where something grew."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=200_000, help="of the stream")
    parser.add_argument("--answers", type=int, default=1_000_000, help="of the runtime")
    parser.add_argument("--bundle", type=Path, default=BUNDLE, help="a bundle of digits, made where there is none")
    parser.add_argument("--kept", type=Path, default=KEPT, help="folder of the stream's run")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"), help="the JSON")
    flags = parser.parse_args()
    ledger = Ledger(flags.out, COMMAND)
    parts: dict[str, tuple[int, Callable[[], Row]]] = {
        "stream": (flags.images, lambda: soaked_stream(flags.images, flags.kept)),
        "runtime": (flags.answers, lambda: soaked_runtime(in_python(), flags.answers, flags.bundle)),
    }
    if shutil.which("mvn") and shutil.which("javac"):
        parts["Kotlin's runtime"] = (flags.answers, lambda: soaked_runtime(compiled(), flags.answers, flags.bundle))
    else:
        CONSOLE.print("no Kotlin's runtime: there is no Maven or no JDK here")
    for name, (images, soaked) in parts.items():
        if not ledger.has_passed(name) or ledger.rows[name]["images"] != images:
            ledger.add(name, {"images": images, **soaked()})
        shown = {key: value for key, value in ledger.rows[name].items() if key != "samples"}
        CONSOLE.print(shown, highlight=False)
    if any(row["problems"] for row in ledger.rows.values()):
        sys.exit(1)


# --- The stream -------------------------------------------------------------------------------------------------------


def soaked_stream(images: int, kept: Path) -> Row:
    """Returns what a stream's process used, and what is wrong with its record."""
    run, phases = kept / f"stream-{images}", kept / f"phases-{images}.yaml"
    kept.mkdir(parents=True, exist_ok=True)
    first_lengths = [min(CHANGE, images - first) for first in range(0, images, CHANGE)]
    lines = [f"- {{prior: {_PRIORS[i % 2]}, images: {length}}}" for i, length in enumerate(first_lengths)]
    phases.write_text("\n".join(["phases:", *lines]) + "\n")
    options = ["--checkpoint", "2000", "--memory", MEMORY, "--out", str(run)]
    words = ["--preset", "digits", "--phases", str(phases), *options]
    if (run / "settings.yaml").exists():
        words = ["--resume", str(run)]
    command = [sys.executable, "-m", "envise_tf.stream", *words]
    with (kept / "output.txt").open("a") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        try:
            samples = _watched(process, run / "answers.csv", images, kept / f"samples-{images}.jsonl")
        finally:
            process.kill()
    problems = _growth(samples, images)
    if process.returncode:
        problems.append(f"it ends with {process.returncode}: {(kept / 'output.txt').read_text().splitlines()[-1]}")
    else:
        record = read_record(run)
        if not np.array_equal(record.image, np.arange(images)):
            problems.append(f"the record has {len(record.image)} answers of {images}, or not each once in order")
    return {"samples": samples, **_figures(samples, images), "problems": problems}


def _watched(process: subprocess.Popen[bytes], answers: Path, images: int, kept: Path) -> list[Sample]:
    """Returns a sample at every hundredth of the images that a process answers until it ends.

    They are kept in a file, so that those of a process that was killed are not lost.
    """
    samples: list[Sample] = [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []
    reader = _Lines(answers)
    begun, step = time.monotonic(), max(1, images // SAMPLES)
    with progress.bar("images of the stream, time", CONSOLE) as bar:
        task = bar.add_task("", total=images)
        while process.poll() is None:
            time.sleep(0.2)
            answered = max(0, reader.count() - 1)
            bar.update(task, completed=answered)
            if answered and (not samples or answered - samples[-1]["images"] >= step):
                try:
                    samples.append(_sample(process.pid, answered, time.monotonic() - begun))
                except psutil.NoSuchProcess:
                    break
                with kept.open("a") as file:
                    file.write(json.dumps(samples[-1]) + "\n")
        process.wait()
    return samples


class _Lines:
    """Counts the lines of a file that grows, reading each once."""

    def __init__(self, path: Path) -> None:
        self._path, self._read, self._lines = path, 0, 0

    def count(self) -> int:
        if self._path.exists():
            with self._path.open("rb") as file:
                file.seek(self._read)
                content = file.read()
            self._read += len(content)
            self._lines += content.count(b"\n")
        return self._lines


# --- The runtime ------------------------------------------------------------------------------------------------------


def in_python() -> list[str]:
    """Returns the words that start the program of answers in Python."""
    return [sys.executable, str(Path(__file__).parent / "trust" / "answering.py")]


def in_kotlin() -> list[str]:
    """Returns the words that start the program of answers in Kotlin, which Maven has compiled.

    Its heap is touched as a whole at the start: what grows afterwards lies outside of it, and what grows inside of it
    ends the program.
    """
    target = KOTLIN / "target"
    dependencies = (target / "class-path-of-tests.txt").read_text()
    class_path = os.pathsep.join([str(target / "classes"), str(target / "test-classes"), dependencies])
    heap = ["-Xms64m", "-Xmx64m", "-XX:+AlwaysPreTouch", "-XX:+UseSerialGC"]
    return ["java", *heap, "-cp", class_path, "envise.AnsweringKt"]


def compiled() -> list[str]:
    """Returns the same words, once Maven has compiled the program."""
    subprocess.run(["mvn", "-q", "-B", "test-compile"], cwd=KOTLIN, check=True)
    return in_kotlin()


def soaked_runtime(program: Sequence[str], answers: int, bundle: Path) -> Row:
    """Returns what a process used that gives so many answers of a bundle."""
    require_bundle(bundle)
    words = [*program, str(bundle), str(answers), str(max(1, answers // SAMPLES))]
    samples: list[Sample] = []
    with (
        subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process,
        progress.bar("answers of the runtime, time", CONSOLE) as bar,
    ):
        assert process.stdout is not None, "piped"
        assert process.stdin is not None, "piped"
        task, begun = bar.add_task("", total=answers), time.monotonic()
        for line in process.stdout:
            samples.append(_sample(process.pid, int(line), time.monotonic() - begun))
            bar.update(task, completed=int(line))
            process.stdin.write("\n")  # it waits while it is looked at
            process.stdin.flush()
    problems = _growth(samples, answers)
    if process.returncode:
        problems.append(f"it ends with {process.returncode}")
    return {"samples": samples, **_figures(samples, answers), "problems": problems}


# --- What was seen ----------------------------------------------------------------------------------------------------


def _sample(pid: int, images: int, seconds: float) -> Sample:
    process = psutil.Process(pid)
    memory = round(process.memory_info().rss / 2**20, 1)
    return {"images": images, "seconds": round(seconds, 1), "mebibytes": memory, "files": process.num_fds()}


def _tenth(samples: Sequence[Sample], images: int, number: int) -> list[Sample]:
    return [each for each in samples if number <= 10 * each["images"] / images < number + 1 + (number == 9)]


def _figures(samples: Sequence[Sample], images: int) -> dict[str, Any]:
    early, late = _tenth(samples, images, 1), _tenth(samples, images, 9)
    if not early or not late:
        return {}
    pairs = itertools.pairwise(samples)
    rates = [(b["images"] - a["images"]) / max(b["seconds"] - a["seconds"], 1e-9) for a, b in pairs]
    half = len(rates) // 2
    memory = [statistics.median(each["mebibytes"] for each in tenth) for tenth in (early, late)]
    return {
        "mebibytes": memory,
        "growth": memory[1] / memory[0] - 1,
        "files": [early[0]["files"], late[-1]["files"]],
        "images_per_second": statistics.median(rates),
        "rate_of_last_half": statistics.median(rates[half:]) / statistics.median(rates[:half]),
    }


def _growth(samples: Sequence[Sample], images: int) -> list[str]:
    """Returns what grew after the warm-up."""
    found = _figures(samples, images)
    if not found:
        return ["too little was seen: too few images, or its samples are gone"]
    problems = []
    if found["growth"] > ALLOWED_GROWTH:
        problems.append(f"memory grew by {100 * found['growth']:.1f} %, from {found['mebibytes'][0]:.0f} MiB")
    if found["files"][1] > found["files"][0]:
        problems.append(f"{found['files'][1] - found['files'][0]:.0f} more files are open than after the warm-up")
    return problems


if __name__ == "__main__":
    main()
