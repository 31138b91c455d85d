"""What tests of commands share."""

from collections.abc import Callable, Sequence

import pytest


def error_line(capsys: pytest.CaptureFixture[str], main: Callable[[Sequence[str]], None], words: Sequence[str]) -> str:
    """Returns the one line that a command says of a mistake; it must exit with 2."""
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    return lines[0]
