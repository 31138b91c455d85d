"""The run directory: settings, checkpoints, log and result of one training, written so that a kill loses little."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from envise_tf import __version__
from envise_tf.errors import UserError, as_word, interruptible
from envise_tf.files import held, require_writable, whole
from envise_tf.settings import Settings, as_yaml, with_absolute_paths

_LEAST_FREE_BYTES = 500 * 2**20


@dataclass(frozen=True)
class Run:
    """A folder with settings.yaml, log.jsonl, checkpoints/, and at the end result.json and the networks.

    Responsible for paths and for writing whole files or none. Not for what is in them.
    """

    folder: Path

    @classmethod
    def planned(cls, settings: Settings, command: str) -> Run:
        """Returns the run in settings.out, or in runs/ under the time of day, without writing anything yet.

        Raises:
            UserError: the folder already holds a run, cannot be written, or its disk is nearly full.
        """
        folder = Path(settings.out or f"runs/{command}-{time.strftime('%Y%m%d-%H%M%S')}")
        run = cls(folder)
        run._require_none()
        require_writable(folder)
        existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        free = shutil.disk_usage(existing).free
        if free < _LEAST_FREE_BYTES:
            raise UserError(
                f"the disk of {existing} has {free >> 20} MiB free, expected {_LEAST_FREE_BYTES >> 20}: "
                "free some space, or choose another --out"
            )
        return run

    @contextlib.contextmanager
    def held(self, resumed: bool) -> Iterator[None]:
        """Keeps other processes from writing to the run for as long as the body runs.

        Args:
            resumed: whether there is a run already, else none may have begun there since it was planned.

        Raises:
            UserError: another process holds the run, or has begun one.
        """
        missing = [folder for folder in (self.folder, *self.folder.parents) if not folder.exists()]
        try:
            with held(self.folder / ".held", self.folder):
                if not resumed:
                    self._require_none()
                yield
        finally:
            with contextlib.suppress(OSError):
                for folder in missing:
                    folder.rmdir()  # where nothing was written after all

    def _require_none(self) -> None:
        if self.settings_file.exists():
            raise UserError(
                f"{self.folder} already holds a run: resume it with --resume {as_word(self.folder)}, "
                "or choose another --out"
            )

    def begin(self, settings: Settings) -> None:
        """Writes the settings; from here on the run can be resumed, so all that resuming needs is written before.

        Paths are written as absolute ones: the run may be resumed, evaluated and exported from another folder.
        """
        self.write(self.settings_file, as_yaml(with_absolute_paths(settings)))

    def resumable(self, command: str) -> AbstractContextManager[None]:
        """Returns a context in which Ctrl-C says how the run is resumed, once it has begun."""
        line = f"resume it with python -m envise_tf.{command} --resume {as_word(self.folder)}"
        return interruptible(lambda: line if self.settings_file.exists() else None)

    @property
    def settings_file(self) -> Path:
        return self.folder / "settings.yaml"

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @property
    def log_file(self) -> Path:
        return self.folder / "log.jsonl"

    def copy_state(self, folder: Path) -> None:
        """Copies all that resuming reads to another folder: log, checkpoints and the files of `write_json`."""
        for path in (self.log_file, *self.folder.glob("*.json")):
            if path.exists():
                shutil.copy(path, folder)
        if self.checkpoints.exists():
            shutil.copytree(self.checkpoints, folder / self.checkpoints.name)

    def write(self, path: Path, text: str) -> None:
        """Writes a file whole or not at all."""
        with whole(path) as unfinished:
            unfinished.write_text(text)

    def write_json(self, name: str, content: dict[str, Any]) -> None:
        """Writes content as RUN/name."""
        self.write(self.folder / name, json.dumps(content, indent=2) + "\n")

    def read_json(self, name: str) -> dict[str, Any]:
        """Returns the content of RUN/name."""
        return json.loads((self.folder / name).read_text())

    def save(self, name: str, write: Callable[[Path], object]) -> None:
        """Has RUN/name written, whole or not at all, by a function of a path, such as `model.save`."""
        with whole(self.folder / name) as unfinished:
            write(unfinished)

    def log(self, windows: int) -> list[dict[str, Any]]:
        """Returns the log's entries of the first `windows` windows, one per window."""
        if not self.log_file.exists():
            return []
        lines = self.log_file.read_text().splitlines()
        return [entry for entry in map(json.loads, lines) if entry["window"] < windows]

    def write_log(self, entries: list[dict[str, Any]]) -> None:
        """Writes all entries of the log; rewritten whole, so that a kill leaves no half line."""
        self.write(self.log_file, "".join(json.dumps(entry) + "\n" for entry in entries))


def provenance() -> dict[str, Any]:
    """Returns what made a result: versions, git commit, machine and date."""
    packages = ("tensorflow", "tf_keras", "larq", "numpy")
    return {
        "versions": {"envise_tf": __version__, "python": platform.python_version()}
        | {name: metadata.version(name) for name in packages},
        "git_commit": _git_commit(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "date": time.strftime("%Y-%m-%d"),
    }


def _git_commit() -> str | None:
    here = Path(__file__).parent
    try:
        done = subprocess.run(["git", "-C", here, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
