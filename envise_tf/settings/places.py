"""Settings that say where something lies, made absolute so that a run can be evaluated from another folder."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated, TypeVar

from envise_tf.settings.ranges import annotated, hints

SettingsT = TypeVar("SettingsT")


@dataclass(frozen=True)
class Place:
    """What a setting may be: a path, or one of some names.

    Args:
        names: words that are never paths.
        yaml: whether a path is that of a YAML file, so that a word without folder or ending is a name.
    """

    names: tuple[str, ...] = ()
    yaml: bool = False

    def is_path(self, value: str) -> bool:
        """Returns whether a value is the path of something that is there."""
        is_word = self.yaml and os.sep not in value and not value.endswith((".yaml", ".yml"))
        return value not in self.names and not is_word and Path(value).expanduser().exists()


def _shipped(ending: str) -> tuple[str, ...]:
    weights = resources.files("envise_tf") / "networks" / "weights"
    return tuple(file.name.removesuffix(ending) for file in weights.iterdir() if file.name.endswith(ending))


FilePath = Annotated[str, Place()]
YamlFile = Annotated[str, Place(yaml=True)]
NO_TEACHER = "none"
TeacherPlace = Annotated[str, Place((NO_TEACHER, *_shipped(".teacher.json")))]
StudentPlace = Annotated[str, Place(("scratch", "generic", *_shipped(".student.json")))]
WeightsPlace = Annotated[str, Place(("imagenet",))]


def with_absolute_paths(settings: SettingsT) -> SettingsT:
    """Returns the settings with every path that exists made absolute, as seen from the working folder."""
    changes = {}
    for name, hint in hints(type(settings)).items():
        place, value = annotated(hint, Place), getattr(settings, name)
        if place is not None and value is not None and place.is_path(value):
            changes[name] = str(Path(value).expanduser().absolute())
    return dataclasses.replace(settings, **changes)  # type: ignore[type-var]
