"""Separation of classes against scikit-learn and loops over pairs; pictures against singular vectors."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.metrics import calinski_harabasz_score

from envise_tf.errors import UserError
from envise_tf.measures.separation import LEAST_PROJECTED, projected, scatter_ratio, silhouette


def clusters(distance=3.0, sizes=(20, 50, 30), width=6, seed=2):
    """Normal clouds around random places, labelled 4, 7, 9 and not sorted by label."""
    random = np.random.default_rng(seed)
    labels = np.repeat([4, 7, 9], sizes)
    places = {label: distance * random.normal(size=width) for label in (4, 7, 9)}
    features = np.stack([places[label] + random.normal(size=width) for label in labels])
    order = random.permutation(len(labels))
    return features[order], labels[order]


def test_scatter_by_hand():
    features, labels = np.array([[0.0, 0.0], [2.0, 0.0], [5.0, 1.0], [5.0, -1.0]]), np.array([0, 0, 1, 1])
    # Means (1, 0) and (5, 0), of all (3, 0): between 2 * 4 + 2 * 4, within 1 + 1 + 1 + 1.
    assert scatter_ratio(features, labels) == pytest.approx(4.0)


def test_scatter_against_scikit_learn():
    features, labels = clusters()
    expected = calinski_harabasz_score(features, labels) * (3 - 1) / (100 - 3)
    assert scatter_ratio(features, labels) == pytest.approx(expected)
    assert scatter_ratio(features.astype(np.float32), labels) == pytest.approx(expected, rel=1e-5)


def test_silhouette_against_a_loop():
    features, labels = clusters(distance=1.0)
    distances, values = cdist(features, features), []
    for i, label in enumerate(labels):
        own = distances[i, labels == label].sum() / (np.sum(labels == label) - 1)
        other = min(distances[i, labels == rival].mean() for rival in set(labels) - {label})
        values.append((other - own) / max(own, other))
    assert silhouette(features, labels) == pytest.approx(np.mean(values))


@pytest.mark.parametrize("figure", [scatter_ratio, silhouette])
def test_both_grow_with_separation_and_ignore_moves_turns_scale_and_names(figure):
    features, labels = clusters()
    assert figure(*clusters(distance=6.0)) > figure(features, labels) > figure(*clusters(distance=0.0))
    turn, _ = np.linalg.qr(np.random.default_rng(4).normal(size=(6, 6)))
    assert figure(7 * features @ turn + 3, 20 - labels) == pytest.approx(figure(features, labels))


def test_scatter_is_scale_free_far_from_the_origin_in_float32():
    features, labels = clusters()
    moved = (features + 1000).astype(np.float32)
    assert scatter_ratio(moved, labels) == pytest.approx(scatter_ratio(features, labels), rel=1e-3)


def test_classes_that_are_single_points_are_infinitely_apart():
    features = np.array([[0.0, 1.0], [0.0, 1.0], [2.0, 2.0]])
    assert scatter_ratio(features, np.array([0, 0, 1])) == np.inf


def test_tsne_keeps_clusters_together_and_follows_the_seed():
    features, labels = clusters(distance=8.0)
    placed = projected(features, seed=3)
    assert placed.shape == (100, 2)
    assert placed.dtype == np.float64
    nearest = (cdist(placed, placed) + np.diag(np.full(100, np.inf))).argmin(axis=1)
    assert np.mean(labels[nearest] == labels) > 0.98
    np.testing.assert_array_equal(placed, projected(features, seed=3))


def test_the_fewest_images_give_a_picture_and_one_less_an_error():
    features = clusters()[0][:LEAST_PROJECTED]
    assert np.isfinite(projected(features, 0)).all()
    with pytest.raises(UserError, match=r"t-SNE of features of shape \(3, 6\): expected at least \(4, 2\)"):
        projected(features[1:], 0)


@pytest.mark.parametrize("figure", [scatter_ratio, silhouette])
@pytest.mark.parametrize(
    ("features", "labels", "message"),
    [
        (np.eye(3), [1, 1, 1], r"1 class\(es\) among 3 images: expected at least two classes"),
        (np.empty((0, 3)), [], r"0 class\(es\) among 0 images"),
        (np.eye(3), [0, 1], r"labels have shape \(2,\), expected \(3,\)"),
        (np.ones(3), [0, 1, 1], r"features have shape \(3,\), expected \(images, features\)"),
        (np.ones((3, 2)), [0, 1, 1], "all 3 images have the same features"),
        ([[0.0, np.nan], [1.0, 2.0], [np.inf, 1.0]], [0, 1, 1], "2 images have features that are not finite"),
    ],
)
def test_what_makes_no_sense_is_refused(figure, features, labels, message):
    with pytest.raises(UserError, match=message):
        figure(features, np.array(labels))


def test_silhouette_needs_two_images_of_a_class():
    with pytest.raises(UserError, match="3 images of as many classes: expected two images in some class"):
        silhouette(np.eye(3), np.arange(3))


def test_pictures_need_two_features():
    with pytest.raises(UserError, match=r"t-SNE of features of shape \(5, 1\)"):
        projected(np.arange(5.0)[:, None], 0)
