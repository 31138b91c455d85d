"""YAML files that go by a name: those shipped with the package by theirs, a user's own by its path."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.abc import Traversable
from pathlib import Path

import yaml

from envise_tf.errors import UserError, nearest_names


def shipped_texts(folder: Traversable) -> dict[str, str]:
    """Returns the text of each YAML file in a folder of the package, by its name without the ending."""
    files = [file for file in folder.iterdir() if file.name.endswith(".yaml")]
    return {file.name.removesuffix(".yaml"): file.read_text("utf-8") for file in files}


def place_of(error: yaml.YAMLError) -> str:
    """Returns " at line N" where a text stops being YAML, or "" where the parser does not say."""
    mark = getattr(error, "problem_mark", None)
    return f" at line {mark.line + 1}" if mark else ""


def named_text(name_or_path: str, shipped: Mapping[str, str], kind: str) -> tuple[str, str]:
    """Returns name and text of a shipped file, or of one at a path.

    Args:
        name_or_path: a name of `shipped`, or a path (with a folder or the ending .yaml or .yml).
        shipped: text by name.
        kind: what such a file holds, for errors: "scenario".

    Raises:
        UserError: nothing is shipped under that name, or the file cannot be read.
    """
    if name_or_path in shipped:
        return name_or_path, shipped[name_or_path]
    path = Path(name_or_path).expanduser()
    if path.suffix not in (".yaml", ".yml") and os.sep not in name_or_path:
        raise UserError(
            f"no {kind} is called {name_or_path}: expected a shipped one or the path of a YAML file; "
            + nearest_names(name_or_path, shipped)
        )
    try:
        return path.stem, path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise UserError(f"cannot read the {kind} file {path} ({reason}): expected a YAML file") from error
