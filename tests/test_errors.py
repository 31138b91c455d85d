"""What an interrupted command says."""

import pytest

from envise_tf.errors import Interrupted, interruptible, reports_user_errors


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
