"""Angular margin-based distillation (AMD): the teacher's active and inactive positions, told apart by a margin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import tensorflow as tf

from envise_tf.distillation.objectives.energy import energy_pairs, flattened
from envise_tf.distillation.objectives.objective import Evidence, Need, Objective, mean_of
from envise_tf.distillation.objectives.vectors import angles, unit_vectors
from envise_tf.settings.ranges import Positive, Share


def amd(student: tf.Tensor, teacher: tf.Tensor, scale: float = 64.0, margin: float = 1.35) -> tf.Tensor:
    """Returns (MSE(n(log G)) + MSE(n(log G_p)) + MSE(n(log G_n))) / 3 of each image, float32 (batch,) >= 0.

    With Q the energy of unit length over its positions and theta = arccos(Q),

        log G_p = s cos(m theta)     log G_n = s (1 - Q)     log G = log(G_p / (G_p + G_n)),

    n() the vector of unit length, and MSE the mean over positions of the squared difference of student and teacher
    [Jeon et al. 2023, "Leveraging Angular Distributions for Improved Knowledge Distillation", from the authors' code].
    G_p and G_n themselves, up to e^64, are never computed.

    Args:
        student: floating point (batch, height, width), the energy sum_c F_c^2, up to a factor for each image.
        teacher: likewise, on the same grid; a constant.
        scale: s > 0.
        margin: m > 0; above 1 a position has to be more active to count as much.
    """
    pairs = zip(_log_terms(student, scale, margin), _log_terms(teacher, scale, margin), strict=True)
    differences = [(unit_vectors(one) - tf.stop_gradient(unit_vectors(other))) ** 2 for one, other in pairs]
    return tf.reduce_mean(tf.concat(differences, axis=-1), axis=-1)


def _log_terms(energies: tf.Tensor, scale: float, margin: float) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns log G, log G_p and log G_n, each (batch, positions)."""
    q = unit_vectors(flattened(energies))
    log_positive, log_negative = scale * tf.cos(margin * angles(q)), scale * (1 - q)
    return -tf.nn.softplus(log_negative - log_positive), log_positive, log_negative


def quadrants(maps: tf.Tensor) -> list[tf.Tensor]:
    """Returns the four quarters of maps (batch, height, width); of an odd side each has the middle row or column."""
    height, width = tf.shape(maps)[1], tf.shape(maps)[2]
    # First halves, then their halves: no gradient becomes a sum of more than two, see `Fork`.
    halves = maps[:, : (height + 1) // 2], maps[:, height // 2 :]
    return [part for half in halves for part in (half[:, :, : (width + 1) // 2], half[:, :, width // 2 :])]


@dataclass(frozen=True)
class Amd(Objective):
    """The sum of `amd` over the stages: of whole maps, and of their quadrants if asked for.

    Args:
        weight: the default is that of attention transfer, whose size the loss has (our choice).
        scale: s, see `amd`.
        margin: m.
        local_share: weight of the mean over the four quadrants, in 0..1; the whole map has the rest. The authors'
            global and local loss has 0.2, their global one 0.
    """

    needs: ClassVar[tuple[Need, ...]] = ("stages",)

    weight: float = 1000.0
    scale: Positive = 64.0
    margin: Positive = 1.35
    local_share: Share = 0.0

    def __call__(self, evidence: Evidence) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        pairs = energy_pairs(evidence.student.stages, evidence.teacher.stages)
        return mean_of(sum(self._of_stage(*pair) for pair in pairs), evidence.is_known), {}

    def _of_stage(self, student: tf.Tensor, teacher: tf.Tensor) -> tf.Tensor:
        whole = amd(student, teacher, self.scale, self.margin)
        if not self.local_share:
            return whole
        student = tf.identity(student)  # for the same reason
        parts = zip(quadrants(student), quadrants(teacher), strict=True)
        local = sum(amd(*part, self.scale, self.margin) for part in parts) / 4
        return (1 - self.local_share) * whole + self.local_share * local
