"""Deep gambler: the student may abstain, at a price, where it is unsure of the teacher's class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import tensorflow as tf

from envise_tf.distillation.objectives.objective import Evidence, Need, Objective, Shapes, mean_of
from envise_tf.errors import UserError
from envise_tf.networks.precision import at_least_float32
from envise_tf.settings.ranges import Within


def deep_gambler(student_logits: tf.Tensor, abstention_logit: tf.Tensor, target: tf.Tensor, reward: float) -> tf.Tensor:
    """Returns -sum_c w_c log(p_c + p_abstain / o) of each image, float32 (batch,), in nats.

    p is the softmax over the m classes and the abstention [Liu et al. 2019, "Deep Gamblers", section 3; with a
    teacher's labels, Xu, Pu and Zhao 2020].

    Args:
        student_logits: floating point (batch, m).
        abstention_logit: floating point (batch, 1).
        target: floating point (batch, m), w, each row's sum 1.
        reward: o in (1, m]: the smaller, the more images are abstained from.
    """
    logits = at_least_float32(tf.concat([student_logits, tf.cast(abstention_logit, student_logits.dtype)], axis=-1))
    # The loss is the same whatever number is added to all logits, so its gradient may take the largest as constant.
    logits -= tf.stop_gradient(tf.reduce_max(logits, axis=-1, keepdims=True))
    log_total = tf.reduce_logsumexp(logits, axis=-1)
    logits = tf.identity(logits)  # no gradient becomes a sum of three, see `Fork`
    classes, abstention = logits[:, :-1], logits[:, -1:] - tf.math.log(tf.constant(reward, logits.dtype))
    log_gain = tf.maximum(classes, abstention) + tf.nn.softplus(-tf.abs(classes - abstention))
    return log_total - tf.reduce_sum(at_least_float32(target) * log_gain, axis=-1)


@dataclass(frozen=True)
class DeepGambler(Objective):
    """The mean of `deep_gambler`; the abstention's logit is a linear function of the penultimate features.

    That function is the companion and is dropped at export: the student that is left is the softmax over its classes
    alone. Logs the mean probability of abstaining.

    Args:
        reward: o, see `deep_gambler`.
        soft: the teacher's probabilities as w in place of the pseudo-label.
    """

    figures: ClassVar[tuple[str, ...]] = ("abstention",)
    needs: ClassVar[tuple[Need, ...]] = ("embedding",)

    reward: Annotated[float, Within(1, excluded=(1,))] = 2.0
    soft: bool = False

    @property
    def needs_teacher(self) -> bool:
        return self.soft

    def companion(self, student: Shapes, teacher: Shapes) -> tf.keras.layers.Layer:
        if self.reward > student.classes:
            raise UserError(
                f"deep_gambler: reward {self.reward} with {student.classes} classes, expected at most their number: "
                "with more, abstaining never pays"
            )
        abstention = tf.keras.layers.Dense(1, kernel_initializer="zeros", dtype="float32", name="abstention")
        abstention.build((None, student.embedding))
        return abstention

    def __call__(self, evidence: Evidence) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        assert evidence.companion is not None
        logits = evidence.student.logits
        abstention = evidence.companion(at_least_float32(evidence.student.embedding))
        if self.soft:
            target = tf.nn.softmax(evidence.teacher_logits)
        else:
            target = tf.one_hot(evidence.pseudo_label, logits.shape[-1], dtype=logits.dtype)
        loss = mean_of(deep_gambler(logits, abstention, target, self.reward), evidence.is_known)
        share = tf.nn.softmax(tf.stop_gradient(tf.concat([logits, tf.cast(abstention, logits.dtype)], axis=-1)))[:, -1]
        return loss, {"abstention": mean_of(share, evidence.is_known)}
