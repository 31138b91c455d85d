"""The class shares of a stream from predicted classes alone: the black-box shift estimator, BBSE.

It needs labelled images and no probabilities [Lipton, Wang and Smola 2018]: it solves M pi = mu, with
M_ij = P(predicted i | class j) from labelled images and mu the shares of predicted classes in the stream. It is the
cross-check of `estimation`: where both disagree, the calibration is in doubt.
"""

from __future__ import annotations

import numpy as np
from scipy import optimize

_SUM_WEIGHT = 1e3


def bbse_prior(labels: np.ndarray, predictions: np.ndarray, stream_predictions: np.ndarray, classes: int) -> np.ndarray:
    """Returns the class shares by the black-box shift estimator, float64 (classes,), on the simplex.

    Least squares on the simplex [Lipton et al. 2018 invert the matrix; constrained after Bunse 2022].

    Args:
        labels: int (n,), of labelled images that the teacher was not trained on.
        predictions: int (n,), what the teacher predicts for them.
        stream_predictions: int (m,), what the teacher predicts for the stream, m > 0.
        classes: number of classes. One without a labelled image gets share 0.
    """
    joint = np.zeros((classes, classes))
    np.add.at(joint, (predictions, labels), 1)
    known = np.flatnonzero(joint.sum(axis=0))
    rates = joint[:, known] / joint[:, known].sum(axis=0)
    shares = np.bincount(stream_predictions, minlength=classes) / len(stream_predictions)
    # A heavy row asks for the sum of 1 among the squares.
    rows = np.vstack([rates, np.full(len(known), _SUM_WEIGHT)])
    solution, _ = optimize.nnls(rows, np.append(shares, _SUM_WEIGHT))
    prior = np.zeros(classes)
    prior[known] = solution / solution.sum()
    return prior
