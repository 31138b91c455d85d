"""The settings of a command by subject, for --help and for settings.yaml."""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass

import docstring_parser


@dataclass(frozen=True, eq=False)
class Subject:
    """Settings that belong together: those of one dataclass.

    Attributes:
        title: what they are about.
        texts: for each setting by its name, what it does; in the order of the docstring.
    """

    title: str
    texts: dict[str, str]


@functools.cache
def subjects(settings_class: type) -> tuple[Subject, ...]:
    """Returns the subjects of a settings class, those of its bases first, each setting once."""
    inherited = {subject: None for base in settings_class.__bases__ for subject in subjects(base)}
    if not dataclasses.is_dataclass(settings_class):
        return ()
    docstring = docstring_parser.parse(settings_class.__doc__ or "")
    known = {name for subject in inherited for name in subject.texts}
    texts = {
        param.arg_name: " ".join((param.description or "").split())
        for param in docstring.params
        if param.arg_name not in known
    }
    own = (Subject((docstring.short_description or "").rstrip("."), texts),) if texts else ()
    return (*inherited, *own)


def ordered_names(settings_class: type) -> list[str]:
    """Returns the name of every setting, subject by subject."""
    return [name for subject in subjects(settings_class) for name in subject.texts]
