"""What is minimised: one objective per file, each a pure function and a thin configurable class.

A new objective is a new file here, with a subclass of `Objective`, and a line in `OBJECTIVES`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from envise_tf.distillation.objectives.attention_triplet import AttentionTriplet
from envise_tf.distillation.objectives.hard_label import HardLabel
from envise_tf.distillation.objectives.objective import Evidence, Objective
from envise_tf.distillation.objectives.soft_label import SoftLabel
from envise_tf.registry import made

__all__ = ["OBJECTIVES", "AttentionTriplet", "Evidence", "HardLabel", "Objective", "SoftLabel", "objective"]

OBJECTIVES: dict[str, type[Objective]] = {
    "attention_triplet": AttentionTriplet,
    "hard_label": HardLabel,
    "soft_label": SoftLabel,
}
"""All objectives, by the names that settings give them."""


def objective(name: str, options: Mapping[str, Any]) -> Objective:
    """Returns the objective of that name with these options.

    Raises:
        UserError: unknown objective or option, or a value out of its range.
    """
    return made("objective", OBJECTIVES, name, options)
