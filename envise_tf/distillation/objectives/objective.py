"""The base class of all objectives, and what a training step lets them see."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import tensorflow as tf

from envise_tf.distillation.synchronised import summed_over_replicas
from envise_tf.errors import UserError
from envise_tf.networks.grad_cam import HeadPass
from envise_tf.settings.ranges import require_in_range

Need = Literal["stages", "embedding"]
"""What of both networks an objective may ask for beside logits and attention maps."""


@dataclass(frozen=True)
class Shapes:
    """What is known of a network before it has seen an image.

    Attributes:
        classes: number of its logits.
        stages: (batch, height, width, channels) of each stage, empty unless an objective needs them.
        embedding: number of penultimate features, 0 unless an objective needs them.
    """

    classes: int
    stages: tuple[tf.TensorShape, ...] = ()
    embedding: int = 0


@dataclass(frozen=True)
class Evidence:
    """What teacher and student say of one batch. No label is among it, but where labels stand in a teacher's place.

    Attributes:
        student: the student's pass over its features; logits (batch, classes), classes being the student's.
        teacher: the teacher's pass over its features; its logits cover all the teacher's classes. None, like
            `teacher_logits`, where there is no teacher: only for objectives that need none.
        classes: int64 (classes,), the teacher's class of each of the student's.
        teacher_logits: float32 (batch, classes), the teacher's logits of the student's classes.
        pseudo_label: int64 (batch,), the student's class that the teacher predicts; 0 where it has none. The label
            where there is no teacher.
        is_known: bool (batch,), whether the class that the teacher predicts is one of the student's. The others
            teach nothing: the cascade should defer such images, not answer them with confidence.
        companion: the objective's own, as its method of that name made it; None where it has none.
        is_training: whether the batch is learned from, so that a companion may remember it.

    `student` and `teacher` also have `stages` and `embedding` (see `HeadPass`) where some objective needs them.
    """

    student: HeadPass
    teacher: HeadPass
    classes: tf.Tensor
    teacher_logits: tf.Tensor
    pseudo_label: tf.Tensor
    is_known: tf.Tensor
    companion: tf.keras.layers.Layer | None = None
    is_training: bool = False


@dataclass(frozen=True)
class Objective(abc.ABC):
    """A term of the loss.

    Responsible for one number and the figures that explain it. Must not run a network: `Evidence` has what it needs.

    Attributes:
        figures: the names of the scalars that are logged beside the loss.
        needs: what it asks for beside logits and attention maps: "stages", "embedding".

    Args:
        weight: what the term is multiplied with in the total.
    """

    figures: ClassVar[tuple[str, ...]] = ()
    needs: ClassVar[tuple[Need, ...]] = ()

    weight: float = 1.0

    def __post_init__(self) -> None:
        if self.weight < 0:
            raise UserError(f"objective weight {self.weight}: expected at least 0")
        name = type(self).__module__.rpartition(".")[2]  # each has a module of its name
        for option, value in self.get_config().items():
            require_in_range(type(self), option, value, f"{name}: {option} {value},")

    def get_config(self) -> dict[str, Any]:
        """Returns the options, the weight among them, from which `from_config` makes the same objective."""
        return dataclasses.asdict(self)

    @property
    def needs_teacher(self) -> bool:
        """Whether it looks at more of the teacher than the class that it predicts."""
        return True

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Objective:
        """Returns the objective of these options."""
        return cls(**config)

    def companion(self, student: Shapes, teacher: Shapes) -> tf.keras.layers.Layer | None:
        """Returns a built float32 layer that goes with the student while it is trained; None, the rule, for none.

        Its trainable weights are trained with the student's, its others are the objective's memory. Checkpoints hold
        both; the student that is saved and exported has neither. To be the same in every run, it draws its first
        weights with a seed of its own.

        Raises:
            UserError: the objective cannot be used with these networks.
        """
        return None

    @abc.abstractmethod
    def __call__(self, evidence: Evidence) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Returns the unweighted loss, a float32 scalar, and further scalars to log, by the names in `figures`.

        All of them are means as `mean_of` takes them.
        """


def mean_of(values: tf.Tensor, chosen: tf.Tensor) -> tf.Tensor:
    """Returns the mean of float (batch,) `values` where bool (batch,) `chosen`; 0 when none is.

    Where replicas share a batch, it is this replica's part of the mean over the whole batch: the parts add up to it.
    """
    weights = tf.cast(chosen, values.dtype)
    return tf.math.divide_no_nan(tf.reduce_sum(values * weights), summed_over_replicas(tf.reduce_sum(weights)))
