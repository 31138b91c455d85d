"""Inputs fed to the readers of this package in a process of their own, and what came of each.

The process may crash, hang or take too much memory: whoever feeds it records that of the input at hand, ends the
process, and begins another behind that input.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import resource
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

LONGEST = 10.0
"""Seconds that one reading of an input may take."""
_START = 300.0
"""Seconds that a process may take until it is ready."""
MOST_MEMORY = 2**31
"""Bytes that an input may take beyond what the process had before it."""

Outcome = Literal["answer", "refused", "traceback", "wrong", "crash", "hang", "memory"]
ALLOWED: tuple[Outcome, ...] = ("answer", "refused")

_PROCESSES = multiprocessing.get_context("forkserver")


class Fed(NamedTuple):
    """What came of one input.

    Attributes:
        seed: that makes it again.
        kind: what was done to it.
        outcome: "refused" is one line; "wrong" is an answer that is not the right one, without a word.
        said: the line, or what the process ended with.
        seconds: that it took.
        memory: bytes beyond what the process had before it.
    """

    seed: int
    kind: str
    outcome: Outcome
    said: str
    seconds: float
    memory: int


class WrongAnswer(Exception):  # noqa: N818 - a verdict
    """An answer that is not the right one, and nothing was said."""


class Feeder(Protocol):
    """Makes inputs and has them read; a class of a module of this folder is one for each kind of input.

    Args:
        folder: to write in.
        bundle: a bundle of the digits.

    Attributes:
        readings: how often it has each input read.
    """

    readings: int

    def __init__(self, folder: Path, bundle: Path) -> None: ...

    def made(self, seed: int) -> tuple[str, object]:
        """Returns what is done to the input of a seed, and the input."""

    def read(self, given: object) -> str | None:
        """Has an input read; returns the line that refuses it, or None where it is answered.

        Raises:
            WrongAnswer: the answer is wrong and nothing was said. Any other error is a traceback that a user would see.
        """


def fed(feeder: str, bundle: Path, seeds: Sequence[int]) -> Iterator[Fed]:
    """Yields what came of the input of each seed.

    Args:
        feeder: name of a module that has a `Feeder`, such as "trust.images".
        bundle: folder of a bundle.
        seeds: the inputs.
    """
    left = list(seeds)
    while left:
        for one in _of_one_process(feeder, bundle, left):
            yield one
            left.remove(one.seed)


def _of_one_process(feeder: str, bundle: Path, seeds: Sequence[int]) -> Iterator[Fed]:
    """Yields what came of inputs until a process ends, by itself or not."""
    ours, its = _PROCESSES.Pipe()
    process = _PROCESSES.Process(target=_feeding, args=(feeder, bundle, list(seeds), its), daemon=True)
    process.start()
    its.close()
    begun = ("", -1)
    try:
        assert ours.poll(_START), f"{feeder} is not ready"
        longest = LONGEST * ours.recv()
        while True:
            since = time.monotonic()
            if not ours.poll(longest):
                process.kill()
                yield Fed(begun[1], begun[0], "hang", "", time.monotonic() - since, 0)
                return
            said = ours.recv()
            if isinstance(said, Fed):
                yield said
            else:
                begun = said
    except EOFError:
        process.join()
        if process.exitcode:
            yield Fed(begun[1], begun[0], "crash", f"exit code {process.exitcode}", 0.0, 0)
    finally:
        process.kill()
        process.join()


def _feeding(name: str, bundle: Path, seeds: Sequence[int], connection: Connection) -> None:
    """Feeds one input after the other and sends first what it is, then what came of it."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(nowhere, descriptor)
    with tempfile.TemporaryDirectory() as folder:
        feeder: Feeder = importlib.import_module(name).Feeder(Path(folder), bundle)
        connection.send(feeder.readings)
        for seed in seeds:
            connection.send(("not made yet", seed))
            kind, given = feeder.made(seed)
            connection.send((kind, seed))
            before, begun = _reset_peak(), time.monotonic()
            outcome, said = _outcome(feeder, given)
            seconds, memory = time.monotonic() - begun, max(0, _status("VmHWM") - before)
            if memory > MOST_MEMORY and outcome in ALLOWED:
                outcome = "memory"
            connection.send(Fed(seed, kind, outcome, said, seconds, memory))


def _outcome(feeder: Feeder, given: object) -> tuple[Outcome, str]:
    try:
        line = feeder.read(given)
    except WrongAnswer as wrong:
        return "wrong", str(wrong)
    except MemoryError as error:
        return "memory", str(error)
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        return "traceback", f"{type(error).__name__}: {str(error)[:200]} at {Path(place.filename).name}:{place.lineno}"
    if line is None:
        return "answer", ""
    if len(line.splitlines()) != 1 or len(line) > 2000:
        return "traceback", f"not one line but {len(line.splitlines())}, {len(line)} characters: {line[:200]}"
    return "refused", line


def _reset_peak() -> int:
    """Makes the kernel forget the largest memory so far; returns what is resident, in bytes."""
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _status(name: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024
