"""What tests of commands share."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence

import pytest

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
) -> subprocess.CompletedProcess[str]:
    """Returns a command that has ended, run in a process of its own; a signal struck it at the n-th call of a function.

    A signal from outside would have to hit the moment, which it misses on a busy machine.

    Args:
        call: 1 is the first.
        place: where the function is looked up, such as "envise_tf.run:Run.write_log".
        module: whose `main` is the command.
        words: of its command line.
        number: the signal.
        environment: variables of that process.
    """
    program = [sys.executable, "-c", _SIGNALLED, module, place, str(call), str(int(number)), *words]
    return subprocess.run(program, env=os.environ | environment, capture_output=True, text=True, check=False)
