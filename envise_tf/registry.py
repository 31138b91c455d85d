"""Families whose members are one file each, such as objectives and outlier scores: found by name, made from options."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from envise_tf.errors import UserError, nearest_names

Member = TypeVar("Member")


@dataclasses.dataclass(frozen=True)
class Registry(Generic[Member]):
    """The members of a package: each a dataclass in a module of its own, which gives it its name.

    Args:
        what: what a member is called in errors.
        package: name of the package.
        base: class of all members.
        others: modules of the package that hold no member.
    """

    what: str
    package: str
    base: type
    others: tuple[str, ...]

    def names(self) -> list[str]:
        """Returns the names of all members, which are the names of their files."""
        path = importlib.import_module(self.package).__path__
        return sorted(module.name for module in pkgutil.iter_modules(path) if module.name not in self.others)

    def member(self, name: str, options: Mapping[str, Any]) -> Member:
        """Returns the member of that name, made with these options.

        Raises:
            UserError: unknown member or option, or a value of the wrong type or out of its range.
        """
        if name not in self.names():
            raise UserError(f"no {self.what} is called {name}: {nearest_names(name, self.names())}")
        module = importlib.import_module(f"{self.package}.{name}")
        own = [kind for kind in vars(module).values() if getattr(kind, "__module__", None) == module.__name__]
        chosen: Any = next(kind for kind in own if isinstance(kind, type) and issubclass(kind, self.base))
        fields = {field.name: field for field in dataclasses.fields(chosen) if field.init}
        for option, value in options.items():
            if option not in fields:
                raise UserError(f"{self.what} {name} has no option {option}: {nearest_names(option, fields)}")
            expected = type(fields[option].default)
            if not _is_a(value, expected):
                raise UserError(f"{self.what} {name}: {option} is {value!r}, expected a {expected.__name__}")
        return chosen(**options)


def _is_a(value: object, expected: type) -> bool:
    if isinstance(value, bool) or expected is bool:
        return isinstance(value, bool) and expected is bool
    return isinstance(value, (int, float) if expected is float else expected)
