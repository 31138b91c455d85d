"""python benchmarks/faults.py: commands killed, on a full disk, locked out, doubled, their clock set back.

Each case runs the smallest job of a command, strikes it once, resumes it to its end, and compares all that it has left
with what an undisturbed run leaves: weights bit for bit, tables, logs and figures without times. In between nothing may
look whole that is not. Faults, of each command:

- killed: SIGKILL before a file event, in the middle of writing a file, or after a share of the time, in turns;
- full: the disk, a small one of the benchmark's own, has so many bytes left; one line says so, and space is made;
- read-only: the run's folder takes no more files; one line says so;
- twice: another process is started on the same run; exactly one goes on, the other's line says who holds the run;
- clock: the time of day is set back by four months in the middle.

The disk and the read-only folder are real ones, in a mount namespace (unshare -rm) that only the benchmark sees; where
there are no such namespaces these cases are left out and told. Moments are drawn by number and can be drawn again.
Cases that have passed are kept in faults.json: kill the benchmark whenever you like and start it again.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from rich.console import Console
from trust.ledger import Ledger, Row
from trust.struck import BALLAST, NOTHING, Life, Strike

from envise_tf import progress
from envise_tf.errors import reports_user_errors
from envise_tf.networks.loading import load_network
from envise_tf.prior import adapted  # noqa: F401 - a layer of adapted teachers, for load_network

COMMAND = "python benchmarks/faults.py"
CONSOLE = Console(width=160, soft_wrap=True)
LONGEST = 600.0
"""Seconds after which a process counts as hung."""
_DISK = "2g"
_NAMESPACED = "ENVISE_FAULTS_NAMESPACE"

_NETWORK = ["--widths", "[32]", "--blocks", "[1]"]
_WINDOWS = ["--windows", "2", "--window", "64", "--batch_size", "32"]
_OBJECTIVE = ["--objectives", '{"soft_label": {"weight": 1.0}}']  # traced faster
_TRAIN = ["--preset", "digits", *_WINDOWS, *_NETWORK, *_OBJECTIVE, "--epsilon", "0.5", "--tensorboard", "false"]
_SPACE = "learning_rate: {least: 0.001, most: 0.01, scale: log}\nobjectives.soft_label.temperature: [1.0, 2.0]\n"
_PHASES = """phases:
- {prior: {zero: 1, one: 1, two: 1}, images: 360}
- {prior: {five: 1, six: 1, seven: 1}, images: 240, change: 60}
"""
_STREAM = [
    *("--source", "digits", "--protocol", "shared", "--steps", "1", "--find", "96", "--recheck", "64"),
    *("--window", "64", "--patience", "1", "--floor", "0", "--longest", "192", "--rule", "risk", "--epsilon", "0.95"),
    *("--checkpoint", "128", "--memory", "1", *_NETWORK, *_OBJECTIVE),
]


@dataclass(frozen=True)
class Subject:
    """A command and its smallest job.

    Attributes:
        module: of its `main`.
        begin: words that begin the job; {work} is the folder of the benchmark, {run} that of the run.
        resume: words that resume it; None begins again.
    """

    module: str
    begin: list[str]
    resume: list[str] | None

    def words(self, run: Path) -> list[str]:
        """Returns the words that begin or resume the run in a folder, whichever a user would."""
        is_begun = self.resume is not None and (run / "settings.yaml").exists()
        words = self.resume if is_begun and self.resume is not None else self.begin
        return [word.replace("{run}", str(run)).replace("{work}", str(run.parent)) for word in words]


_RESUME = ["--resume", "{run}"]
SUBJECTS = {
    "train": Subject("envise_tf.train.__main__", [*_TRAIN, "--out", "{run}"], _RESUME),
    "stream": Subject(
        "envise_tf.stream.__main__", [*_STREAM, "--phases", "{work}/phases.yaml", "--out", "{run}"], _RESUME
    ),
    "tuning": Subject(
        "envise_tf.tuning.__main__",
        [
            *(*_TRAIN[:-2], "--classes", "pinned", "--held_back", "64", "--faithful", "0.5", "--trials", "2"),
            *("--windows", "1", "--space", "{work}/space.yaml", "--out", "{run}"),
        ],
        None,
    ),
    "export": Subject(
        "envise_tf.export.__main__", ["{work}/trained", "--out", "{run}/bundle", "--overwrite", "true"], None
    ),
    "teach": Subject("envise_tf.teach.__main__", ["--preset", "digits-disjoint", *_WINDOWS, "--out", "{run}"], _RESUME),
}
FAULTS = ("killed", "full", "read-only", "twice", "clock")


def main() -> None:
    """Runs the cases that have not passed yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=100, help="moments at which each command is killed")
    parser.add_argument("--others", type=int, default=20, help="moments of each other fault")
    parser.add_argument("--commands", nargs="+", choices=SUBJECTS, default=list(SUBJECTS))
    parser.add_argument("--faults", nargs="+", choices=FAULTS, default=list(FAULTS))
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"), help="the JSON")
    flags = parser.parse_args()
    reports_user_errors("start again: what has passed is kept")(examined)(flags)


