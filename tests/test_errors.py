"""What an interrupted command says, and what an error looks like."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from envise_tf.errors import Interrupted, UserError, as_word, interruptible, reports_user_errors, shown


def interrupted(*left: str | None) -> None:
    """Raises what Ctrl-C becomes in works inside one another, the outermost last."""
    if not left:
        raise KeyboardInterrupt
    with interruptible(lambda: left[-1]):
        interrupted(*left[:-1])


@pytest.mark.parametrize(
    ("left", "said"),
    [
        (("inner",), "inner"),
        (("inner", "outer"), "outer"),
        (("inner", None), "inner"),
        ((None, "outer"), "outer"),
        ((None,), "nothing"),
        ((), "nothing"),
    ],
)
def test_the_outermost_work_of_which_something_is_left_says_what_to_do(left, said, capsys):
    command = reports_user_errors("resume it somehow", before="nothing")(lambda: interrupted(*left))
    with pytest.raises(SystemExit) as stop:
        command()
    assert stop.value.code == 130
    assert capsys.readouterr().err == f"interrupted; {said}\n"


def test_a_command_without_such_work_says_what_is_left_of_it(capsys):
    with pytest.raises(SystemExit):
        reports_user_errors("start again")(interrupted)()
    assert capsys.readouterr().err == "interrupted; start again\n"


def test_other_errors_pass():
    with pytest.raises(ValueError, match="other"), interruptible(lambda: "left"):
        raise ValueError("other")
    with pytest.raises(Interrupted, match="left"), interruptible(lambda: "left"):
        raise KeyboardInterrupt


def test_an_error_is_one_line_of_a_length_that_can_be_read():
    line = str(UserError("a\nb " + 2000 * "x" + " end"))
    assert line.startswith("a b xxx")
    assert line.endswith("xxx end")
    assert len(line) < 1100


def test_a_long_value_is_shown_by_its_beginning():
    assert shown("text") == "'text'"
    assert len(shown(["x" * 10_000] * 10_000)) < 1500


def test_what_fails_again_at_the_end_is_not_told_a_second_time():
    program = """
from envise_tf.errors import UserError, reports_user_errors
class Broken:
    def __del__(self): raise OSError("no space")
kept = Broken()
@reports_user_errors("")
def command(): raise UserError("the disk is full")
command()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stderr == "error: the disk is full\n"


@pytest.mark.parametrize("folder", ["runs/mine", "runs/EfficientNet Lite, deep stem", "runs/it's"])
def test_a_line_that_says_what_to_run_is_read_by_a_shell_as_it_was_meant(folder):
    assert shlex.split(f"python -m envise_tf.evaluate {as_word(Path(folder))}")[3:] == [folder]
