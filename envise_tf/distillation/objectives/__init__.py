"""What is minimised: one objective a file, each a pure function and a thin configurable class.

A new objective is a new file here, named as the objective, with a subclass of `Objective`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from envise_tf.distillation.objectives.objective import Evidence, Objective
from envise_tf.registry import Registry

__all__ = ["Evidence", "Objective", "objective", "objective_names"]


_REGISTRY: Registry[Objective] = Registry("objective", __name__, Objective, ("objective",))


def objective_names() -> list[str]:
    """Returns the names of all objectives, which are the names of the files here."""
    return _REGISTRY.names()


def objective(name: str, options: Mapping[str, Any]) -> Objective:
    """Returns the objective of that name with these options.

    Raises:
        UserError: unknown objective or option, or a value out of its range.
    """
    return _REGISTRY.member(name, options)
