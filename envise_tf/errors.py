"""The error that a user can correct, and how a command reports it."""

from __future__ import annotations

import difflib
import errno
import functools
import reprlib
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

_LONGEST_LINE = 1000
"""Characters; what was given may be a whole file, or a text of many lines."""


class UserError(Exception):
    """A mistake in what the user gave: one line that says what was given, what was expected and what to do."""

    # Not in __init__: an exception with one of its own becomes another where TensorFlow's AutoGraph passes it on.
    def __str__(self) -> str:
        line, half = " ".join(super().__str__().splitlines()), _LONGEST_LINE // 2
        return line if len(line) <= _LONGEST_LINE else f"{line[:half]} ... {line[-half:]}"


_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxdict, _SHORT.maxlist, _SHORT.maxtuple = 4, 10, 10, 10
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 100


class Interrupted(KeyboardInterrupt):
    """Ctrl-C in a work of which something is left: one line that says what to do with it."""


@contextmanager
def interruptible(left: Callable[[], str | None]) -> Iterator[None]:
    """Has Ctrl-C say what is left of the work inside; of works inside one another, the outer one speaks.

    Args:
        left: asked when it happens; what to do with what is left, or None where nothing is.

    Raises:
        Interrupted: instead of a KeyboardInterrupt, where something is left.
    """
    try:
        yield
    except KeyboardInterrupt:
        line = left()
        if line is None:
            raise
        raise Interrupted(line) from None


def nearest_names(name: str, known: Iterable[str]) -> str:
    """Returns "nearest: a, b" for the known names most like `name`, or the first known ones when none is alike."""
    known = sorted(known)
    alike = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    return f"nearest: {', '.join(alike)}" if alike else f"known: {', '.join(known[:10])}"


def some_of(names: Sequence[str]) -> str:
    """Returns the first five names for a line of text, and how many more there are."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def shown(value: object) -> str:
    """Returns a value as Python writes it, in one line; of a long one, its beginning.

    The aliases of some lines of YAML can stand for billions of values, which are not written out.
    """
    return _SHORT.repr(value)


def as_word(path: object) -> str:
    """Returns a path as a shell takes it for one word, for a line that says what to run."""
    return shlex.quote(str(path))


def reason_of(error: BaseException) -> str:
    """Returns what an error of a library says, in one line of at most 160 characters."""
    return " ".join(str(error).split())[:160]


NOTHING_LEFT = "there is nothing to resume"


def reports_user_errors(after: str, before: str | None = None) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Returns a decorator that turns every user's mistake in a command into one line on stderr and exit code 2.

    A full disk and a missing permission count as such, wherever they strike. Ctrl-C exits with 130.

    Args:
        after: what is left of an interrupted command, or what to do then.
        before: the same where Ctrl-C came outside of all that is `interruptible`; None says `after`.
    """

    def decorator(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def wrapped(*args: object, **kwargs: object) -> None:
            try:
                command(*args, **kwargs)
            except UserError as error:
                _exit(str(error))
            except KeyboardInterrupt as stop:
                left = str(stop) if isinstance(stop, Interrupted) else before or after
                print(f"interrupted; {left}", file=sys.stderr)
                sys.exit(130)
            except Exception as error:
                line = storage_problem(error, after)
                if line is None:
                    raise
                _exit(line)

        return wrapped

    return decorator


def storage_problem(error: BaseException, after: str) -> str | None:
    """Returns one line for an error of the file system (full, read-only, forbidden, no such place), else None.

    TensorFlow wraps the system's error in its own classes, so its text is looked at too.

    Args:
        error: any.
        after: as in `reports_user_errors`.
    """
    text = str(error).splitlines()[0] if str(error) else ""
    number = error.errno if isinstance(error, OSError) else None
    if number in (errno.ENOSPC, errno.EDQUOT) or "No space left" in text:
        return f"the disk is full ({text}): free some space; {after}"
    if number in (errno.EACCES, errno.EPERM, errno.EROFS) or "Permission denied" in text:
        return f"no permission to write ({text}): choose another --out"
    if number in (errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG):
        return f"nothing can be written there ({text}): expected a folder for a run or a bundle; choose another --out"
    return None


def _exit(line: str) -> None:
    print(f"error: {line}", file=sys.stderr)
    # A library that has lost its disk may fail once more as its files are closed at the end: all is said.
    sys.unraisablehook = lambda _: None
    sys.exit(2)
