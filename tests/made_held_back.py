"""Held-back images made for a test, and laws of scores whose true disagreement is known."""

import numpy as np
from scipy import stats

from envise_tf.deferral.held_back import HeldBack

EPSILON = DELTA = 0.05
DRAWS = 1500


def held_back(score, agrees=True, student_class=0, is_inlier=True):
    shape = np.shape(score)
    agrees, is_inlier = np.broadcast_to(agrees, shape), np.broadcast_to(is_inlier, shape)
    return HeldBack(score, np.broadcast_to(student_class, shape), agrees, is_inlier, ~agrees)


EMPTY = held_back([])


def fit(score, outputs, pseudo_label):
    """Fits a score as if the teacher were sure of all it says: the regret is 1 where the student's class is another."""
    score.fit(outputs, pseudo_label, (outputs.logits.argmax(axis=-1) != pseudo_label).astype(np.float32))


class Law:
    """Scores uniform in 0..1; from the top, a share `shares[i]` of the images disagrees with chance `chances[i]`."""

    def __init__(self, shares, chances):
        self.edges, self.chances = np.concatenate([[0], np.cumsum(shares)]), np.array(chances)

    def drawn(self, random, n):
        score = random.random(n).astype(np.float32)
        band = np.minimum(np.searchsorted(self.edges, 1 - score, side="right") - 1, len(self.chances) - 1)
        return held_back(score, random.random(n) >= self.chances[band])

    def risk(self, threshold):
        """True disagreement among images that score at least `threshold`."""
        coverage = 1 - min(max(float(threshold), 0.0), 1 - 1e-9)
        lengths = np.diff(np.minimum(self.edges, coverage))
        return lengths @ self.chances / coverage


STEADY = Law([0.6, 0.4], [0.0, 0.2])
"""Disagreement 0.2 (c - 0.6) / c at coverage c: it reaches 5 % at 80 %."""
HUMP = Law([0.1, 0.4, 0.1, 0.4], [0.1, 0.0, 0.3, 0.0])
"""Disagreement 10 % at the very top, 2 % at half, 6.7 % at 60 % and 4 % at all."""


def most_violations(draws, chance=DELTA):
    """The count that is exceeded by chance once in 10,000 runs of a simulation."""
    return stats.binom.ppf(1 - 1e-4, draws, chance)
