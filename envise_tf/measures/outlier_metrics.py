"""How well a score tells inliers from outliers, over all thresholds.

A score is larger for an inlier; an image passes a threshold when its score reaches it. Recall is the share of inliers
that pass, the false positive rate the share of outliers that pass. Neither knows how many outliers there are, and so
AUROC, the false positive rate at a recall and the detection error do not either; precision does, and with it AUPR.
"""

from __future__ import annotations

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from envise_tf.errors import UserError

RECALL = 0.95
"""The share of inliers that pass where the false positive rate is read off (as in Liang et al. 2018, ODIN)."""


def outlier_metrics(
    inlier_scores: np.ndarray, outlier_scores: np.ndarray, outlier_rate: float | None = None
) -> dict[str, float]:
    """Returns the usual five figures, each in 0..1.

    - auroc: probability that an inlier scores above an outlier, ties half; the same whichever side is positive.
    - fpr_at_95_recall: smallest share of outliers that pass where at least 95 % of the inliers do; inliers positive.
    - aupr_inlier: average precision with inliers positive (a sum over steps, not a trapezium).
    - aupr_outlier: average precision with outliers positive, a low score first.
    - detection_error: min over thresholds of (share of inliers missed + share of outliers that pass) / 2, which is
      the error where both kinds are equally frequent (ODIN); symmetric.

    Args:
        inlier_scores: float (n,), finite.
        outlier_scores: float (m,), finite.
        outlier_rate: in (0, 1); weighs both sides so that outliers make up this share, which only the two average
            precisions see. None takes the sides as they are, m / (n + m).

    Raises:
        UserError: a side is empty, a score is not finite, or the rate is out of range.
    """
    is_inlier, scores = _labelled(inlier_scores, outlier_scores)
    weights = _weights(is_inlier, outlier_rate)
    fpr, recall = roc(inlier_scores, outlier_scores)
    return {
        "auroc": float(roc_auc_score(is_inlier, scores)),
        "fpr_at_95_recall": float(fpr[recall >= RECALL].min()),
        "aupr_inlier": float(average_precision_score(is_inlier, scores, sample_weight=weights)),
        "aupr_outlier": float(average_precision_score(~is_inlier, -scores, sample_weight=weights)),
        "detection_error": float(((1 - recall + fpr) / 2).min()),
    }


def roc(inlier_scores: np.ndarray, outlier_scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the ROC curve with inliers positive: false positive rates and recalls, float64 (k,), from 0 to 1 each.

    One point a distinct score, and the one where nothing passes.

    Args:
        inlier_scores: float (n,), finite.
        outlier_scores: float (m,), finite.

    Raises:
        UserError: a side is empty or a score is not finite.
    """
    fpr, recall, _ = roc_curve(*_labelled(inlier_scores, outlier_scores), drop_intermediate=False)
    return fpr, recall


def _labelled(inlier_scores: np.ndarray, outlier_scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns whether each is an inlier, bool (n + m,), and all scores, float64 (n + m,)."""
    sides = {"inlier": np.asarray(inlier_scores, np.float64), "outlier": np.asarray(outlier_scores, np.float64)}
    for name, scores in sides.items():
        if scores.ndim != 1 or not len(scores):
            raise UserError(f"{name} scores have shape {scores.shape}, expected (n,) with at least one image")
        if not np.isfinite(scores).all():
            raise UserError(
                f"{np.sum(~np.isfinite(scores))} of {len(scores)} {name} scores are not finite: expected numbers; "
                "look at the score's input, or leave these images out"
            )
    is_inlier = np.repeat([True, False], [len(scores) for scores in sides.values()])
    return is_inlier, np.concatenate(list(sides.values()))


def _weights(is_inlier: np.ndarray, outlier_rate: float | None) -> np.ndarray | None:
    if outlier_rate is None:
        return None
    if not 0 < outlier_rate < 1:
        raise UserError(f"outlier rate {outlier_rate}: expected a share above 0 and below 1, or None")
    return np.where(is_inlier, (1 - outlier_rate) / is_inlier.sum(), outlier_rate / (~is_inlier).sum())
