"""YAML files: read by name or path, and checked against a schema; every mistake is told in one line.

A schema is one of JSON Schema. Each part of it that a user can get wrong says in its `description` what is expected.
"""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Mapping
from importlib.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from envise_tf.errors import UserError, nearest_names, shown

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError
    from jsonschema.protocols import Validator


_MOST_VALUES = 100_000
"""In one file: some lines with aliases of aliases can stand for billions."""

YAML_ERRORS = (yaml.YAMLError, ValueError, LookupError, TypeError, AttributeError, RecursionError)
"""What PyYAML raises: its own, and of days, times and numbers that there are not and too deep a nesting the others."""


def shipped_texts(folder: Traversable) -> dict[str, str]:
    """Returns the text of each YAML file in a folder of the package, by its name without the ending."""
    files = [file for file in folder.iterdir() if file.name.endswith(".yaml")]
    return {file.name.removesuffix(".yaml"): file.read_text("utf-8") for file in files}


def named_text(name_or_path: str, shipped: Mapping[str, str], kind: str) -> tuple[str, str]:
    """Returns name and text of a shipped file, or of one at a path.

    Args:
        name_or_path: a name of `shipped`, or a path (with a folder or the ending .yaml or .yml).
        shipped: text by name.
        kind: what such a file is, for errors: "scenario", "phase file".

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
    return path.stem, read_text(path, kind)


def read_text(path: Path, kind: str) -> str:
    """Returns the text of a file.

    Args:
        path: of the file.
        kind: what it is, for errors: "scenario".

    Raises:
        UserError: it cannot be read, or is not UTF-8.
    """
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise UserError(f"cannot read the {kind} {path} ({reason}): expected a YAML file") from error


def parsed_yaml(text: str, told: str, expected: str) -> Any:
    """Returns what a YAML text says.

    Args:
        text: of a file or a flag.
        told: what it is, for errors: "scenario farm".
        expected: what should be in it.

    Raises:
        UserError: it is not YAML, or its aliases stand for too many values, or for themselves.
    """
    try:
        content = yaml.safe_load(text)
        is_small = _size(content, {}) <= _MOST_VALUES
    except YAML_ERRORS as error:
        mark = getattr(error, "problem_mark", None)
        place = f" at line {mark.line + 1}" if mark else ""
        raise UserError(f"{told} is not YAML{place}: expected {expected}") from error
    if not is_small:
        raise UserError(f"{told} has aliases that stand for more than {_MOST_VALUES} values: expected {expected}")
    return content


def _size(content: Any, known: dict[int, int]) -> int:
    """Returns how many values there are in a content of YAML when all aliases are written out.

    Args:
        content: a value.
        known: sizes of those that have been counted, by identity: an alias is the same value once more.
    """
    if not isinstance(content, dict | list | tuple | set):
        return 1
    if id(content) not in known:
        known[id(content)] = _MOST_VALUES + 1  # in itself
        parts = [*content.keys(), *content.values()] if isinstance(content, dict) else content
        known[id(content)] = 1 + sum(_size(part, known) for part in parts)
    return known[id(content)]


def require_conforming(content: Any, schema: Mapping[str, Any], told: str) -> None:
    """Returns if a content of YAML keeps to a schema.

    Numbers must be finite, and whole numbers must be written as such.

    Args:
        content: as `parsed_yaml` returns it.
        schema: see the module.
        told: what the content is, for errors: "scenario farm".

    Raises:
        UserError: it does not; the first mistake is named with its key, the value given and what is expected.
    """
    from jsonschema.exceptions import best_match

    mistakes = list(_validator_class()(schema).iter_errors(content))
    # A mistyped key is both unknown and missing; only its name helps.
    unknown = [mistake for mistake in mistakes if mistake.validator == "additionalProperties"]
    if mistakes:
        raise UserError(f"{told}: {_mistake(best_match(unknown or mistakes))}")


@functools.cache
def _validator_class() -> type[Validator]:
    # Imported on demand: --help of a command needs none of it.
    from jsonschema import Draft202012Validator, validators

    def is_whole(_: Any, value: Any) -> bool:
        return type(value) is int

    def is_number(_: Any, value: Any) -> bool:
        return type(value) is int or (type(value) is float and math.isfinite(value))

    types = Draft202012Validator.TYPE_CHECKER.redefine_many({"integer": is_whole, "number": is_number})
    return validators.extend(Draft202012Validator, type_checker=types)


def _mistake(broken: ValidationError) -> str:
    schema, given = broken.schema, broken.instance
    if broken.validator == "additionalProperties":
        known = schema["properties"]
        unknown = next(key for key in given if key not in known)
        return f"unknown key '{unknown}'; {nearest_names(str(unknown), known)}"
    if broken.validator == "required":
        missing = [key for key in schema["required"] if key not in given]
        return f"{', '.join(missing)} missing, expected {schema['description']}"
    place = broken.json_path.removeprefix("$").removeprefix(".")
    return f"{f'{place} is ' if place else ''}{shown(given)}, expected {schema['description']}"