def examined(flags: argparse.Namespace) -> None:
    """Examines all cases that the flags ask for; exit code 1 where one has a problem."""
    ledger = Ledger(flags.out, COMMAND)
    faults = [fault for fault in flags.faults if has_disk() or fault not in ("full", "read-only")]
    for fault in sorted(set(flags.faults) - set(faults)):
        CONSOLE.print(f"no {fault} disk: there are no mount namespaces here (unshare -rm)")
    cases = [
        (command, fault, number)
        for command in flags.commands
        for fault in faults
        for number in range(flags.count if fault == "killed" else flags.others)
    ]
    with workplace() as work, progress.bar("cases, time", CONSOLE) as bar:
        task = bar.add_task("", total=len(cases))
        examiners: dict[str, Examiner] = {}
        for done, (command, fault, number) in enumerate(cases):
            name = f"{command}, {fault}, {number}"
            bar.update(task, description=name, completed=done)
            if ledger.has_passed(name):
                continue
            if command not in examiners:
                examiners[command] = Examiner(SUBJECTS[command], work / command)
            row = examiners[command].row(fault, number)
            ledger.add(name, {"command": command, "fault": fault, **row})
            for problem in row["problems"]:
                CONSOLE.print(f"{name}: {problem}", markup=False, highlight=False)
        bar.update(task, description="all cases", completed=len(cases))
    told(ledger)
    if any(row["problems"] for row in ledger.rows.values()):
        sys.exit(1)


def told(ledger: Ledger) -> None:
    """Prints a line for each command and fault: cases, how many were struck, how many had a problem."""
    rows = ledger.rows.values()
    for command, fault in dict.fromkeys((row["command"], row["fault"]) for row in rows):
        of = [row for row in rows if (row["command"], row["fault"]) == (command, fault)]
        struck, bad = sum(row["struck"] for row in of), sum(bool(row["problems"]) for row in of)
        CONSOLE.print(f"{command}, {fault}: {len(of)} cases, {struck} struck, {bad} with a problem", highlight=False)


# --- One case ---------------------------------------------------------------------------------------------------------


