"""Files and folders that are written whole or not at all, whatever kills the process, and by one process at a time."""

from __future__ import annotations

import errno
import fcntl
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from envise_tf.errors import UserError


@contextmanager
def whole(path: Path, beside: Path | None = None) -> Iterator[Path]:
    """Yields a path at which to write a file or a folder, and gives it the name `path` once that went well.

    What was written is flushed to the disk before it is renamed, and the rename after it: without the first, a power
    cut could leave an empty file under the final name. If the body raises, whatever it wrote is removed.

    Args:
        path: the final name; a file or folder that has it is replaced. Its parent is made if it is missing.
        beside: a folder of the same file system to write in; None is the parent of `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The ending stays, because Keras tells the format from it.
    unfinished, replaced = ((beside or path.parent) / f"{what}.{path.name}" for what in ("unfinished", "replaced"))
    _remove(unfinished)
    try:
        yield unfinished
        _flush(unfinished)
        if path.is_dir():
            _remove(replaced)
            path.rename(replaced)  # a folder cannot be renamed to one that has content
        unfinished.replace(path)
        _flush_entry(path.parent)
        _remove(replaced)
    finally:
        _remove(unfinished)


@contextmanager
def held(lock: Path, what: Path) -> Iterator[None]:
    """Keeps other processes from writing to a file or folder for as long as the body runs.

    The lock is the kernel's [flock(2)], so it ends with the process however that ends. On a file system without locks
    nobody is kept out.

    Args:
        lock: a file that says who holds it; made here and removed at the end.
        what: is held, for the error.

    Raises:
        UserError: another process holds it.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    with _locked(lock, what) as file:
        file.write(f"process {os.getpid()} on {platform.node()}")
        file.flush()
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


def _locked(lock: Path, what: Path) -> TextIO:
    while True:
        file = lock.open("a+", encoding="utf-8")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            with file:
                holder = file.read() or "another process"
            raise UserError(f"{what} is held by {holder}: wait until that has ended, or choose another --out") from None
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP):
                raise
        if lock.exists() and os.path.samestat(os.fstat(file.fileno()), lock.stat()):
            file.truncate(0)
            return file
        file.close()  # its last holder has removed it meanwhile


def require_writable(path: Path) -> None:
    """Returns if `path` can be written, or made with all its missing parents.

    Raises:
        UserError: a file is in the way, or the folder is read-only.
    """
    existing = next(parent for parent in path.absolute().parents if parent.exists())
    folder = path if path.is_dir() else existing
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {folder} {_trouble(folder, error)}; expected a folder with write permission; "
            "choose another --out"
        ) from None


def _trouble(folder: Path, error: OSError) -> str:
    return f"takes no files ({error.strerror})" if folder.is_dir() else "is a file"


def _flush(path: Path) -> None:
    """Has a file, or all that is in a folder, written to the disk."""
    if path.is_dir():
        for entry in path.iterdir():
            _flush(entry)
    _flush_entry(path)


def _flush_entry(path: Path) -> None:
    """Has a file's content, or a folder's list of names, written to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
