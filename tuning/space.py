"""Search spaces: which settings a sweep varies, and over which values.

A space is a YAML file, shipped in `spaces/` or the user's own. Each key is a setting of `TrainSettings`, or an option
of an objective as objectives.NAME.OPTION. A list names choices, a mapping a range, both ends included:

    objectives.attention_triplet.margin: {least: 0.1, most: 1.5}
    objectives.attention_triplet.anchor: [student, teacher]
    learning_rate: {least: 0.0003, most: 0.01, scale: log}        # every factor of ten gets as many trials
    window: {least: 1000, most: 4000, step: 1000}                 # 1000, 2000, 3000 or 4000
    blocks: [[2, 2, 2], [4, 4, 4]]

Everything is checked before the first trial, by what checks it in a single training wherever there is such a thing:
the parser of settings, the objective that is made of the options, the function that builds the student.

How it is told to KerasTuner [our choice]: choices as texts, since its Choice takes no lists and makes integers of
booleans; a range with a step as the choices that it stands for, since KerasTuner counts the steps with rounding errors
and so may miss the last. What comes back from a range is rounded to six digits and put between its ends: a trial's
settings are then exactly what a table of them shows.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any, TypeAlias

from envise_tf.errors import UserError, nearest_names
from envise_tf.named_files import named_text, parsed_yaml, require_conforming, shipped_texts
from envise_tf.settings import TrainSettings, checked_value

if TYPE_CHECKING:
    import keras_tuner

_FIXED = {
    "what the student learns, and from whom": (
        *("source", "data_dir", "image_size", "protocol", "stream", "prior", "part", "scenario", "classes"),
        *("coverage", "min_share", "teacher", "teacher_range", "teacher_classes", "adapt", "outlier_rate", "calibrate"),
    ),
    "which kind of student is trained, and where it starts": ("student_init", "twin", "with_twin"),
    "how long a trial trains, and in how many stages": ("windows", "stages"),
    "how a student is measured": ("held_back", "epsilon", "evaluate"),
    "how the work is done, not what is learned": (
        "precision",
        "strategy",
        "tensorboard",
        "photographs",
        "verbose",
        "seed",
        "out",
    ),
}
"""What is the same in all trials, so that their results can be compared: reason -> settings."""

_OBJECTIVES = "objectives"
_RANGE = {
    "description": "least and most, perhaps with a step or a scale",
    "properties": {
        "least": True,
        "most": True,
        "step": True,
        "scale": {"description": "linear or log", "enum": ["linear", "log"]},
    },
    "required": ["least", "most"],
    "additionalProperties": False,
}
"""The schema of a range; its numbers are checked as those of any setting."""

_DIGITS = 6


@dataclass(frozen=True)
class Choices:
    """Values of which a trial takes one.

    Args:
        values: at least two, all different, as the setting takes them.
    """

    values: tuple[Any, ...]

    def add_to(self, hyperparameters: keras_tuner.HyperParameters, name: str) -> None:
        """Registers the choices, as texts, under that name."""
        hyperparameters.Choice(name, [setting_text(value) for value in self.values])

    def value(self, given: Any) -> Any:
        """Returns the value that a trial's text stands for."""
        return {setting_text(value): value for value in self.values}[given]


@dataclass(frozen=True)
class Range:
    """Numbers of which a trial takes one.

    Args:
        least: the smallest, an int where the setting is one, else a float.
        most: the largest, of the same type, more than `least`.
        scale: "linear" makes equal differences equally likely, "log" equal ratios.
    """

    least: int | float
    most: int | float
    scale: str = "linear"

    def add_to(self, hyperparameters: keras_tuner.HyperParameters, name: str) -> None:
        """Registers the range under that name."""
        register = hyperparameters.Int if isinstance(self.least, int) else hyperparameters.Float
        register(name, self.least, self.most, sampling=self.scale)

    def value(self, given: Any) -> int | float:
        """Returns a trial's number as the setting takes it: floats with six digits, none outside the range.

        At the end of a log scale KerasTuner returns `most` + 1 for integers, and for floats a rounding error more.
        """
        rounded = given if isinstance(self.least, int) else float(f"{given:.{_DIGITS}g}")
        return min(max(rounded, self.least), self.most)


Dimension: TypeAlias = Choices | Range


