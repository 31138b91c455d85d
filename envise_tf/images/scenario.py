"""Scenarios: which classes a phone meets every day (inlier), which rarely (outlier), and which never (absent).

A scenario is a YAML file, shipped in `scenarios/` or the user's own:

    source: cifar100                      # the data set it is made for
    reason: Why these classes come together.
    inlier: [people, bicycle]             # classes, or groups of classes where the data set has them
    outlier: [large_carnivores]
    absent: rest                          # all remaining classes; the same when left out
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any, Literal

from envise_tf.errors import UserError, nearest_names, some_of
from envise_tf.named_files import named_text, parsed_yaml, require_conforming, shipped_texts

Kind = Literal["inlier", "outlier", "absent"]

REST = "rest"

_KEYS = ("source", "reason", "inlier", "outlier", "absent")
_TEXT = {"description": "some text", "type": "string", "pattern": r"\S"}
_CLASS = {"description": "a class name, in quotes where YAML would not take it for text", "type": "string"}
_CLASSES = {"description": "a list of class names", "type": "array", "items": _CLASS}
_SCHEMA: dict[str, Any] = {
    "description": f"the keys {', '.join(_KEYS)}",
    "type": "object",
    "properties": {
        "source": _TEXT,
        "reason": _TEXT,
        "inlier": {**_CLASSES, "description": "a list of at least one class name", "minItems": 1},
        "outlier": _CLASSES,
        "absent": {"if": {"const": REST}, "else": _CLASSES},
    },
    "required": ["source", "reason", "inlier", "outlier"],
    "additionalProperties": False,
}


@dataclass(frozen=True)
class Scenario:
    """Three disjoint sets of classes that together are all classes of a source, each in label order.

    Args:
        name: the name of its file, without the ending.
        source: the data set it is made for, such as "cifar100".
        reason: a sentence that says why these classes come together.
        inlier: the classes that the stream shows, at least one.
        outlier: the rare classes, to be told from the inliers; only the teacher sees them before testing.
        absent: the classes that never occur.
    """

    name: str
    source: str
    reason: str
    inlier: tuple[str, ...]
    outlier: tuple[str, ...]
    absent: tuple[str, ...]

    def labels(self, kind: Kind, class_names: Sequence[str]) -> tuple[int, ...]:
        """Returns the labels of one set, ascending.

        Args:
            kind: "inlier", "outlier" or "absent".
            class_names: the class names that the scenario was loaded with.
        """
        label = {name: index for index, name in enumerate(class_names)}
        return tuple(sorted(label[name] for name in getattr(self, kind)))


def load_scenario(name_or_path: str, class_names: Sequence[str]) -> Scenario:
    """Returns a shipped scenario by name, or one read from a YAML file, checked against the classes of a source.

    Args:
        name_or_path: the name of a shipped one, or a path (with a folder or the ending .yaml or .yml).
        class_names: the class of each label of the source.

    Raises:
        UserError: there is no such scenario, or it is not one for these classes.
    """
    name, text = named_text(name_or_path, _shipped(""), "scenario")
    fields = parsed_yaml(text, f"scenario {name}", _SCHEMA["description"])
    require_conforming(fields, _SCHEMA, f"scenario {name}")
    if not class_names:
        raise UserError(f"scenario {name} names classes, but the images have none: choose a labelled source")
    groups = class_groups(fields["source"])
    sets = {kind: _classes(name, fields, kind, groups, class_names) for kind in ("inlier", "outlier", "absent")}
    _check_disjoint(name, sets)
    rest = tuple(c for c in class_names if not any(c in members for members in sets.values()))
    if fields.get("absent", REST) == REST:
        sets["absent"] = rest
    elif rest:
        raise UserError(f"scenario {name} leaves out {some_of(rest)}: put them in a set or write 'absent: {REST}'")
    return Scenario(name, fields["source"], fields["reason"].strip(), **sets)


@functools.cache
def class_groups(source: str) -> dict[str, tuple[str, ...]]:
    """Returns the named groups of classes that a data set has (the superclasses of CIFAR-100), or none."""
    text = _shipped("groups").get(source)
    return (
        {
            group: tuple(members)
            for group, members in parsed_yaml(text, f"groups of {source}", "classes by group").items()
        }
        if text
        else {}
    )


def _shipped(folder: str) -> dict[str, str]:
    """Returns the text of each YAML file in a folder of the shipped scenarios, by its name without the ending."""
    return shipped_texts(resources.files("envise_tf.images") / "scenarios" / folder)


def _classes(
    name: str, fields: dict[str, Any], kind: Kind, groups: dict[str, tuple[str, ...]], class_names: Sequence[str]
) -> tuple[str, ...]:
    """Returns the classes of one set in label order, with groups expanded; none where they are the rest."""
    named = fields.get(kind, REST)
    if named == REST:
        return ()
    expanded = [member for entry in named for member in groups.get(entry, (entry,))]
    known = set(class_names)
    unknown = sorted(set(expanded) - known)
    if unknown:
        raise UserError(
            f"scenario {name} (for {fields['source']}) names {some_of(unknown)} in '{kind}', which the images do not "
            f"have; {nearest_names(unknown[0], known | set(groups))}"
        )
    return tuple(c for c in class_names if c in expanded)


def _check_disjoint(name: str, sets: dict[str, tuple[str, ...]]) -> None:
    for first, second in (("inlier", "outlier"), ("inlier", "absent"), ("outlier", "absent")):
        both = [member for member in sets[first] if member in sets[second]]
        if both:
            raise UserError(f"scenario {name} has {some_of(both)} in both '{first}' and '{second}': keep each in one")