class Examiner:
    """Strikes the smallest job of one command, and compares what comes of it with an undisturbed one.

    Args:
        subject: the command.
        work: a folder for it alone; the run is work/run in every case, since files name it.
    """

    def __init__(self, subject: Subject, work: Path) -> None:
        self._subject, self._work, self._run = subject, work, work / "run"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        (work / "phases.yaml").write_text(_PHASES)
        (work / "space.yaml").write_text(_SPACE)
        if subject is SUBJECTS["export"]:
            train = SUBJECTS["train"]
            self._ended_well(Life(train.module, train.words(work / "trained"), work / "trained"))
        whole = self._life()
        self._ended_well(whole)
        self._events, self._seconds = whole.figures()["events"], whole.figures()["seconds"]
        self._expected = digests(self._run)

    def row(self, fault: str, number: int) -> Row:
        """Returns what came of a case: whether it was struck, what the command said, and what is wrong."""
        self._cleared()
        random = np.random.default_rng([zlib.crc32(fault.encode()), number])
        begun = time.monotonic()
        found = _CASES[fault](self, number, random)
        return {"number": number, **found, "seconds": round(time.monotonic() - begun, 1)}

    def killed(self, number: int, random: np.random.Generator) -> Row:
        kind = ("kill", "cut", "time")[number % 3]
        share, event = float(random.random()), int(random.integers(1, self._events + 1))
        if kind == "time":
            life = self._life()
            struck = not life.ended(share * self._seconds)
            life.kill()
            moment: Row = {"kind": kind, "share": share}
        else:
            strike = Strike("kill" if kind == "kill" else "cut", event, int(2 ** random.uniform(0, 18)))
            life, moment = self._life(strike), asdict(strike)
            self._awaited(life)
            struck = life.exit_code in (-signal.SIGKILL, -signal.SIGXFSZ)
        problems = [] if struck or life.exit_code in (0, -signal.SIGKILL) else [_ending(life)]
        return {"moment": moment, "struck": struck, "problems": [*problems, *self._resumed()]}

    def full(self, number: int, random: np.random.Generator) -> Row:
        strike = Strike("full", int(random.integers(1, self._events + 1)), int(2 ** random.uniform(0, 14)))
        return self._refused(
            strike,
            ("the disk is full", "MiB free, expected"),
            lambda: (self._work / BALLAST).unlink(missing_ok=True),
        )

    def read_only(self, number: int, random: np.random.Generator) -> Row:
        strike = Strike("read-only", int(random.integers(1, self._events + 1)))
        return self._refused(strike, ("no permission to write", "takes no files"), self._unlocked)

    def twice(self, number: int, random: np.random.Generator) -> Row:
        strike = Strike("wait", int(random.integers(1, self._events + 1)))
        first = self._life(strike)
        struck = first.until_struck(LONGEST)
        second = self._life()
        self._awaited(second)
        first.go_on()
        self._awaited(first)
        problems = []
        lives = {0: [], 2: []}
        for life in (first, second):
            lives.setdefault(life.exit_code, []).append(life)
        if struck and (len(lives[0]), len(lives[2])) != (1, 1):
            problems = [f"one ends with {first.exit_code}, the other with {second.exit_code}: {_said(first, second)}"]
        elif struck and not _names(lives[2][0], lives[0][0].pid):
            problems = [f"it is not told who holds the run: {_said(lives[2][0])}"]
        return {"moment": asdict(strike), "struck": struck, "problems": [*problems, *self._resumed()]}

    def clock(self, number: int, random: np.random.Generator) -> Row:
        strike = Strike("clock", int(random.integers(1, self._events + 1)))
        life = self._life(strike)
        self._awaited(life)
        problems = [] if life.exit_code == 0 else [_ending(life)]
        return {"moment": asdict(strike), "struck": life.is_struck, "problems": [*problems, *self._resumed()]}

    def _refused(self, strike: Strike, expected: tuple[str, ...], undone: Callable[[], None]) -> Row:
        """Returns what came of a strike of which one line must tell, unless the command got by."""
        life = self._life(strike)
        self._awaited(life)
        undone()
        lines = life.error_lines()
        is_told = len(lines) == 1 and any(text in lines[0] for text in expected)
        problems = [] if (is_told and life.exit_code == 2) or life.exit_code == 0 else [_ending(life)]
        row = {"moment": asdict(strike), "struck": life.is_struck and life.exit_code != 0, "said": lines[-1:]}
        return {**row, "problems": [*problems, *self._resumed()]}

    # --- its steps ---

    def _life(self, strike: Strike = NOTHING) -> Life:
        return Life(self._subject.module, self._subject.words(self._run), self._run, strike)

    def _resumed(self) -> list[str]:
        """Resumes the run unless it has its end; returns what is wrong before and after."""
        problems = [f"it looks whole and is not: {name}" for name in unreadable(self._run)]
        if digests(self._run) == self._expected:
            return problems
        life = self._life()
        self._awaited(life)
        if life.exit_code != 0 and not self._is_finished(life):
            return [*problems, f"resumed, {_ending(life)}"]
        return problems + [f"after all, {line}" for line in differences(self._expected, digests(self._run))]

    def _is_finished(self, life: Life) -> bool:
        """Returns whether a command has refused to resume what it had finished."""
        return any("is finished: there is nothing to resume" in line for line in life.error_lines())

    def _awaited(self, life: Life) -> None:
        if not life.ended(LONGEST):
            life.kill()

    def _ended_well(self, life: Life) -> None:
        self._awaited(life)
        if life.exit_code != 0:
            raise RuntimeError(f"undisturbed, {_ending(life)}")

    def _unlocked(self) -> None:
        while subprocess.run(["umount", str(self._run)], capture_output=True, check=False).returncode == 0:
            pass

    def _cleared(self) -> None:
        # A bundle is written over an older one, as it comes in an app's build.
        if self._subject is not SUBJECTS["export"]:
            shutil.rmtree(self._run, ignore_errors=True)