@dataclass(frozen=True)
class Space:
    """What a sweep varies.

    Responsible for turning the values of a trial into settings. Must not choose values: that is the tuner's part.

    Args:
        name: the name of its file, without the ending.
        dimensions: for each setting, by its dotted name, what it may be; at least one.
    """

    name: str
    dimensions: dict[str, Dimension]

    def hyperparameters(self) -> keras_tuner.HyperParameters:
        """Returns the space as KerasTuner knows it, each setting under its dotted name."""
        import keras_tuner

        found = keras_tuner.HyperParameters()
        for key, dimension in self.dimensions.items():
            dimension.add_to(found, key)
        return found

    def row(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the value of each setting of the space in a trial, by its dotted name.

        Args:
            values: those of a trial's hyperparameters; a tuner's own among them (tuner/epochs) are left out.

        Raises:
            KeyError: the trial is one of another space.
        """
        return {key: dimension.value(values[key]) for key, dimension in self.dimensions.items()}

    def row_of(self, settings: TrainSettings) -> dict[str, Any]:
        """Returns the value of each setting of the space in any settings; None of an objective that they lack."""
        return {
            key: _option_of(settings, key) if _is_option(key) else getattr(settings, key) for key in self.dimensions
        }

    def settings(self, values: Mapping[str, Any], base: TrainSettings) -> TrainSettings:
        """Returns the settings of a trial.

        Args:
            values: as for `row`.
            base: gives everything that the space does not name. An objective that it lacks is added, as a flag
                of the command line would.
        """
        row = self.row(values)
        objectives = {name: dict(options) for name, options in base.objectives.items()}
        for key in filter(_is_option, row):
            _, name, option = key.split(".")
            objectives.setdefault(name, {})[option] = row[key]
        others = {key: value for key, value in row.items() if not _is_option(key)}
        return dataclasses.replace(base, objectives=objectives, **others)

    def check(self, base: TrainSettings) -> None:
        """Checks that every trial's settings fit each other, whatever the tuner chooses.

        Builds each of the students that the space allows, which takes about half a second a student.

        Args:
            base: as for `settings`.

        Raises:
            UserError: a window smaller than a batch, widths and blocks that make no student, or a student that starts
                from a given one while its widths, blocks, block or stem vary.
        """
        window, batch_size = min(self._ends("window", base)), max(self._ends("batch_size", base))
        if batch_size > window:
            raise UserError(
                f"space {self.name} allows a window of {window} images with a batch of {batch_size}: "
                "expected at least one batch in the smallest window; change one of them"
            )
        shape = [key for key in ("widths", "blocks", "block", "stem") if key in self.dimensions]
        if shape and base.student_init != "scratch":
            raise UserError(
                f"space {self.name} varies {' and '.join(shape)}, but the student starts from {base.student_init}, "
                "which has its own: give --student_init scratch, or a space without them"
            )
        if shape:
            self._build_students(base)

    def _build_students(self, base: TrainSettings) -> None:
        from envise_tf.networks.students import residual_student

        with _told_of(self.name):
            for widths, blocks in itertools.product(self._ends("widths", base), self._ends("blocks", base)):
                # What the teacher's work makes of "auto" is not known here, and fits any blocks.
                residual_student(32, 2, (32,) * len(blocks) if widths == "auto" else widths, blocks)

    def _ends(self, key: str, base: TrainSettings) -> tuple[Any, ...]:
        """Returns all choices of a setting, both ends of its range, or what it always is."""
        dimension = self.dimensions.get(key)
        if dimension is None:
            return (getattr(base, key),)
        return dimension.values if isinstance(dimension, Choices) else (dimension.least, dimension.most)


def space_names() -> list[str]:
    """Returns the names of the shipped spaces, sorted."""
    return sorted(_shipped())


def space_text(name_or_path: str) -> tuple[str, str]:
    """Returns the name of a space, and its YAML text.

    Args:
        name_or_path: a name of `space_names`, or a path (with a folder or the ending .yaml or .yml).

    Raises:
        UserError: it cannot be read.
    """
    return named_text(name_or_path, _shipped(), "search space")


def load_space(name_or_path: str) -> Space:
    """Returns a shipped space by name, or one read from a YAML file, checked against the settings of a training.

    How its settings fit those that it does not name is checked by `Space.check`.

    Args:
        name_or_path: as for `space_text`.

    Raises:
        UserError: it cannot be read, or says something that is not allowed.
    """
    name, text = space_text(name_or_path)
    with _told_of(name):
        return Space(name, {key: _dimension(key, entry) for key, entry in _entries(text).items()})


def _shipped() -> dict[str, str]:
    """Returns the text of each shipped space by its name."""
    return shipped_texts(resources.files(__package__) / "spaces")


@contextlib.contextmanager
def _told_of(name: str) -> Iterator[None]:
    """Begins every user's mistake inside with the name of the space."""
    try:
        yield
    except UserError as error:
        raise UserError(f"space {name}: {error}") from error


def _entries(text: str) -> dict[str, Any]:
    """Returns what the YAML says of each setting, all of them known."""
    entries = parsed_yaml(text, "the file", "one setting per line, each with its choices or range")
    if not isinstance(entries, dict) or not entries:
        raise UserError("names no setting: expected some, such as 'learning_rate: {least: 0.001, most: 0.01}'")
    for key in entries:
        _check_key(str(key))
    return entries


def _check_key(key: str) -> None:
    for reason, names in _FIXED.items():
        if key in names:
            raise UserError(
                f"{key} is not searched, because it says {reason}, and that is the same in all trials; "
                f"give it once as --{key}"
            )
    searched = {field.name for field in dataclasses.fields(TrainSettings)}.difference(*_FIXED.values(), [_OBJECTIVES])
    if key.split(".")[0] == _OBJECTIVES:
        if not _is_option(key):
            raise UserError(f"{key} given, expected one option per line, as {_OBJECTIVES}.NAME.OPTION")
    elif key not in searched:
        raise UserError(f"no setting is called {key}: {nearest_names(key, searched | _options())}")


def _options() -> set[str]:
    """Returns the dotted name of every option of every objective."""
    from envise_tf.distillation.objectives import known_objectives

    fields = {name: dataclasses.fields(kind) for name, kind in known_objectives().items()}
    return {f"{_OBJECTIVES}.{name}.{field.name}" for name in fields for field in fields[name]}


def _is_option(key: str) -> bool:
    parts = key.split(".")
    return len(parts) == 3 and parts[0] == _OBJECTIVES


def _option_of(settings: TrainSettings, key: str) -> Any:
    from envise_tf.distillation.objectives import objective

    _, name, option = key.split(".")
    return getattr(objective(name, settings.objectives[name]), option) if name in settings.objectives else None


def _kind(key: str) -> type:
    """Returns the type of a setting, which is that of its default.

    Raises:
        UserError: unknown objective or option.
    """
    if not _is_option(key):
        return type(getattr(TrainSettings(), key))
    from envise_tf.distillation.objectives import objective

    _, name, option = key.split(".")
    default = getattr(objective(name, {}), option, None)
    objective(name, {option: default})  # raises where there is no such option
    return type(default)


def _dimension(key: str, entry: object) -> Dimension:
    kind = _kind(key)
    if isinstance(entry, list):
        return _choices(key, kind, entry)
    if isinstance(entry, dict):
        return _range(key, kind, entry)
    raise UserError(
        f"{key} is {entry!r}, expected a list of choices or a range as {{least: 1, most: 2}}; "
        f"to fix it, give it as --{key}"
    )


def _choices(key: str, kind: type, entry: list[Any]) -> Choices:
    values = tuple(_value(key, kind, value) for value in entry)
    if len(values) < 2:
        raise UserError(f"{key} has {len(values)} choice(s), expected at least two; to fix it, give it as --{key}")
    texts = [setting_text(value) for value in values]
    twice = next((text for text in texts if texts.count(text) > 1), None)
    if twice is not None:
        raise UserError(f"{key} has the choice {twice} twice: expected each once")
    return Choices(values)


def _range(key: str, kind: type, entry: dict[Any, Any]) -> Dimension:
    if kind not in (int, float):
        raise UserError(f"{key} is {entry!r}, but not a number: expected a list of choices")
    require_conforming(entry, _RANGE, key)
    least, most = (_value(key, kind, entry[end]) for end in ("least", "most"))
    scale = entry.get("scale", "linear")
    if least >= most:
        raise UserError(f"{key} has least {least} and most {most}: expected least to be the smaller")
    if scale == "log" and least <= 0:
        raise UserError(f"{key} has a log scale from {least}: expected least to be more than 0, or the scale linear")
    if "step" not in entry:
        return Range(least, most, scale)
    if scale == "log":
        raise UserError(f"{key} has a step on a log scale: expected one of them; list the values as choices instead")
    return Choices(_stepped(key, kind, least, most, entry["step"]))


def _stepped(key: str, kind: type, least: float, most: float, step: Any) -> tuple[int | float, ...]:
    """Returns the numbers from `least` to `most`, both included."""
    is_number = type(step) is int or (type(step) is float and kind is float)
    steps = (most - least) / step if is_number and step > 0 else 0
    if round(steps) < 1 or not math.isclose(steps, round(steps), rel_tol=1e-9):
        raise UserError(f"{key} has the step {step!r}: expected one that leads from {least} to exactly {most}")
    values = (least + index * step for index in range(round(steps) + 1))
    # The rounding gives 0.3 where the sum is 0.30000000000000004.
    return tuple(values if kind is int else (float(f"{value:.12g}") for value in values))


def _value(key: str, kind: type, value: Any) -> Any:
    """Returns a value as the setting takes it: lists as tuples, and whole numbers as floats where it is one.

    Raises:
        UserError: the setting does not take it.
    """
    if _is_option(key):
        from envise_tf.distillation.objectives import objective

        _, name, option = key.split(".")
        objective(name, {option: value})
        found = kind(value)
    else:
        found = checked_value(TrainSettings, key, value, f"{key} is {value!r},")
    if isinstance(found, float) and not math.isfinite(found):
        raise UserError(f"{key} is {value!r}, expected a finite number")
    return found


def setting_text(value: object) -> str:
    """Returns the text that stands for a value: texts as they are, "" for none, and JSON for the rest."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)
