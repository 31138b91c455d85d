"""A network whose passes have what objectives ask for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import tensorflow as tf

from envise_tf.distillation.objectives import Objective, Shapes
from envise_tf.networks.grad_cam import HeadPass
from envise_tf.networks.split import Split, split


@dataclass(frozen=True)
class SplitNetwork:
    """A network and its halves. A plain dataclass, in which Keras finds no weights to train or to checkpoint."""

    model: tf.keras.Model
    halves: Split

    @classmethod
    def of(cls, model: tf.keras.Model, objectives: Mapping[str, Objective]) -> SplitNetwork:
        """Returns a network so split that its passes have what these objectives need.

        Raises:
            UserError: it cannot be split into trunk and head, see `networks.split`.
        """
        needs = {need for objective in objectives.values() for need in objective.needs}
        return cls(model, split(model, stages="stages" in needs, embedding="embedding" in needs))

    def __call__(self, images: tf.Tensor, training: bool) -> HeadPass:
        *stages, features = tf.nest.flatten(self.halves.trunk(images, training=training))
        return HeadPass(self.halves.head, features, training, stages)

    @property
    def shapes(self) -> Shapes:
        *stages, _ = self.halves.trunk.outputs
        *embedding, logits = self.halves.head.outputs
        width = embedding[0].shape[-1] if embedding else 0
        return Shapes(logits.shape[-1], tuple(stage.shape for stage in stages), width)
