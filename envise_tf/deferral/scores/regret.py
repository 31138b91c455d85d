"""Regret: how little accuracy the student's answer is expected to cost, learned on held-back images (our choice).

What a promise about accuracy adds up is the regret of the answers, see `deferral.regret`: not whether the student is of
another opinion than the teacher, but how much more probable the teacher's class is. There are two reasons for it, and
an input x_j for each:

    margin      z_(1) - z_(2), low where the student may be wrong among its classes
    energy      log sum_c exp(z_c), low where the image may be of a class that it has not learned

    score = -E[r | x] = -sigmoid(-(sum_j a_j x_j + b))        a_j >= 0

The weights are those of a logistic regression on the fractional target 1 - r [Papke and Wooldridge 1996], with an L2
penalty on those of the standardised inputs, and none of them below 0. So the score rises with each input: a student
that is surer, by either, is never deferred the sooner, whatever a few hundred images suggest. Minus the regret rather
than one minus it, because near 0 float32 tells even the surest images apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from scipy import optimize, special

from envise_tf.deferral.scores.energy import energy
from envise_tf.deferral.scores.margin import margin
from envise_tf.deferral.scores.outputs import Outputs
from envise_tf.deferral.scores.score import NotApplicable, OutlierScore
from envise_tf.errors import UserError


def regret(inputs: tf.Tensor, weights: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    """Returns minus the expected regret, (n,), in -1..0.

    Args:
        inputs: floating point (n, 2), see `regression_inputs`.
        weights: (2,), >= 0.
        bias: scalar.
    """
    return -tf.sigmoid(-(tf.linalg.matvec(inputs, weights) + bias))


def regression_inputs(logits: tf.Tensor) -> tf.Tensor:
    """Returns margin and energy of each image, (n, 2).

    Args:
        logits: floating point (n, classes), at least two classes.
    """
    return tf.stack([margin(logits), energy(logits)], axis=-1)


def fitted_weights(inputs: np.ndarray, target: np.ndarray, penalty: float) -> tuple[np.ndarray, float]:
    """Returns weights >= 0, float64 (k,), and bias of the logistic regression of a target in 0..1, by L-BFGS-B.

    Minimises the sum of the cross-entropies plus penalty / 2 times the sum of the squared weights, which is convex.

    Args:
        inputs: float64 (n, k), standardised.
        target: float64 (n,), 0..1.
        penalty: > 0.
    """

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        weights, bias = parameters[:-1], parameters[-1]
        log_odds = inputs @ weights + bias
        residual = special.expit(log_odds) - target
        value = (np.logaddexp(0, log_odds) - target * log_odds).sum() + penalty / 2 * weights @ weights
        return value, np.append(residual @ inputs + penalty * weights, residual.sum())

    inputs_count = inputs.shape[1]
    bounds = [(0, None)] * inputs_count + [(None, None)]
    options = {"ftol": 1e-12, "gtol": 1e-8}
    found = optimize.minimize(
        loss, np.zeros(inputs_count + 1), jac=True, method="L-BFGS-B", bounds=bounds, options=options
    )
    return found.x[:-1], float(found.x[-1])


@dataclass
class Regret(OutlierScore):
    """Minus the regret that the student's answer is expected to have.

    Args:
        penalty: of the squared weights of the standardised inputs; larger = smaller weights.
    """

    penalty: float = 1.0

    def __post_init__(self) -> None:
        if not self.penalty > 0:
            raise UserError(f"regret: penalty {self.penalty}, expected more than 0")

    def fit(self, outputs: Outputs, pseudo_label: np.ndarray, regret: np.ndarray) -> None:
        if np.ptp(regret) == 0:
            raise NotApplicable(
                f"regret: it is {regret[0]:g} for each of {len(regret)} held-back images, expected more and less; "
                "hold back more images, or take another score"
            )
        inputs = regression_inputs(tf.constant(outputs.logits, tf.float64)).numpy()
        mean, deviation = inputs.mean(axis=0), np.maximum(inputs.std(axis=0), np.finfo(np.float32).tiny)
        weights, bias = fitted_weights((inputs - mean) / deviation, 1 - regret.astype(np.float64), self.penalty)
        if not weights.any():
            raise NotApplicable(
                "regret: the surer the student is of a held-back image, the larger is the regret, expected the "
                "contrary; take another score"
            )
        weights /= deviation
        self.keep(weights=weights, bias=bias - weights @ mean)

    def __call__(self, logits: tf.Tensor, features: tf.Tensor) -> tf.Tensor:
        return regret(regression_inputs(logits), self.found("weights"), self.found("bias"))
