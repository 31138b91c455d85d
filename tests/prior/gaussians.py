"""A classifier whose probabilities are known in closed form: Gaussian classes of one covariance."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Gaussians:
    """Classes c with features x ~ N(mean_c, I): under equal priors log p(c | x) = -|x - mean_c|^2 / 2 + constant.

    The teacher that says so is calibrated exactly, so that whatever is off in a test is off in the method.
    """

    means: np.ndarray

    @classmethod
    def random(cls, classes, dimensions=12, spread=1.0, seed=0):
        return cls(np.random.default_rng(seed).normal(scale=spread, size=(classes, dimensions)))

    def draw(self, prior, images, seed):
        """Returns logits (images, classes) and labels (images,) of a stream with this prior."""
        random = np.random.default_rng(seed)
        labels = random.choice(len(self.means), images, p=prior)
        x = self.means[labels] + random.normal(size=(images, self.means.shape[1]))
        return x @ self.means.T - (self.means**2).sum(axis=1) / 2, labels


def zipf_prior(classes, frequent, outliers=0.05, seed=0):
    """Shares 1, 1/2, 1/3, ... over `frequent` random classes, and `outliers` spread over ten others."""
    order = np.random.default_rng(seed).permutation(classes)
    shares = 1 / np.arange(1, frequent + 1)
    prior = np.zeros(classes)
    prior[order[:frequent]] = (1 - outliers) * shares / shares.sum()
    prior[order[frequent : frequent + 10]] = outliers / 10
    return prior
