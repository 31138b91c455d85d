"""Hint with adaptation: the student's last features, by a learned map, are the teacher's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import tensorflow as tf

from envise_tf.distillation.objectives.objective import Evidence, Need, Objective, Shapes, mean_of
from envise_tf.errors import UserError
from envise_tf.networks.grad_cam import resized_to_smaller
from envise_tf.networks.precision import at_least_float32

Norm = Literal["l2", "l1"]


def hint(adapted: tf.Tensor, teacher: tf.Tensor, norm: Norm = "l2") -> tf.Tensor:
    """Returns the mean over positions and channels of |r(F_S) - F_T|^2, or of |r(F_S) - F_T|, float32 (batch,) >= 0.

    [Romero et al. 2015, "FitNets", eq. 3; Chen et al. 2017, L1]; the mean in place of the sum is our choice, so
    that the weight does not depend on the size of the features. Squares overflow beyond differences of 1e19.

    Args:
        adapted: floating point (batch, height, width, channels), r(F_S).
        teacher: floating point (batch, height', width', channels), F_T; a constant. Both are
            brought to the smaller grid.
        norm: "l2" or "l1".
    """
    channels_first = [tf.transpose(at_least_float32(maps), [0, 3, 1, 2]) for maps in (adapted, teacher)]
    adapted, teacher = resized_to_smaller(*channels_first)
    difference = adapted - tf.stop_gradient(teacher)
    return tf.reduce_mean(difference**2 if norm == "l2" else tf.abs(difference), axis=[1, 2, 3])


@dataclass(frozen=True)
class Hint(Objective):
    """The mean of `hint` on the last stage; r is a 1x1 convolution, its companion, that is dropped at export.

    Args:
        norm: "l2" or "l1".
    """

    needs: ClassVar[tuple[Need, ...]] = ("stages",)

    norm: Norm = "l2"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.norm not in get_args(Norm):
            raise UserError(f"hint: norm is {self.norm!r}, expected l2 or l1")

    def companion(self, student: Shapes, teacher: Shapes) -> tf.keras.layers.Layer:
        initial = tf.keras.initializers.GlorotUniform(seed=0)
        adaptation = tf.keras.layers.Conv2D(
            teacher.stages[-1][-1], 1, kernel_initializer=initial, dtype="float32", name="hint_adaptation"
        )
        adaptation.build(student.stages[-1])
        return adaptation

    def __call__(self, evidence: Evidence) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        assert evidence.companion is not None
        adapted = evidence.companion(at_least_float32(evidence.student.stages[-1]))
        return mean_of(hint(adapted, evidence.teacher.stages[-1], self.norm), evidence.is_known), {}
