"""What is minimised: one objective a file, each a pure function and a thin configurable class.

A new objective is a new file here, named as the objective, with a subclass of `Objective`.
"""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from collections.abc import Mapping
from typing import Any

from envise_tf.errors import UserError, nearest_names
from envise_tf.objectives.objective import Evidence, Objective

__all__ = ["Evidence", "Objective", "objective", "objective_names"]


def objective_names() -> list[str]:
    """Returns the names of all objectives, which are the names of the files here."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name != "objective")


def objective(name: str, options: Mapping[str, Any]) -> Objective:
    """Returns the objective of that name with these options.

    Raises:
        UserError: unknown objective or option, or a value out of its range.
    """
    if name not in objective_names():
        raise UserError(f"no objective is called {name}: {nearest_names(name, objective_names())}")
    module = importlib.import_module(f"{__name__}.{name}")
    chosen = next(kind for kind in Objective.__subclasses__() if kind.__module__ == module.__name__)
    fields = {field.name: field for field in dataclasses.fields(chosen)}
    for option, value in options.items():
        if option not in fields:
            raise UserError(f"objective {name} has no option {option}: {nearest_names(option, fields)}")
        expected = type(fields[option].default)
        if not isinstance(value, (int, float) if expected is float else expected) or (
            isinstance(value, bool) and expected is not bool
        ):
            raise UserError(f"objective {name}: {option} is {value!r}, expected a {expected.__name__}")
    return chosen(**options)
