"""A command in a process of its own, which something strikes at a moment that can be drawn again.

Moments are counted in file events: whenever the process, in whatever library, is about to open a file of its run for
writing, rename, remove or flush one, or make a folder, Python tells an audit hook. So the strike lands between two
steps of writing, and `cut` in the middle of one: from that event on the kernel ends the process as soon as a file grows
past so many bytes, which leaves the file half written, by C++ too.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import multiprocessing
import os
import re
import resource
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TextIO

Kind = Literal["none", "kill", "cut", "full", "read-only", "wait", "clock"]

BALLAST = "ballast"
"""What fills the disk, beside the run's folder."""

_COMMANDS = ("train", "teach", "stream", "tuning", "export")
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload([f"envise_tf.{command}.pipeline" for command in _COMMANDS])
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_CHANGES = frozenset({"os.rename", "os.remove", "os.mkdir", "os.rmdir"})
_READ_ONLY, _REMOUNT, _BIND = 1, 32, 4096
"""Flags of mount(2)."""
_OF_TENSORFLOW = re.compile(r"WARNING:|[IWEF]\d{4} |\d{4}-\d\d-\d\d ")
"""How lines of its log begin."""
_JUMP = 1e7
"""Seconds by which the clock is set back, four months."""


@dataclass(frozen=True)
class Strike:
    """What happens to a process, and when.

    Attributes:
        kind: "kill": SIGKILL. "cut": the next file to grow past `size` bytes is cut there. "full": the disk has `size`
            bytes left. "read-only": the run's folder takes no more files. "wait": the process stands still until
            `Life.go_on`. "clock": time.time is set back.
        event: the file event that it comes before, counted from 1.
        size: in bytes.
    """

    kind: Kind = "none"
    event: int = 0
    size: int = 0


NOTHING = Strike()


class Life:
    """One run of a command, forked from a process that has imported TensorFlow and all commands.

    Args:
        module: whose `main` it is.
        words: of its command line.
        folder: of the run, whose file events are counted.
        strike: what happens to it.
    """

    def __init__(self, module: str, words: Sequence[str], folder: Path, strike: Strike = NOTHING) -> None:
        self._kept = tempfile.TemporaryDirectory()  # not on the disk of the run, which may be full
        self._notes = Path(self._kept.name)
        self._begun = time.monotonic()
        self._process = _FORKS.Process(target=_lived, args=(module, list(words), folder, self._notes, strike))
        self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def ended(self, seconds: float) -> bool:
        """Returns whether it has ended after at most so many seconds."""
        self._process.join(seconds)
        return self._process.exitcode is not None

    def kill(self) -> None:
        self._process.kill()
        self._process.join()

    @property
    def exit_code(self) -> int | None:
        return self._process.exitcode

    @property
    def is_struck(self) -> bool:
        return (self._notes / "struck").exists()

    def go_on(self) -> None:
        """Ends a "wait"."""
        (self._notes / "go").touch()

    def until_struck(self, seconds: float) -> bool:
        """Returns whether it is struck within so many seconds, before it ends."""
        ends = time.monotonic() + seconds
        while not self.is_struck and not self.ended(0.05) and time.monotonic() < ends:
            pass
        return self.is_struck

    def figures(self) -> dict[str, Any]:
        """Returns "events" and "seconds" of a life that has ended by itself."""
        return json.loads((self._notes / "figures").read_text())

    def error_lines(self) -> list[str]:
        """Returns what stands on stderr: the command's one line alone if it has that, or else all lines.

        TensorFlow's own log is left out, and what its converter says before the command ends by such a line.
        """
        text = (self._notes / "2").read_text(errors="replace")
        lines = [line for line in text.splitlines() if line.strip() and not _OF_TENSORFLOW.match(line)]
        of_command = [line for line in lines if line.startswith("error: ")]
        is_alone = len(of_command) == 1 and lines[-1] == of_command[0] and "Traceback" not in text
        return of_command if is_alone else lines


class _Events:
    """The audit hook: counts file events below a folder and strikes at one."""

    def __init__(self, folder: Path, notes: Path, strike: Strike) -> None:
        self._folder, self._notes, self._strike = str(folder), notes, strike
        self._lock = threading.Lock()
        self.count = 0

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            is_counted = isinstance(flags, int) and bool(flags & _WRITES) and self._is_inside(path)
        else:
            is_counted = event in _CHANGES and self._is_inside(arguments[0])
        if is_counted:
            self.counted()

    def counted(self) -> None:
        with self._lock:
            self.count += 1
            is_due = self.count == self._strike.event
        if is_due:
            (self._notes / "struck").touch()
            _STRIKES[self._strike.kind](self._strike.size, Path(self._folder), self._notes)

    def _is_inside(self, path: Any) -> bool:
        return isinstance(path, str | os.PathLike) and os.path.abspath(os.fspath(path)).startswith(self._folder)


def _lived(module: str, words: list[str], folder: Path, notes: Path, strike: Strike) -> None:
    for descriptor in (1, 2):
        with open(notes / str(descriptor), "wb") as file:
            os.dup2(file.fileno(), descriptor)
    sys.stdout, sys.stderr = _line_buffered(1), _line_buffered(2)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # Python ignores it
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    events = _Events(folder, notes, strike)
    flush = os.fsync

    def fsync(descriptor: int) -> None:
        events.counted()
        flush(descriptor)

    os.fsync = fsync  # type: ignore[assignment]
    sys.addaudithook(events)
    begun = time.monotonic()
    importlib.import_module(module).main(words)
    figures = {"events": events.count, "seconds": time.monotonic() - begun}
    (notes / "figures").write_text(json.dumps(figures))


def _line_buffered(descriptor: int) -> TextIO:
    return open(descriptor, "w", buffering=1, encoding="utf-8", closefd=False)


# --- Strikes: each is given the size, the run's folder and the notes' -------------------------------------------------


def _kill(size: int, folder: Path, notes: Path) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _cut(size: int, folder: Path, notes: Path) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def _full(size: int, folder: Path, notes: Path) -> None:
    free = shutil.disk_usage(folder.parent).free
    with open(folder.parent / BALLAST, "wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(1, free - size))


def _read_only(size: int, folder: Path, notes: Path) -> None:
    """Puts a read-only view of the folder over it: files that are open stay so, as after a chmod."""
    if not folder.is_dir():
        return
    place = os.fsencode(folder)
    for flags in (_BIND, _REMOUNT | _BIND | _READ_ONLY):
        if ctypes.CDLL(None, use_errno=True).mount(place, place, None, flags, None):
            raise OSError(ctypes.get_errno(), "cannot mount")


def _wait(size: int, folder: Path, notes: Path) -> None:
    while not (notes / "go").exists():
        time.sleep(0.05)


def _clock(size: int, folder: Path, notes: Path) -> None:
    now = time.time
    time.time = lambda: now() - _JUMP  # type: ignore[assignment]


_STRIKES = {"kill": _kill, "cut": _cut, "full": _full, "read-only": _read_only, "wait": _wait, "clock": _clock}
