"""Command lines, settings files, scenarios, phases and spaces that nobody meant."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from envise_tf.errors import UserError
from envise_tf.export.classify import ClassifySettings
from envise_tf.export.settings import ExportSettings, VerifySettings
from envise_tf.images.phases import load_phases
from envise_tf.images.scenario import load_scenario
from envise_tf.settings import (
    ConvertSettings,
    EvaluateSettings,
    StreamSettings,
    SweepSettings,
    TeachSettings,
    TrainSettings,
    as_yaml,
    parsed,
    settings_of_run,
)
from envise_tf.tuning.space import load_space
from trust.values import hostile

_CLASSES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_COMMANDS: dict[str, type] = {
    "train": TrainSettings,
    "teach": TeachSettings,
    "stream": StreamSettings,
    "tuning": SweepSettings,
    "evaluate": EvaluateSettings,
    "convert": ConvertSettings,
    "export": ExportSettings,
    "export.verify": VerifySettings,
    "export.classify": ClassifySettings,
}
_SCENARIO = "inlier: [zero, one, two]\noutlier: [three, four]\n"
_PHASES = "phases:\n- {prior: {zero: 0.5, one: 0.5}, images: 100}\n- {prior: {two: 1}, images: 50, change: 10}\n"
_SPACE = "learning_rate: {least: 0.001, most: 0.01, scale: log}\nobjectives.soft_label.temperature: [1.0, 2.0]\n"
_ALIASES = ", ".join("*a{} " for _ in range(10))
_BOMB = f"[&a0 x, {', '.join(f'&a{i} [{_ALIASES.format(*[i - 1] * 10)}]' for i in range(1, 10))}]"
"""Some hundred characters, whose last item holds a billion values."""
_SCALARS = (
    *("", "~", "yes", "0x", "0b2", "0o9", "1_000", "1:99:99", "2001-99-99", "2001-01-01t25:00:00Z", ".nan", "-.inf"),
    *("1e400", "9" * 5000, "1" + "0" * 400, "!!binary x", "!!float x", "!!int x", "!!timestamp x", "!!set {a}"),
    *("!!python/object/apply:os.system [ls]", "!unknown x", "!!pairs [a]", "!!omap [a]", "&a [*a]", "&a {b: *a}", "*b"),
    *(
        "'",
        '"',
        "{",
        "[",
        "}",
        "%",
        "@",
        "`",
        "|",
        ">",
        "- a",
        "? a",
        "a: b: c",
        "? [a]\n: b",
        "{[1]: 2}",
        "{{a: b}: c}",
    ),
    *('"\\ud800"', '"\\0"', "\u2028", "\ufeff", "\x00", "\x07", "<<: 1", "<<: [1]", "=", "---", "...", "--- a\n--- b"),
    "[" * 3000,
    "{a: " * 3000,
    "[" * 300 + "]" * 300,
    _BOMB,
)


class Feeder:
    """See `trust.feeding.Feeder`."""

    readings = 1

    def __init__(self, folder: Path, bundle: Path) -> None:
        self._folder = folder

    def made(self, seed: int) -> tuple[str, Callable[[], object]]:
        random = np.random.default_rng(seed)
        kind = list(_KINDS)[seed % len(_KINDS)]
        return kind, _KINDS[kind](random, self._folder)

    def read(self, given: Callable[[], object]) -> str | None:
        try:
            given()
        except UserError as error:
            return str(error)
        except SystemExit as ended:  # --help, --print_config
            return None if not ended.code else f"exit code {ended.code}"
        return None


def _command(random: np.random.Generator) -> tuple[str, type]:
    name = list(_COMMANDS)[random.integers(len(_COMMANDS))]
    return name, _COMMANDS[name]


def _from_file(random: np.random.Generator, folder: Path, text: str | bytes) -> Callable[[], object]:
    """Returns what reads a settings file, by --config or from a run that is resumed."""
    name, kind = _command(random)
    path = folder / "settings.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    if random.integers(4) == 0:
        return lambda: as_yaml(settings_of_run(kind, str(folder)))
    return lambda: _written(*parsed(kind, name, "", ["--config", str(path)]))


def _written(settings: Any, resumed: bool) -> str:
    return as_yaml(settings)


def _values(random: np.random.Generator, folder: Path) -> Callable[[], object]:
    """Settings that there are, with values that are none."""
    values = _valid(random)
    for name in random.choice(list(values), random.integers(1, 4)):
        values[str(name)] = hostile(random)
    return _from_file(random, folder, yaml.safe_dump(values, allow_unicode=bool(random.integers(2))))


def _scalars(random: np.random.Generator, folder: Path) -> Callable[[], object]:
    """Settings that there are, with odd YAML behind them."""
    values = _valid(random)
    name = str(random.choice(list(values)))
    return _from_file(random, folder, f"{name}: {_SCALARS[random.integers(len(_SCALARS))]}\n")


def _texts(random: np.random.Generator, folder: Path) -> Callable[[], object]:
    return _from_file(random, folder, _mangled(random, yaml.safe_dump(_valid(random))))


def _valid(random: np.random.Generator) -> dict[str, Any]:
    return yaml.safe_load(as_yaml((TrainSettings, StreamSettings, TeachSettings, SweepSettings)[random.integers(4)]()))


def _mangled(random: np.random.Generator, text: str) -> bytes:
    """Returns a text with bytes changed, removed, doubled or put in, or odd YAML put in."""
    content = bytearray(text.encode())
    for _ in range(random.integers(1, 8)):
        at, length = int(random.integers(len(content) + 1)), int(random.integers(1, 20))
        what = random.integers(5)
        if what == 0:
            content[at : at + 1] = random.bytes(1)
        elif what == 1:
            del content[at : at + length]
        elif what == 2:
            content[at:at] = content[at : at + length]
        elif what == 3:
            content[at:at] = random.choice(
                [b"\n", b" ", b"\t", b":", b"- ", b"{", b"[", b"&a ", b"*a", b"#", b"'", b"|"]
            )
        else:
            content[at:at] = _SCALARS[random.integers(len(_SCALARS))].encode("utf-8", "surrogatepass")
    return bytes(content)


def _line(random: np.random.Generator, folder: Path) -> Callable[[], object]:
    """A command line of flags that there are, or nearly, with values that are none."""
    name, kind = _command(random)
    flags = [*(field.name for field in dataclasses.fields(kind)), "preset", "resume", "config", "nothing", ""]
    words: list[str] = []
    for flag in random.choice(flags, random.integers(1, 5)):
        option = random.choice(["", "", "", ".weight", ".", ".a.b", "="])
        value = hostile(random) if random.integers(2) else _SCALARS[random.integers(len(_SCALARS))]
        text = value if isinstance(value, str) else json.dumps(value, default=str)
        words += [f"--{flag}{option}", *([] if random.integers(8) == 0 else [text.replace("\0", "")])]
    return lambda: _written(*parsed(kind, name, "", words))


def _file_of(text: str, load: Callable[[str], object]) -> Callable[[np.random.Generator, Path], Callable[[], object]]:
    """Returns what makes damaged files of a kind: their text mangled, or values in them replaced."""

    def made(random: np.random.Generator, folder: Path) -> Callable[[], object]:
        path = folder / "given.yaml"
        if random.integers(2):
            path.write_bytes(_mangled(random, text))
        else:
            content = yaml.safe_load(text)
            places = _places(content)
            for holder, key in [places[i] for i in random.integers(len(places), size=random.integers(1, 3))]:
                holder[key] = hostile(random)
            path.write_text(yaml.safe_dump(content), "utf-8")
        return lambda: load(str(path))

    return made


def _places(value: Any) -> list[tuple[Any, Any]]:
    keys = list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
    return [(value, key) for key in keys] + [place for key in keys for place in _places(value[key])]


_KINDS: dict[str, Callable[[np.random.Generator, Path], Callable[[], object]]] = {
    "settings file: values": _values,
    "settings file: YAML": _scalars,
    "settings file: mangled": _texts,
    "command line": _line,
    "scenario": _file_of(_SCENARIO, lambda path: load_scenario(path, _CLASSES)),
    "phases": _file_of(_PHASES, lambda path: load_phases(path, _CLASSES)),
    "space": _file_of(_SPACE, load_space),
}
