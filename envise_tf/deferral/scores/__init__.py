"""Scores that tell inliers from outliers: one score per file, each a pure function and a thin configurable class.

A new score is a new file here, named as the score, with a subclass of `OutlierScore`, and a line in `SCORES`. Larger =
more inlier.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from envise_tf.deferral.scores.agreement import Agreement
from envise_tf.deferral.scores.energy import Energy
from envise_tf.deferral.scores.fdbd import Fdbd
from envise_tf.deferral.scores.gen import Gen
from envise_tf.deferral.scores.inlier_mass import InlierMass
from envise_tf.deferral.scores.knn import Knn
from envise_tf.deferral.scores.mahalanobis import Mahalanobis
from envise_tf.deferral.scores.margin import Margin
from envise_tf.deferral.scores.max_logit import MaxLogit
from envise_tf.deferral.scores.msp import Msp
from envise_tf.deferral.scores.nci import Nci
from envise_tf.deferral.scores.odin import Odin
from envise_tf.deferral.scores.outputs import Outputs
from envise_tf.deferral.scores.react import React
from envise_tf.deferral.scores.regret import Regret
from envise_tf.deferral.scores.relative_mahalanobis import RelativeMahalanobis
from envise_tf.deferral.scores.score import NotApplicable, OutlierScore, stored
from envise_tf.deferral.scores.vim import Vim
from envise_tf.registry import made

__all__ = [
    "DEFAULT_SCORES",
    "SCORES",
    "NotApplicable",
    "OutlierScore",
    "fitted_default_score",
    "load_score",
    "outlier_score",
]

DEFAULT_SCORES = ("regret", "msp")
"""The scores that decide unless another is asked for, the first that applies. Our choice: over the six scenarios of
CIFAR-100, regret lost the least accuracy at equal coverage, clearly less than agreement and msp in streams without
outliers, and as much as agreement, less than msp, where 5 % of the stream are outliers."""

SCORES: dict[str, type[OutlierScore]] = {
    "agreement": Agreement,
    "energy": Energy,
    "fdbd": Fdbd,
    "gen": Gen,
    "inlier_mass": InlierMass,
    "knn": Knn,
    "mahalanobis": Mahalanobis,
    "margin": Margin,
    "max_logit": MaxLogit,
    "msp": Msp,
    "nci": Nci,
    "odin": Odin,
    "react": React,
    "regret": Regret,
    "relative_mahalanobis": RelativeMahalanobis,
    "vim": Vim,
}
"""All scores, by the names that settings and bundles give them."""


def outlier_score(name: str, options: Mapping[str, Any] | None = None) -> OutlierScore:
    """Returns the score of that name with these options, not fitted yet.

    Raises:
        UserError: unknown score or option, or a value out of its range.
    """
    return made("outlier score", SCORES, name, options or {})


def fitted_default_score(outputs: Outputs, pseudo_label: np.ndarray, regret: np.ndarray) -> OutlierScore:
    """Returns the first of `DEFAULT_SCORES` that applies, fitted.

    Args:
        outputs: of the student, on n images.
        pseudo_label: int64 (n,), as for `OutlierScore.fit`, like the next.
        regret: float32 (n,).
    """
    for name in DEFAULT_SCORES:
        score = outlier_score(name)
        try:
            score.fit(outputs, pseudo_label, regret)
        except NotApplicable:
            continue
        return score
    raise AssertionError(f"{DEFAULT_SCORES[-1]} needs no fitting and so always applies")


def load_score(path: str | Path) -> OutlierScore:
    """Returns a score that `OutlierScore.save` has written, fitted as it was.

    Raises:
        UserError: the file is missing, holds no score, or one that this version does not know.
    """
    name, options, fitted = stored(path)
    score = outlier_score(name, options)
    score.fitted = fitted
    return score
