"""What --help shows: the flags by subject, each with its range and default."""

from __future__ import annotations

import argparse
import dataclasses
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from envise_tf.settings.places import Place
from envise_tf.settings.ranges import Within, annotated, hints
from envise_tf.settings.subjects import subjects

_COLUMN = 28
_METAVARS = {int: "N", float: "X", str: "TEXT", tuple: "[N,N,...]", dict: "YAML"}


def help_text(
    settings_class: type, command: str, about: str, presets: Sequence[str], switches: Mapping[str, str]
) -> str:
    """Returns the text of --help.

    Args:
        settings_class: the dataclass of the command's settings.
        command: as in `parsed`.
        about: what the command does.
        presets: their names, if the command has any.
        switches: as in `parsed`.
    """
    words = positional_names(settings_class)
    usage = f"{usage_of(settings_class, command)} [--FLAG VALUE ...]"
    parser = argparse.ArgumentParser(
        prog=command,
        usage=usage,
        description=about,
        add_help=False,
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=_COLUMN),
    )
    general = parser.add_argument_group("Command")
    for name, text in switches.items():
        general.add_argument(f"--{name}", help=text, action="store_true")
    for name, metavar, text in _general(presets):
        if metavar is None:
            general.add_argument(f"--{name}", help=text, action="store_true")
        else:
            general.add_argument(f"--{name}", help=text, metavar=metavar)
    defaults = {field.name: _default(field) for field in dataclasses.fields(settings_class)}
    for subject in subjects(settings_class):
        group = parser.add_argument_group(subject.title)
        for name, text in subject.texts.items():
            hint = hints(settings_class)[name]
            if name in words:
                group.add_argument(name.upper(), help=_escaped(text.rstrip(".")))
            else:
                text = _with_details(text, hint, defaults[name])
                optional = "?" if plain(hint) is bool else None
                group.add_argument(f"--{name}", metavar=_metavar(hint), nargs=optional, help=_escaped(text))
    return parser.format_help()


def usage_of(settings_class: type, command: str) -> str:
    """Returns the shortest form of a command: with the words that it needs, without flags."""
    return " ".join([f"python -m envise_tf.{command}", *(name.upper() for name in positional_names(settings_class))])


def positional_names(settings_class: type) -> list[str]:
    """Returns the settings without a default: they are given as words without a flag."""
    return [field.name for field in dataclasses.fields(settings_class) if _default(field) is dataclasses.MISSING]


def plain(hint: Any) -> Any:
    """Returns the type behind a setting's: without annotations, None, words in its place, and what is in a tuple."""
    if hasattr(hint, "__metadata__"):
        return plain(hint.__origin__)
    if _is_union(hint):
        return plain(next(part for part in typing.get_args(hint) if part is not type(None)))
    origin = typing.get_origin(hint)
    return origin if origin in (tuple, list, dict, Literal) else hint


def choices(hint: Any) -> tuple[str, ...]:
    """Returns the words of a Literal."""
    return typing.get_args(hint) if typing.get_origin(hint) is Literal else ()


def words_beside(hint: Any) -> tuple[str, ...]:
    """Returns the words that a setting takes in place of its numbers."""
    return tuple(word for part in typing.get_args(hint) for word in choices(part)) if _is_union(hint) else ()


def _is_union(hint: Any) -> bool:
    return typing.get_origin(hint) in (typing.Union, types.UnionType)


def _general(presets: Sequence[str]) -> list[tuple[str, str | None, str]]:
    runs = [
        ("preset", "NAME", f"settings to start from; given again, the later wins: {', '.join(presets)}"),
        ("resume", "RUN", "resume an interrupted run with its own settings"),
    ]
    return [
        *(runs if presets else ()),
        (
            "config",
            "FILE",
            f"YAML file of settings; flags override it{', and it overrides a preset' if presets else ''}",
        ),
        ("allow_code", None, "run code that a network's file holds, which is refused otherwise"),
        ("print_config", None, "print the settings as YAML that --config reads, and exit"),
        ("version", None, "print the version, and exit"),
        ("help", None, "show this text, and exit"),
    ]


def _default(field: dataclasses.Field[Any]) -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def _with_details(text: str, hint: Any, default: Any) -> str:
    """Returns a help text with range and default behind it."""
    within = annotated(hint, Within)
    details = [str(within)] if within is not None and plain(hint) in (int, float) else []
    if default is not None and not isinstance(default, Mapping):
        details.append(f"default {_shown(default)}")
    return f"{text.rstrip('.')} ({'; '.join(details)})" if details else text.rstrip(".")


def _shown(value: Any) -> str:
    """Returns a value as it is given on the command line."""
    if isinstance(value, tuple):
        return f"[{','.join(map(_shown, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _metavar(hint: Any) -> str:
    kind = plain(hint)
    if kind is Literal:
        return "{" + ",".join(choices(hint)) + "}"
    if kind is bool:
        return "true|false"
    if annotated(hint, Place) is not None and kind is str:
        return "PATH"
    return "|".join([_METAVARS[kind], *words_beside(hint)])


def _escaped(text: str) -> str:
    return text.replace("%", "%%")
