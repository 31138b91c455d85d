"""Settings read from presets, YAML files and the command line, and written down again as YAML."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib import resources
from importlib.abc import Traversable
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import yaml
from jsonargparse import ActionConfigFile, ArgumentError, ArgumentParser

from envise_tf.errors import UserError, nearest_names
from envise_tf.settings.commands import EvaluateSettings, StreamSettings, SweepSettings, TeachSettings, TrainSettings

Settings: TypeAlias = TeachSettings | TrainSettings | SweepSettings | StreamSettings


SettingsT = TypeVar("SettingsT", TeachSettings, TrainSettings, SweepSettings, StreamSettings)


PlainT = TypeVar("PlainT")


def preset_names(command: str) -> list[str]:
    """Returns the names of the presets of a command ("train", "teach" or "stream")."""
    return sorted(file.name.removesuffix(".yaml") for file in _preset_folder(command).iterdir())


def preset_file(command: str, name: str) -> Path:
    """Returns the YAML file of a preset.

    Raises:
        UserError: no such preset.
    """
    if name not in preset_names(command):
        raise UserError(f"no preset of {command} is called {name}: {nearest_names(name, preset_names(command))}")
    return Path(str(_preset_folder(command) / f"{name}.yaml"))


def parsed(
    settings_class: type[SettingsT], command: str, about: str, argv: Sequence[str] | None = None
) -> tuple[SettingsT, bool]:
    """Returns the settings that a command line asks for, and whether they are those of a run to go on with.

    A preset is read first, then --config, then every other flag; the later wins. With --print_config the settings
    are printed as YAML and the process ends.

    Args:
        settings_class: which settings the command has.
        command: "train", "teach", "teach --student" or "stream"; its last word is the folder of its presets.
        about: what the command does, for --help.
        argv: the words of the command line; None takes the process'.

    Raises:
        UserError: an unknown flag or preset, a value of the wrong type, or --resume beside other flags.
    """
    words: list[str] = list(sys.argv[1:] if argv is None else argv)
    if "--resume" in words:
        if len(words) != 2 or words[0] != "--resume":
            raise UserError("--resume takes the folder of a run and no other flag: its settings are those of the run")
        return settings_of_run(settings_class, words[1]), True
    printing = "--print_config" in words
    words, options = _nested_options([word for word in words if word != "--print_config"])
    parser = _parser(settings_class, command, about)
    try:
        chosen = argparse.ArgumentParser(add_help=False)
        chosen.add_argument("--preset")
        name = chosen.parse_known_args(words)[0].preset
        if name is not None:
            words = ["--config", str(preset_file(command, name)), *words]
        values = _merged(parser.parse_args(words).as_dict(), options)
    except _MISTAKES as error:
        raise _unparsed(error, command) from None
    settings = settings_class(**{field.name: values[field.name] for field in dataclasses.fields(settings_class)})
    if printing:
        print(as_yaml(settings), end="")
        sys.exit()
    return settings, False


def parsed_plain(
    settings_class: type[PlainT],
    command: str,
    about: str,
    argv: Sequence[str] | None = None,
    several: Mapping[str, str] | None = None,
) -> PlainT:
    """Returns the settings of a command without presets; its first word is the setting that has no default.

    Args:
        settings_class: a dataclass.
        command: "evaluate", "export" or "export.verify".
        about: what the command does, for --help.
        argv: the words of the command line; None takes the process'.
        several: the setting that takes all further words, and its help.

    Raises:
        UserError: the first word is missing, an unknown flag, or a value of the wrong type.
    """
    parser = ArgumentParser(prog=f"python -m envise_tf.{command}", description=about, exit_on_error=False)
    several = several or {}
    parser.add_class_arguments(settings_class, as_positional=True, skip=set(several))
    for name, help_text in several.items():
        parser.add_argument(name, nargs="+", help=help_text)
    try:
        return settings_class(**parser.parse_args(argv).as_dict())
    except _MISTAKES as error:
        raise _unparsed(error, command) from None


_MISTAKES = (ArgumentError, TypeError, ValueError, KeyError)
"""What the parser raises when a command line does not fit the settings."""


def _unparsed(error: Exception, command: str) -> UserError:
    return UserError(f"{' '.join(str(error).split())}; see python -m envise_tf.{command} --help")


def as_yaml(settings: Settings | EvaluateSettings) -> str:
    """Returns the settings as a YAML text that --config reads."""
    values = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(settings).items()}
    return yaml.safe_dump(values, sort_keys=False)


def settings_of_run(settings_class: type[SettingsT], folder: str) -> SettingsT:
    """Returns the settings that a run was begun with; `out` is the folder.

    Raises:
        UserError: the folder holds no run.
    """
    path = Path(folder) / "settings.yaml"
    if not path.is_file():
        raise UserError(f"{folder} holds no run to go on with: expected {path}")
    values = _parser(settings_class, "", "").parse_path(path).as_dict()
    values["out"] = folder
    return settings_class(**{field.name: values[field.name] for field in dataclasses.fields(settings_class)})


def _parser(settings_class: type[SettingsT], command: str, about: str) -> ArgumentParser:
    parser = ArgumentParser(prog=f"python -m envise_tf.{command}", description=about, exit_on_error=False)
    parser.add_argument("--config", action=ActionConfigFile, help="YAML file of settings")
    if command:
        parser.add_argument("--preset", help=f"settings to start from: {', '.join(preset_names(command))}")
    parser.add_argument("--resume", metavar="RUN", help="go on with an interrupted run")
    parser.add_class_arguments(settings_class)
    return parser


def _nested_options(words: list[str]) -> tuple[list[str], dict[str, Any]]:
    """Returns the words without `--objectives.NAME.OPTION VALUE`, and these as nested dicts.

    The parser would let such a flag replace all options of its objective; here the others stay as preset.
    """
    rest: list[str] = []
    options: dict[str, Any] = {}
    remaining = iter(words)
    for word in remaining:
        flag, equals, value = word.partition("=")
        keys = flag.removeprefix("--").split(".")
        if len(keys) == 3 and keys[0] == "objectives":
            value = value if equals else next(remaining, "")
            options = _merged(options, {keys[0]: {keys[1]: {keys[2]: yaml.safe_load(value)}}})
        else:
            rest.append(word)
    return rest, options


def _merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merged(merged[key], value) if both else value
    return merged


def _preset_folder(command: str) -> Traversable:
    name = command.split()[-1].lstrip("-")
    # The trials of a sweep are trainings.
    return resources.files("envise_tf") / "presets" / ("train" if name == "tuning" else name)
