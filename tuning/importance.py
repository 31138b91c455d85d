"""How much each setting of a sweep mattered: permutation importance in a random forest (Breiman 2001, section 10).

A forest learns the objective's figure from the settings. Each tree is then asked about the trials that it was not grown
on (out of bag), once as they are and once with one setting shuffled among them; the squared error grows by

    I_j = mean over trials i of mean over trees t without i of  (y_i - t(x_i with x_j shuffled))^2 - (y_i - t(x_i))^2

and is given as a share of the variance of y. Its spread is the standard error of the mean over trials [our choice], as
if these were independent: it tells how much hangs on a few of them, not what another seed would give.

Trials that trained for fewer windows have smaller figures for that alone. They stay, and the number of windows is one
more feature of the forest [our choice]. Of several rungs of Hyperband that trained one student on, only the last
counts: the forest would be asked about settings that it has seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.ensemble import RandomForestRegressor
from sklearn.tree import DecisionTreeRegressor

from envise_tf.tuning.positions import positions
from envise_tf.tuning.ranking import students
from envise_tf.tuning.space import Space
from envise_tf.tuning.trials import TrialRecord

LEAST_STUDENTS = 15
"""A forest of fewer says nothing (our choice)."""

WINDOWS = "windows"
"""Name of the number of windows among the features."""

_TREES = 300


@dataclass(frozen=True)
class Importance:
    """What a forest says of the settings.

    Attributes:
        names: of the features: the settings, and `WINDOWS` where students trained for different numbers of them.
        values: float (k,), growth of the squared error when a feature is shuffled, as a share of the figures' variance.
        spreads: float (k,), standard errors of the values.
        explained: share of the variance that the forest explains out of bag; nothing can be read from it if <= 0.
        students: on which it was grown.
    """

    names: tuple[str, ...]
    values: np.ndarray
    spreads: np.ndarray
    explained: float
    students: int


def importance(space: Space, records: Sequence[TrialRecord], objective: str) -> Importance | None:
    """Returns the importance of each setting; None of fewer than `LEAST_STUDENTS`, or when all figures are the same.

    The baseline is left out, for its settings need not lie in the space.

    Args:
        space: of the settings.
        records: of all trials, in any order.
        objective: the figure that is explained.
    """
    used = students(records)
    target = np.array([record.figures[objective] for record in used])
    if len(used) < LEAST_STUDENTS or np.ptp(target) == 0:
        return None
    names, features = tuple(space.dimensions), positions(space, [record.values for record in used])
    windows = np.array([record.windows for record in used], float)
    if np.ptp(windows) > 0:
        names, features = (*names, WINDOWS), np.column_stack([features, windows])
    forest = RandomForestRegressor(_TREES, max_features=1 / 3, oob_score=True, random_state=0).fit(features, target)
    growth = _growth_by_trial(forest, features, target) / target.var()
    spreads = growth.std(axis=0, ddof=1) / np.sqrt(len(used))
    return Importance(names, growth.mean(axis=0), spreads, float(forest.oob_score_), len(used))


def _growth_by_trial(forest: RandomForestRegressor, features: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Returns the growth of the squared error of each trial, by shuffled feature: float, as `features`."""
    shuffler = np.random.default_rng(0)
    total, trees = np.zeros_like(features), np.zeros((len(target), 1))
    for tree, in_bag in zip(forest.estimators_, forest.estimators_samples_, strict=True):
        out = np.setdiff1d(np.arange(len(target)), in_bag)
        if len(out) > 1:
            total[out] += _growth(tree, features[out], target[out], shuffler)
            trees[out] += 1
    return total / np.maximum(trees, 1)


def _growth(
    tree: DecisionTreeRegressor, features: np.ndarray, target: np.ndarray, shuffler: np.random.Generator
) -> np.ndarray:
    count, width = features.shape
    asked = np.repeat(features[np.newaxis], width + 1, axis=0)  # the last copy stays as it is
    for column in range(width):
        asked[column, :, column] = shuffler.permutation(features[:, column])
    errors = (tree.predict(asked.reshape(-1, width)).reshape(width + 1, count) - target) ** 2
    return (errors[:-1] - errors[-1]).T
