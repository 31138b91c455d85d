"""Members of a family, such as objectives and outlier scores, chosen by name and made from options."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from envise_tf.errors import UserError, nearest_names

Member = TypeVar("Member")


def made(what: str, members: Mapping[str, type[Member]], name: str, options: Mapping[str, Any]) -> Member:
    """Returns the member of that name, made with these options.

    Args:
        what: what a member is called in errors, such as "objective".
        members: dataclasses by name, each of whose options has a default.
        name: one of theirs.
        options: by name.

    Raises:
        UserError: unknown member or option, or a value of the wrong type or out of its range.
    """
    if name not in members:
        raise UserError(f"no {what} is called {name}: {nearest_names(name, members)}")
    fields: dict[str, Any] = {field.name: field for field in dataclasses.fields(members[name]) if field.init}  # type: ignore[arg-type]
    for option, value in options.items():
        if option not in fields:
            raise UserError(f"{what} {name} has no option {option}: {nearest_names(option, fields)}")
        expected = type(fields[option].default)
        if not _is_a(value, expected):
            raise UserError(f"{what} {name}: {option} is {value!r}, expected {expected.__name__}")
    return members[name](**options)


def _is_a(value: object, expected: type) -> bool:
    if isinstance(value, bool) or expected is bool:
        return isinstance(value, bool) and expected is bool
    return isinstance(value, (int, float) if expected is float else expected)
