"""What tests of commands share."""

import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload([f"envise_tf.{command}.pipeline" for command in ("train", "teach", "stream", "tuning")])

COMMAND = "import importlib, sys; importlib.import_module(sys.argv[1]).main(sys.argv[2:])"
"""Code for `Python`: a command, its module the first word."""

_SIGNALLED = """
import importlib, pkgutil, signal, sys
module, place, call, number, *words = sys.argv[1:]
owner, _, name = place.rpartition(".")
owner, left = pkgutil.resolve_name(owner), int(call)
method = getattr(owner, name)
def counted(*arguments, **options):
    global left
    left -= 1
    if not left:
        signal.raise_signal(int(number))
    return method(*arguments, **options)
setattr(owner, name, counted)
signal.signal(signal.SIGINT, signal.default_int_handler)  # what a test starts in the background would ignore it
importlib.import_module(module).main(words)
"""


class Python:
    """Code that runs as `python -c` would run it, in a process of its own.

    The process is forked from one that has imported TensorFlow and all commands, which takes seconds every time. Where
    a test is about importing, or about a fresh process, this is not for it.

    Args:
        code: what is run.
        words: behind it on the command line.
        environment: variables of the process, besides those of this one.
    """

    def __init__(self, code: str, *words: str, **environment: str) -> None:
        self._folder = tempfile.TemporaryDirectory()
        given = (code, words, {**os.environ, **environment}, os.getcwd(), self._folder.name)
        self._process = _FORKS.Process(target=_run, args=given, daemon=True)
        self._process.start()

    @property
    def stdout(self) -> str:
        """What it has printed so far."""
        return self._said("1")

    @property
    def stderr(self) -> str:
        return self._said("2")

    def wait(self) -> int:
        """Returns the exit code; less than 0 where a signal ended it."""
        self._process.join()
        assert self._process.exitcode is not None
        return self._process.exitcode

    def kill(self) -> None:
        self._process.kill()
        self._process.join()

    def wait_until(self, is_so: Callable[[], bool]) -> None:
        """Waits until something is so that the process brings about.

        Raises:
            AssertionError: the process has ended, and it is not.
        """
        while not is_so():
            assert self._process.is_alive() or is_so(), self.stderr
            time.sleep(0.05)

    def _said(self, name: str) -> str:
        file = Path(self._folder.name) / name
        return file.read_text() if file.exists() else ""


def _run(code: str, words: Sequence[str], environment: Mapping[str, str], folder: str, output: str) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    for descriptor in (1, 2):
        with open(Path(output) / str(descriptor), "wb") as file:
            os.dup2(file.fileno(), descriptor)
    sys.argv = ["-c", *words]
    exec(code, {"__name__": "__main__"})


def error_line(capsys: pytest.CaptureFixture[str], main: Callable[[Sequence[str]], None], words: Sequence[str]) -> str:
    """Returns the one line that a command says of a mistake; it must exit with 2."""
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    return lines[0]


def signalled_at(
    call: int,
    place: str,
    module: str,
    words: Sequence[str],
    number: signal.Signals = signal.SIGKILL,
    **environment: str,
) -> Python:
    """Returns a command that runs in a process of its own, where a signal strikes it at the n-th call of a function.

    A signal from outside would have to hit the moment, which it misses on a busy machine.

    Args:
        call: 1 is the first.
        place: where the function is looked up, such as "envise_tf.run:Run.write_log".
        module: whose `main` is the command.
        words: of its command line.
        number: the signal.
        environment: variables of that process.
    """
    return Python(_SIGNALLED, module, place, str(call), str(int(number)), *words, **environment)