_CASES: dict[str, Callable[[Examiner, int, np.random.Generator], Row]] = {
    "killed": Examiner.killed,
    "full": Examiner.full,
    "read-only": Examiner.read_only,
    "twice": Examiner.twice,
    "clock": Examiner.clock,
}


def _ending(life: Life) -> str:
    return f"it ends with {life.exit_code}: {_said(life)}"


def _said(*lives: Life) -> str:
    return " | ".join(" ".join((life.error_lines() or ["nothing"])[-1].split())[:300] for life in lives)


def _names(life: Life, pid: int) -> bool:
    lines = life.error_lines()
    return len(lines) == 1 and (f"process {pid} " in lines[0] or "already holds a run" in lines[0])


# --- What a run has left ----------------------------------------------------------------------------------------------

_TIMES = frozenset({"seconds", "milliseconds", "gie_measured_in_keras", "images_per_second", "date", "git_commit"})
"""Keys whose values differ from run to run."""
_APART = frozenset({"checkpoints", "keras_tuner", "workers", "tensorboard"})
"""Folders whose files hold times, or belong to a library; that they can be read shows when the run is resumed."""
_PICTURES = frozenset({".png", ".html"})
_ARCHIVES = frozenset({".npz", ".keras"})


def digests(run: Path) -> dict[str, str]:
    """Returns what each file of a run says, by its path in the run: JSON without times, of other files a hash."""
    files = {str(path.relative_to(run)): path for path in sorted(run.rglob("*")) if path.is_file()}
    broken = {line.rpartition(" (")[0] for line in unreadable(run)} | {name for name in files if _is_in_writing(name)}
    return {
        name: "" if path.suffix in _PICTURES | {".txt"} else "not whole" if name in broken else _said_in(path)
        for name, path in files.items()
        if not _APART & set(Path(name).parts) and not path.name.startswith(".")
    }


def _said_in(path: Path) -> str:
    if path.suffix == ".json":
        return json.dumps(_timeless(json.loads(path.read_text())))
    return hashlib.sha256(_content(path)).hexdigest()


