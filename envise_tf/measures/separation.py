"""How far apart a network's penultimate features lie by class: two figures and a picture.

With class means mu_c of n_c images each, the mean mu of all, and features x_i of class c(i), the scatter between
classes and within them is (Fukunaga 1990, "Introduction to Statistical Pattern Recognition")

    trace(S_B) = sum_c n_c ||mu_c - mu||^2        trace(S_W) = sum_i ||x_i - mu_c(i)||^2

Both figures stay the same when all features are moved, turned or scaled alike, so networks can be compared by them.
"""

from __future__ import annotations

import numpy as np
from sklearn.manifold import TSNE
from sklearn.metrics import silhouette_score
from threadpoolctl import threadpool_limits

from envise_tf.errors import UserError

LEAST_PROJECTED = 4
"""Images that a picture takes."""

_PERPLEXITY = 30.0
"""scikit-learn's default; fewer than 90 images get a third of their number, since it must stay well below that."""


def scatter_ratio(features: np.ndarray, labels: np.ndarray) -> float:
    """Returns trace(S_B) / trace(S_W) >= 0, larger = better separated; inf where each class is a single point.

    Args:
        features: float (n, d).
        labels: integer (n,), the class of each image, of at least two classes.

    Raises:
        UserError: fewer than two classes, shapes that do not match, or features that are not finite or all equal.
    """
    features, labels = _checked(features, labels)
    _, index, counts = np.unique(labels, return_inverse=True, return_counts=True)
    means = np.zeros((len(counts), features.shape[1]))
    np.add.at(means, index, features)
    means /= counts[:, np.newaxis]
    between = counts @ ((means - features.mean(axis=0)) ** 2).sum(axis=1)
    within = ((features - means[index]) ** 2).sum()
    return float(between / within) if within else float("inf")


def silhouette(features: np.ndarray, labels: np.ndarray) -> float:
    """Returns the mean silhouette, in -1..1, larger = better separated (Rousseeuw 1987), by Euclidean distance.

    Of an image, it is (b - a) / max(a, b) with a the mean distance to its own class and b to the nearest other one.
    Its time is quadratic in n.

    Args:
        features: float (n, d).
        labels: integer (n,), the class of each image, of at least two classes and fewer than n.

    Raises:
        UserError: as in `scatter_ratio`, or no class has two images.
    """
    features, labels = _checked(features, labels)
    if len(np.unique(labels)) == len(labels):
        raise UserError(f"{len(labels)} images of as many classes: expected two images in some class; give more images")
    return float(silhouette_score(features, labels))


def projected(features: np.ndarray, seed: int) -> np.ndarray:
    """Returns the features laid out in the plane by t-SNE, for a picture, float64 (n, 2).

    Neighbours stay together (van der Maaten and Hinton 2008); distances and cluster sizes mean nothing. It takes some
    20 s for 2,000 images.

    Args:
        features: float (n, d), n >= 4, d >= 2.
        seed: the same seed and features give the same picture.

    Raises:
        UserError: too few images or features, or features that are not finite or all equal.
    """
    features = _checked_features(features)
    if len(features) < LEAST_PROJECTED or features.shape[1] < 2:
        raise UserError(f"t-SNE of features of shape {features.shape}: expected at least ({LEAST_PROJECTED}, 2)")
    perplexity = min(_PERPLEXITY, (len(features) - 1) / 3)
    # Its threads wait for each other actively: on a busy machine several take a hundred times as long as one.
    with threadpool_limits(1):
        placed = TSNE(n_components=2, init="pca", perplexity=perplexity, random_state=seed).fit_transform(features)
    return placed.astype(np.float64)


def _checked(features: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    features, labels = _checked_features(features), np.asarray(labels)
    if labels.shape != features.shape[:1]:
        raise UserError(f"labels have shape {labels.shape}, expected ({len(features)},): a class for each image")
    if len(np.unique(labels)) < 2:
        raise UserError(f"{len(np.unique(labels))} class(es) among {len(labels)} images: expected at least two classes")
    return features, labels


def _checked_features(features: np.ndarray) -> np.ndarray:
    # In float64: squares of a thousand features add up beyond what float32 resolves.
    features = np.asarray(features, np.float64)
    if features.ndim != 2:
        raise UserError(
            f"features have shape {features.shape}, expected (images, features): flatten or pool them first"
        )
    if not np.isfinite(features).all():
        raise UserError(f"{np.sum(~np.isfinite(features).all(axis=1))} images have features that are not finite")
    if len(features) > 1 and (features == features[0]).all():
        raise UserError(f"all {len(features)} images have the same features: expected features that differ")
    return features
