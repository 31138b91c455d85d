import os
import subprocess
import sys
from pathlib import Path

import pytest

from envise_tf.errors import UserError
from envise_tf.files import held, require_writable, whole


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def calls(monkeypatch) -> list[tuple[str, str]]:
    """What is flushed and renamed, in order, by name; both are still done."""
    found: list[tuple[str, str]] = []
    fsync, replace = os.fsync, Path.replace

    def flushed(descriptor: int) -> None:
        found.append(("fsync", os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}"))))
        fsync(descriptor)

    def renamed(path: Path, target: Path) -> Path:
        found.append(("rename", target.name))
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(Path, "replace", renamed)
    return found


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="no /proc to name what is flushed")
def test_a_file_is_on_the_disk_before_it_gets_its_name_and_the_name_after(tmp_path, calls):
    with whole(tmp_path / "a.txt") as path:
        path.write_text("a")
    assert calls == [("fsync", "unfinished.a.txt"), ("rename", "a.txt"), ("fsync", tmp_path.name)]
    assert (tmp_path / "a.txt").read_text() == "a"
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="no /proc to name what is flushed")
def test_everything_in_a_folder_is_on_the_disk_before_it_gets_its_name(tmp_path, calls):
    with whole(tmp_path / "folder") as path:
        (path / "deep").mkdir(parents=True)
        (path / "deep" / "b").write_text("b")
    rename = calls.index(("rename", "folder"))
    assert set(calls[:rename]) == {("fsync", "b"), ("fsync", "deep"), ("fsync", "unfinished.folder")}
    assert calls[rename + 1 :] == [("fsync", tmp_path.name)]


def test_what_fails_leaves_what_was_there(tmp_path):
    def write_half() -> None:
        with whole(tmp_path / "a.txt") as path:
            path.write_text("new")
            raise ZeroDivisionError

    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(ZeroDivisionError):
        write_half()
    assert (tmp_path / "a.txt").read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    for content in ("old", "new"):
        with whole(tmp_path / "folder") as path:
            path.mkdir()
            (path / content).touch()
    assert names(tmp_path) == ["folder"]
    assert names(tmp_path / "folder") == ["new"]


def test_what_a_killed_process_left_is_no_part_of_the_next(tmp_path):
    (tmp_path / "unfinished.folder").mkdir()
    (tmp_path / "unfinished.folder" / "left").touch()
    with whole(tmp_path / "folder") as path:
        path.mkdir()
    assert names(tmp_path / "folder") == []


def test_another_folder_may_hold_what_is_unfinished(tmp_path):
    (tmp_path / "shown").mkdir()
    with whole(tmp_path / "shown" / "a", beside=tmp_path) as path:
        path.mkdir()
        assert names(tmp_path / "shown") == []
    assert names(tmp_path / "shown") == ["a"]


def test_a_place_that_takes_no_files_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file/out: .*/file is a file; expected a folder"):
        require_writable(tmp_path / "file" / "out")
    require_writable(tmp_path / "new" / "out")
    assert names(tmp_path) == ["file"]


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="no file system that nobody can write to")
def test_a_file_system_that_takes_no_files_is_told():
    with pytest.raises(UserError, match="cannot write /proc/run: /proc takes no files"):
        require_writable(Path("/proc/run"))


HOLD = """
import sys, pathlib
from envise_tf.files import held
with held(pathlib.Path(sys.argv[1]), pathlib.Path("it")):
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_what_a_process_holds_another_is_told_and_gets_when_it_has_ended_however(tmp_path):
    lock = tmp_path / "lock"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", HOLD, str(lock)], **pipes) as holder:
        assert holder.stdout.readline() == b"held\n"
        told = rf"it is held by process {holder.pid} on \S+: wait until that has ended, or choose another --out$"
        with pytest.raises(UserError, match=told), held(lock, Path("it")):
            pass
        holder.kill()
    assert lock.exists()  # it was killed
    with held(lock, Path("it")):
        assert lock.read_text().startswith(f"process {os.getpid()} on ")
    assert names(tmp_path) == []


def test_a_lock_that_its_last_holder_has_removed_holds_nobody(tmp_path, monkeypatch):
    import fcntl

    lock, flock = tmp_path / "lock", fcntl.flock

    def removed_first(file, how: int) -> None:
        flock(file, how)
        monkeypatch.undo()
        lock.unlink()

    monkeypatch.setattr(fcntl, "flock", removed_first)
    with held(lock, Path("it")), pytest.raises(UserError, match="it is held by process"), held(lock, Path("it")):
        pass