def _content(path: Path) -> bytes:
    if path.suffix == ".jsonl":
        return json.dumps([_timeless(json.loads(line)) for line in path.read_text().splitlines()]).encode()
    if path.suffix == ".keras":
        # Not the file: its layers are numbered from the start of the process that wrote it.
        return b"".join(weights.tobytes() for weights in load_network(path, []).get_weights())
    if path.suffix == ".npz":
        with zipfile.ZipFile(path) as archive:
            return b"".join(part.encode() + _part(part, archive.read(part)) for part in sorted(archive.namelist()))
    if path.suffix == ".csv":
        with path.open(encoding="utf-8", newline="") as file:
            rows = [{key: row[key] for key in row if key not in _TIMES} for row in csv.DictReader(file)]
        return json.dumps(rows).encode()
    if path.suffix == ".sha256":
        return b""  # of a file with a date
    return path.read_bytes()


def _part(name: str, content: bytes) -> bytes:
    """Returns what an array of an archive holds: the JSON of a stream's state, or its bytes."""
    if name == "tree.npy":
        return json.dumps(_timeless(json.loads(str(np.load(io.BytesIO(content)))))).encode()
    return content


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _timeless(part) for key, part in value.items() if key not in _TIMES}
    return [_timeless(part) for part in value] if isinstance(value, list) else value


def differences(expected: dict[str, str], found: dict[str, str]) -> list[str]:
    """Returns a line for each file that is missing, left over, or says something else."""
    lines = [f"missing: {name}" for name in expected if name not in found]
    lines += [f"left over: {name}" for name in found if name not in expected]
    differing = [name for name in expected if name in found and found[name] != expected[name]]
    return lines + [f"differs: {name}{_place(name, expected[name], found[name])}" for name in differing]


def _place(name: str, expected: str, found: str) -> str:
    """Returns the first key at which two texts of JSON differ, and both values there."""
    if not name.endswith(".json"):
        return ""
    one, other, place = json.loads(expected), json.loads(found), ""
    while isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        key = next(key for key in one if one[key] != other[key])
        one, other, place = one[key], other[key], f"{place} {key}"
    return f",{place}: {str(other)[:80]}, expected {str(one)[:80]}"


def unreadable(run: Path) -> list[str]:
    """Returns the files of a run that are not whole though their names say so."""
    broken = []
    for path in sorted(run.rglob("*")):
        name = str(path.relative_to(run))
        if path.is_file() and not _is_in_writing(name):
            try:
                _read_whole(path)
            except Exception as error:  # whatever a reader says
                broken.append(f"{name} ({type(error).__name__})")
    return broken


def _is_in_writing(name: str) -> bool:
    """Returns whether a path says of itself that it may be half written."""
    return any(part.startswith(("unfinished.", "replaced.")) for part in Path(name).parts)


def _read_whole(path: Path) -> None:
    if path.suffix == ".json":
        json.loads(path.read_text())
    elif path.suffix == ".yaml":
        assert yaml.safe_load(path.read_text()) is not None
    elif path.suffix in _ARCHIVES:
        with zipfile.ZipFile(path) as archive:
            assert archive.testzip() is None


# --- Where it happens -------------------------------------------------------------------------------------------------


def has_disk() -> bool:
    """Returns whether the process is in a mount namespace of its own."""
    return _NAMESPACED in os.environ


@contextmanager
def workplace() -> Iterator[Path]:
    """Yields a folder for the runs, on a disk of its own where there can be one."""
    with tempfile.TemporaryDirectory() as folder:
        if has_disk():
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_DISK}", "none", folder], check=True)
        try:
            yield Path(folder)
        finally:
            if has_disk():
                subprocess.run(["umount", "--lazy", folder], check=True)


def _enter_namespace() -> None:
    """Starts this script again in a mount namespace, if it is not in one and there are any."""
    unshared = ["unshare", "--map-root-user", "--mount"]
    if has_disk() or shutil.which("unshare") is None:
        return
    if subprocess.run([*unshared, "true"], capture_output=True, check=False).returncode == 0:
        os.environ[_NAMESPACED] = "1"
        os.execvp("unshare", [*unshared, sys.executable, *sys.argv])


if __name__ == "__main__":
    _enter_namespace()
    main()
