"""Settings read from presets, YAML files and the command line, and written down again as YAML."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import resources
from importlib.abc import Traversable
from pathlib import Path
from typing import Any, NoReturn, TypeAlias, TypeVar, get_args, get_type_hints

import yaml
from jsonargparse import ArgumentError, ArgumentParser

from envise_tf import __version__
from envise_tf.errors import UserError, nearest_names, shown
from envise_tf.named_files import YAML_ERRORS, parsed_yaml, read_text
from envise_tf.permissions import allow_code
from envise_tf.settings.help import choices, help_text, plain, positional_names, usage_of, words_beside
from envise_tf.settings.ranges import hints, require_in_range
from envise_tf.settings.stream import StreamSettings
from envise_tf.settings.subjects import ordered_names
from envise_tf.settings.teach import TeachSettings
from envise_tf.settings.train import SweepSettings, TrainSettings

Settings: TypeAlias = TeachSettings | TrainSettings | SweepSettings | StreamSettings

SettingsT = TypeVar("SettingsT")

_EXPECTED = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    tuple: "a list of whole numbers, such as [32,64]",
    list: "a list",
    dict: "names with their values, such as {name: value}",
}
_ENDING = ("help", "version", "print_config")
"""Flags without a value, after which the process ends."""
_ALLOWING = "allow_code"


def preset_names(command: str) -> list[str]:
    """Returns the names of the presets of a command; none for a command that has no presets."""
    folder = _preset_folder(command)
    return sorted(file.name.removesuffix(".yaml") for file in folder.iterdir()) if folder.is_dir() else []


def preset_file(command: str, name: str) -> Path:
    """Returns the YAML file of a preset.

    Raises:
        UserError: no such preset.
    """
    if name not in preset_names(command):
        raise UserError(f"no preset of {command} is called {name}: {nearest_names(name, preset_names(command))}")
    return Path(str(_preset_folder(command) / f"{name}.yaml"))


def parsed(
    settings_class: type[SettingsT],
    command: str,
    about: str,
    argv: Sequence[str] | None = None,
    switches: Mapping[str, str] | None = None,
) -> tuple[SettingsT, bool]:
    """Returns the settings that a command line asks for, and whether they are those of a run to resume.

    Presets are read first, then --config, then every other flag; the later wins. Settings without a default are words
    without a flag; if such a setting is a list, it takes all that are left. A flag of a bool needs no value. --help,
    --version and --print_config print and end the process. --allow_code is no setting, and no run remembers it: see
    `networks.code`.

    Args:
        settings_class: which settings the command has.
        command: "train", "teach --student", "export.verify"; its last word is the folder of its presets, if it has any.
        about: what the command does, for --help.
        argv: the words of the command line; None takes the process'.
        switches: what each flag without a value does that the command itself takes off the line beforehand. They are
            here for --help, and for whoever mistypes one.

    Raises:
        UserError: an unknown flag, setting or preset, a value of the wrong type or out of its range, a missing word, or
            --resume beside other flags.
    """
    presets, switches = preset_names(command), switches or {}
    readable = [*(("preset", "resume") if presets else ()), "config"]
    try:
        line = _command_line(settings_class, readable, switches, list(sys.argv[1:] if argv is None else argv))
    except UserError as error:
        raise UserError(f"{error}; see python -m envise_tf.{command} --help") from None
    if "help" in line.ending:
        _printed(help_text(settings_class, command, about, presets, switches))
    if "version" in line.ending:
        _printed(f"envise-tf {__version__}\n")
    if "resume" in line.read:
        if line.flags or line.bare or line.presets or len(line.read) > 1:
            raise UserError("--resume takes the folder of a run and no other flag: its settings are those of the run")
        return settings_of_run(settings_class, line.read["resume"]), True
    settings = settings_class(**_values(settings_class, command, line))
    if "print_config" in line.ending:
        _printed(as_yaml(settings))
    return settings, False


def settings_of_run(settings_class: type[SettingsT], folder: str) -> SettingsT:
    """Returns the settings that a run was begun with; `out` is the folder.

    Raises:
        UserError: the folder holds no run, or its settings are none of this version.
    """
    path = Path(folder) / "settings.yaml"
    if not path.is_file():
        raise UserError(f"{folder} holds no run to resume: expected {path}")
    return settings_class(**{**_of_file(settings_class, path), "out": folder})


def as_yaml(settings: Any) -> str:
    """Returns the settings as a YAML text that --config reads."""
    values = asdict(settings)
    plain_values = {name: values[name] for name in ordered_names(type(settings))}
    return yaml.safe_dump(
        {key: list(value) if isinstance(value, tuple) else value for key, value in plain_values.items()},
        sort_keys=False,
    )


def checked_value(settings_class: type, name: str, given: Any, told: str) -> Any:
    """Returns a value as its setting takes it: a text from the command line or what YAML says, a list as tuple.

    Args:
        settings_class: that has the setting.
        name: of the setting.
        given: the value.
        told: how the error begins.

    Raises:
        UserError: it is of the wrong type, or out of its range.
    """
    hint = hints(settings_class)[name]
    try:
        value = _converter(settings_class, name).parse_object({name: given})[name]
    except (ArgumentError, ArithmeticError, *YAML_ERRORS):
        raise UserError(f"{told} expected {_expected(hint)}") from None
    if value is None and type(None) not in get_args(hint):
        raise UserError(f"{told} expected {_expected(hint)}")
    require_in_range(settings_class, name, value, told)
    return value


def _printed(text: str) -> NoReturn:
    print(text, end="")
    sys.exit()


# --- The command line -------------------------------------------------------------------------------------------------


@dataclass
class _CommandLine:
    """The words of a command line.

    Attributes:
        ending: flags after which the process ends.
        presets: their names, the first first.
        read: config or resume, with what they name.
        flags: settings, dotted where an option of one is meant, with their values as given.
        bare: words without a flag.
    """

    ending: set[str] = field(default_factory=set)
    presets: list[str] = field(default_factory=list)
    read: dict[str, str] = field(default_factory=dict)
    flags: list[tuple[str, str]] = field(default_factory=list)
    bare: list[str] = field(default_factory=list)


def _command_line(
    settings_class: type, readable: Sequence[str], switches: Iterable[str], words: Sequence[str]
) -> _CommandLine:
    line = _CommandLine()
    kinds = {name: plain(hint) for name, hint in hints(settings_class).items()}
    left = ["--help" if word == "-h" else word for word in words][::-1]
    while left:
        word = left.pop()
        if not word.startswith("--"):
            line.bare.append(word)
            continue
        name, equals, value = word[2:].partition("=")
        setting, _, option = name.partition(".")
        if name in _ENDING:
            line.ending.add(name)
            continue
        if name == _ALLOWING:
            allow_code()
            continue
        if name not in readable and (setting not in kinds or (option and kinds[setting] is not dict)):
            known = [f"--{flag}" for flag in (*_ENDING, _ALLOWING, *readable, *switches, *kinds)]
            raise UserError(f"no flag is called --{name}; {nearest_names(f'--{name}', known)}")
        if not equals and kinds.get(name) is bool:
            value = left.pop() if left and left[-1].lower() in ("true", "false") else "true"
        elif not equals and not left:
            raise UserError(f"--{name} given without a value")
        elif not equals:
            value = left.pop()
        if name == "preset" and name in readable:
            line.presets.append(value)
        elif name in readable:
            line.read[name] = value
        else:
            line.flags.append((name, value))
    return line


def _values(settings_class: type, command: str, line: _CommandLine) -> dict[str, Any]:
    """Returns the value of each setting that is given, by its name: of presets, the file, the flags, the words."""
    values: dict[str, Any] = {}
    for preset in line.presets:
        values |= _of_file(settings_class, preset_file(command, preset))
    if "config" in line.read:
        values |= _of_file(settings_class, Path(line.read["config"]).expanduser())
    words = positional_names(settings_class)
    named: dict[str, Any] = {}
    for name, text in line.flags:
        key, _, option = name.partition(".")
        told = f"--{name} {text} given:"
        given: Any = text
        if key in words and plain(hints(settings_class)[key]) is list and not text.startswith("["):
            # What the shell has made of a pattern: its first word stands behind the flag, the others without one.
            given = [*named.get(key, []), text]
        if option:
            # An option leaves the others of its setting as they are.
            given = _merged(values.get(key, _default(settings_class, key)) or {}, _nested(option, text, told))
        named[key] = values[key] = checked_value(settings_class, key, given, told)
    return values | _positional(settings_class, command, line.bare, values, named)


def _positional(
    settings_class: type, command: str, bare: list[str], values: dict[str, Any], named: dict[str, Any]
) -> dict[str, Any]:
    """Returns the settings that stand without a flag; `named` are those that have had one, of all `values`."""
    words, found = list(bare), {}
    for name in positional_names(settings_class):
        is_list = plain(hints(settings_class)[name]) is list
        taken = words if is_list else [] if name in named else words[:1]
        if taken:
            found[name] = [*named.get(name, []), *taken] if is_list else taken[0]
            words = words[len(taken) :]
        elif name not in values:
            raise UserError(f"no {name} given: expected {usage_of(settings_class, command)}")
    if words:
        raise UserError(f"{words[0]} given: expected a flag before it; see python -m envise_tf.{command} --help")
    return found


def _nested(option: str, text: str, told: str) -> dict[str, Any]:
    """Returns "a.b" and a YAML text as {a: {b: value}}."""
    value = parsed_yaml(text, told, "a value")
    for key in reversed(option.split(".")):
        value = {key: value}
    return value


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merged(merged[key], value) if both else value
    return merged


# --- Files and types --------------------------------------------------------------------------------------------------


def _of_file(settings_class: type, path: Path) -> dict[str, Any]:
    """Returns the settings that a YAML file gives, by name."""
    content = parsed_yaml(read_text(path, "settings file"), str(path), "settings by name")
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no settings: expected them by name, such as seed: 1")
    known = hints(settings_class)
    for name in content:
        if name not in known:
            raise UserError(f"{path} has the unknown setting {name}; {nearest_names(str(name), known)}")
    return {
        name: checked_value(settings_class, name, given, f"{path}: {name} is {shown(given)},")
        for name, given in content.items()
    }


@functools.cache
def _converter(settings_class: type, name: str) -> ArgumentParser:
    # A parser for each setting: one for all would go through all of them for each.
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument(f"--{name}", type=get_type_hints(settings_class)[name])
    return parser


def _expected(hint: Any) -> str:
    words = choices(hint)
    return f"one of {', '.join(words)}" if words else " or ".join([_EXPECTED[plain(hint)], *words_beside(hint)])


def _default(settings_class: type, name: str) -> Any:
    return getattr(settings_class(), name)


def _preset_folder(command: str) -> Traversable:
    name = command.split()[-1].lstrip("-")
    # The trials of a sweep are trainings.
    return resources.files("envise_tf") / "presets" / ("train" if name == "tuning" else name)
