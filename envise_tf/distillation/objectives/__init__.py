"""What is minimised: one objective per file, each a pure function and a thin configurable class.

A new objective is a new file here, with a subclass of `Objective`, and a line in `OBJECTIVES`; or an entry point of
another package.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from envise_tf.distillation.objectives.amc import Amc
from envise_tf.distillation.objectives.amd import Amd
from envise_tf.distillation.objectives.attention_transfer import AttentionTransfer
from envise_tf.distillation.objectives.attention_triplet import AttentionTriplet
from envise_tf.distillation.objectives.deep_gambler import DeepGambler
from envise_tf.distillation.objectives.embedding_triplet import EmbeddingTriplet
from envise_tf.distillation.objectives.hard_label import HardLabel
from envise_tf.distillation.objectives.hint import Hint
from envise_tf.distillation.objectives.installed import installed_objectives
from envise_tf.distillation.objectives.mix_kd import MixKd
from envise_tf.distillation.objectives.mixed_label import MixedLabel
from envise_tf.distillation.objectives.objective import Evidence, Objective, Shapes
from envise_tf.distillation.objectives.orthogonal_sphere import OrthogonalSphere
from envise_tf.distillation.objectives.oskd import Oskd
from envise_tf.distillation.objectives.soft_label import SoftLabel
from envise_tf.errors import UserError
from envise_tf.registry import made

__all__ = [
    "OBJECTIVES",
    "Amc",
    "Amd",
    "AttentionTransfer",
    "AttentionTriplet",
    "DeepGambler",
    "EmbeddingTriplet",
    "Evidence",
    "HardLabel",
    "Hint",
    "MixKd",
    "MixedLabel",
    "Objective",
    "OrthogonalSphere",
    "Oskd",
    "Shapes",
    "SoftLabel",
    "known_objectives",
    "objective",
]

OBJECTIVES: dict[str, type[Objective]] = {
    "amc": Amc,
    "amd": Amd,
    "attention_transfer": AttentionTransfer,
    "attention_triplet": AttentionTriplet,
    "deep_gambler": DeepGambler,
    "embedding_triplet": EmbeddingTriplet,
    "hard_label": HardLabel,
    "hint": Hint,
    "mix_kd": MixKd,
    "mixed_label": MixedLabel,
    "orthogonal_sphere": OrthogonalSphere,
    "oskd": Oskd,
    "soft_label": SoftLabel,
}
"""The objectives of this package, by the names that settings give them."""


def known_objectives() -> Mapping[str, type[Objective]]:
    """Returns the objectives of this package and of installed ones, by name.

    Raises:
        UserError: as in `installed_objectives`; or two have the same name.
    """
    known = dict(OBJECTIVES)
    for name, found in installed_objectives():
        if name in known:
            raise UserError(
                f"objective {name} is {known[name].__module__} and, by an installed package, {found.__module__}: "
                "expected one of that name; uninstall that package"
            )
        known[name] = found
    return known


def objective(name: str, options: Mapping[str, Any]) -> Objective:
    """Returns the objective of that name with these options.

    Raises:
        UserError: unknown objective or option, a value out of its range, or an error of `known_objectives`.
    """
    return made("objective", known_objectives(), name, options)
