"""Objectives of other packages, which name them in their metadata."""

from __future__ import annotations

import importlib.metadata
import inspect
from collections.abc import Iterator

from envise_tf.distillation.objectives.objective import Objective
from envise_tf.errors import UserError, reason_of

GROUP = "envise_tf.objectives"


def installed_objectives() -> Iterator[tuple[str, type[Objective]]]:
    """Yields name and class of each entry point of the group "envise_tf.objectives", in order of their names.

    Raises:
        UserError: one cannot be imported, or is no concrete subclass of `Objective`.
    """
    for entry in sorted(importlib.metadata.entry_points(group=GROUP)):
        place = f"objective {entry.name} of the installed package {entry.dist.name if entry.dist else entry.value}"
        try:
            found = entry.load()
        except Exception as error:  # whatever the code of others raises
            raise UserError(f"{place} cannot be loaded: {reason_of(error)}; mend or uninstall that package") from error
        if not (inspect.isclass(found) and issubclass(found, Objective)) or inspect.isabstract(found):
            raise UserError(
                f"{place} is {entry.value}: expected a subclass of envise_tf.Objective with a __call__; mend or "
                "uninstall that package"
            )
        yield entry.name, found
