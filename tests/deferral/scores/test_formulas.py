"""Each score's formula and fit, against SciPy, scikit-learn, NumPy, and values of pytorch-ood."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from made_held_back import fit
from scipy.spatial.distance import mahalanobis as scipy_mahalanobis
from scipy.special import expit, logsumexp, softmax
from sklearn.covariance import LedoitWolf
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from envise_tf.deferral.scores import NotApplicable, outlier_score
from envise_tf.deferral.scores.energy import energy
from envise_tf.deferral.scores.gen import gen
from envise_tf.deferral.scores.odin import MAGNITUDES
from envise_tf.deferral.scores.outputs import Observer, Outputs
from envise_tf.deferral.scores.regret import fitted_weights, regression_inputs

pytestmark = pytest.mark.slow

PYTORCH_OOD = json.loads((Path(__file__).parent / "pytorch_ood.json").read_text())
LOGITS = np.random.default_rng(7).normal(scale=4, size=(50, 12))


def known(held_back):
    outputs, pseudo_label = held_back
    return outputs.chosen(pseudo_label >= 0), pseudo_label[pseudo_label >= 0]


def score_of(name, logits, **options):
    logits = tf.constant(logits, tf.float32)
    return outlier_score(name, options)(logits, tf.zeros((len(logits), 3)))


def test_msp_is_the_largest_softmax():
    np.testing.assert_allclose(score_of("msp", LOGITS), softmax(LOGITS, axis=1).max(axis=1), rtol=1e-5)


def test_max_logit_is_the_largest_logit():
    np.testing.assert_allclose(score_of("max_logit", LOGITS), LOGITS.max(axis=1), rtol=1e-6)


def test_margin_is_the_log_odds_of_the_class_against_the_next():
    p = np.sort(softmax(LOGITS, axis=1), axis=1)
    np.testing.assert_allclose(score_of("margin", LOGITS), np.log(p[:, -1] / p[:, -2]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 10.0])
def test_energy_is_the_smooth_maximum(temperature):
    expected = temperature * logsumexp(LOGITS / temperature, axis=1)
    np.testing.assert_allclose(score_of("energy", LOGITS, temperature=temperature), expected, rtol=1e-5)


def test_energy_is_finite_for_huge_logits_and_near_the_largest_logit_when_cold():
    np.testing.assert_allclose(energy(tf.constant([[1e4, -1e4]])), [1e4])
    np.testing.assert_allclose(energy(tf.constant(LOGITS), 1e-3), LOGITS.max(axis=1), atol=1e-3)


@pytest.mark.parametrize(("gamma", "top"), [(0.1, 100), (0.1, 3), (0.5, 1), (0.9, 12)])
def test_gen_is_the_sum_over_the_most_probable_classes(gamma, top):
    p = np.sort(softmax(LOGITS, axis=1), axis=1)[:, ::-1][:, :top]
    expected = -((p * (1 - p)) ** gamma).sum(axis=1)
    np.testing.assert_allclose(score_of("gen", LOGITS, gamma=gamma, top=top), expected, rtol=1e-5)


def test_gen_tells_very_sure_images_apart():
    """p = 1 - e for e far below the precision of float32: by hand, G is twice e^gamma."""
    gap = np.array([20.0, 40.0, 200.0])
    scores = gen(tf.constant(np.stack([gap, np.zeros(3)], axis=1), tf.float32), gamma=0.1, top=2)
    np.testing.assert_allclose(scores, -2 * np.exp(-0.1 * gap), rtol=1e-5)


def test_gen_is_least_where_all_classes_are_alike():
    np.testing.assert_allclose(score_of("gen", np.zeros((1, 4)), gamma=0.5), [-4 * np.sqrt(3 / 16)], rtol=1e-6)


def test_odin_is_the_softmax_at_its_temperature_of_the_perturbed_image(fitted, fresh):
    score = fitted("odin", temperature=50.0)
    some = fresh.chosen(np.arange(10))
    magnitude = float(score.fitted["magnitude"])
    logits = fresh.observer.perturbed_logits(some.images, [magnitude], 50.0)[0].astype(float)
    np.testing.assert_allclose(score.score(some), softmax(logits / 50, axis=1).max(axis=1), rtol=1e-5)


def test_odin_takes_the_magnitude_that_raises_the_mean_score_of_known_images_most(held_back):
    outputs, pseudo_label = (
        part[:20] if isinstance(part, np.ndarray) else part.chosen(np.arange(20)) for part in held_back
    )
    inliers = outputs.chosen(pseudo_label >= 0)
    logits = inliers.observer.perturbed_logits(inliers.images, MAGNITUDES, 20.0).astype(float)
    means = softmax(logits / 20, axis=2).max(axis=2).mean(axis=1)
    score = outlier_score("odin", {"temperature": 20.0})
    fit(score, outputs, pseudo_label)
    assert float(score.fitted["magnitude"]) == MAGNITUDES[int(np.argmax(means))]


def class_distances(features, inliers, label, precision):
    means = [inliers.features[label == c].mean(axis=0, dtype=float) for c in np.unique(label)]
    return np.array([[scipy_mahalanobis(f, mean, precision) ** 2 for mean in means] for f in features]).min(axis=1)


def within_class_precision(inliers, label):
    residuals = np.concatenate(
        [part - part.mean(axis=0) for part in (inliers.features[label == c].astype(float) for c in np.unique(label))]
    )
    return LedoitWolf(assume_centered=True).fit(residuals).precision_


def test_mahalanobis_is_the_squared_distance_to_the_nearest_class(fitted, held_back, fresh, outliers):
    inliers, label = known(held_back)
    precision = within_class_precision(inliers, label)
    for outputs in (fresh, outliers):
        expected = -class_distances(outputs.features, inliers, label, precision)
        np.testing.assert_allclose(fitted("mahalanobis").score(outputs), expected, rtol=1e-4)


def test_relative_mahalanobis_takes_off_the_distance_to_all(fitted, held_back, fresh):
    inliers, label = known(held_back)
    to_class = class_distances(fresh.features, inliers, label, within_class_precision(inliers, label))
    to_all = LedoitWolf().fit(inliers.features.astype(float)).mahalanobis(fresh.features)
    np.testing.assert_allclose(fitted("relative_mahalanobis").score(fresh), to_all - to_class, rtol=1e-4, atol=1e-3)


def test_a_class_without_an_image_has_no_mean_and_its_images_lie_far_off(held_back, fresh):
    inliers, label = known(held_back)
    label_without_0 = np.where(label == 0, -1, label)
    score = outlier_score("mahalanobis")
    fit(score, inliers, label_without_0)
    assert score.fitted["means"].shape[0] == 6
    scores, is_0 = score.score(fresh), fresh.logits.argmax(axis=1) == 0
    assert np.median(scores[is_0]) < np.quantile(scores[~is_0], 0.1)


def test_few_images_and_channels_that_never_fire_give_a_finite_distance(held_back, fresh):
    outputs, label = known(held_back)
    features = np.where(np.arange(outputs.features.shape[1]) < 9, 0, outputs.features)
    few = Outputs(outputs.images, outputs.logits, features, outputs.observer).chosen(np.arange(12))
    for name in ("mahalanobis", "relative_mahalanobis"):
        score = outlier_score(name)
        fit(score, few, label[:12])
        assert np.isfinite(score.score(fresh)).all()


@pytest.mark.parametrize("name", ["mahalanobis", "vim"])
def test_images_that_are_all_alike_fit_nothing(name, held_back):
    outputs, _ = known(held_back)
    with pytest.raises(NotApplicable, match="held-back images"):
        fit(outlier_score(name), outputs.chosen(np.zeros(9, int)), np.zeros(9, int))


def test_one_class_is_no_case_for_the_relative_distance(held_back):
    outputs, label = held_back
    with pytest.raises(NotApplicable, match="one class for all held-back images, expected at least two"):
        fit(outlier_score("relative_mahalanobis"), outputs, np.full_like(label, 3))


@pytest.mark.parametrize("share", [0.001, 0.05, 1.0])
def test_knn_is_the_distance_to_the_kth_neighbour(fitted, held_back, fresh, share):
    inliers, _ = known(held_back)
    k = math.ceil(share * len(inliers.features))
    normalised, bank = (
        part.features / np.linalg.norm(part.features, axis=1, keepdims=True).astype(float) for part in (fresh, inliers)
    )
    distances, _ = NearestNeighbors(n_neighbors=k).fit(bank).kneighbors(normalised)
    np.testing.assert_allclose(fitted("knn", share=share).score(fresh), -distances[:, -1], rtol=1e-4, atol=1e-6)


def test_knn_of_an_image_of_the_bank_is_nothing(fitted, held_back):
    inliers, _ = known(held_back)
    np.testing.assert_allclose(fitted("knn", share=0.001).score(inliers), np.zeros(len(inliers.logits)), atol=1e-6)


def test_vim_takes_off_what_the_principal_components_leave(fitted, held_back, fresh, student):
    inliers, _ = known(held_back)
    # No bias is left once the origin is taken off.
    origin = np.linalg.lstsq(student.kernel.T.astype(float), -student.bias.astype(float), rcond=None)[0]
    np.testing.assert_allclose((fresh.features - origin) @ student.kernel, fresh.logits, atol=1e-4)
    centred, others = inliers.features - origin, fresh.features - origin
    # A PCA of the images and their mirror images has its mean in the origin.
    components = (
        PCA(n_components=len(origin) // 2, svd_solver="full").fit(np.concatenate([centred, -centred])).components_
    )
    left, left_of_others = (np.linalg.norm(x - x @ components.T @ components, axis=1) for x in (centred, others))
    alpha = inliers.logits.max(axis=1).mean() / left.mean()
    expected = logsumexp(fresh.logits.astype(float), axis=1) - alpha * left_of_others
    np.testing.assert_allclose(fitted("vim").score(fresh), expected, rtol=1e-4, atol=1e-4)


def test_vim_keeps_fewer_components_than_half_the_images(held_back):
    outputs, label = known(held_back)
    score = outlier_score("vim", {"share": 0.9})
    fit(score, outputs.chosen(np.arange(11)), label[:11])
    assert score.fitted["residual"].shape == (len(score.fitted["origin"]), len(score.fitted["origin"]) - 5)


def test_vim_asks_for_logits_above_zero(held_back):
    outputs, label = known(held_back)
    low = Outputs(outputs.images, outputs.logits - 100, outputs.features, outputs.observer)
    with pytest.raises(NotApplicable, match=r"mean largest logit of -9.*expected both above 0; take energy"):
        fit(outlier_score("vim"), low, label)


@pytest.mark.parametrize("percentile", [50.0, 90.0])
def test_react_is_the_energy_of_clipped_features(fitted, held_back, fresh, student, percentile):
    limit = np.quantile(known(held_back)[0].features.astype(float), percentile / 100)
    logits = np.clip(fresh.features, None, limit) @ student.kernel.astype(float) + student.bias
    np.testing.assert_allclose(
        fitted("react", percentile=percentile).score(fresh), logsumexp(logits, axis=1), rtol=1e-5
    )


def test_react_that_clips_nothing_is_energy(fitted, fresh, held_back):
    inliers, _ = known(held_back)
    np.testing.assert_allclose(
        fitted("react", percentile=100.0).score(inliers), outlier_score("energy").score(inliers), rtol=1e-5
    )


def test_fdbd_is_how_far_a_feature_has_to_move_to_the_boundaries(fitted, held_back, fresh, student):
    mean = known(held_back)[0].features.mean(axis=0, dtype=float)
    kernel, expected = student.kernel.astype(float), []
    for feature in fresh.features.astype(float):
        logits = feature @ kernel + student.bias
        p, moved = logits.argmax(), 0.0
        for c in set(range(7)) - {p}:
            normal = kernel[:, p] - kernel[:, c]
            distance = abs(logits[p] - logits[c]) / np.linalg.norm(normal)
            on_boundary = (feature - distance * normal / np.linalg.norm(normal)) @ kernel + student.bias
            np.testing.assert_allclose(on_boundary[p], on_boundary[c])
            moved += distance
        expected.append(moved / np.linalg.norm(feature - mean))
    np.testing.assert_allclose(fitted("fdbd").score(fresh), expected, rtol=1e-4)


def test_fdbd_is_finite_at_the_mean_and_for_classes_that_share_their_weights():
    dense, image = tf.keras.layers.Dense(3), tf.keras.Input((1, 1, 3), dtype="uint8")
    student = tf.keras.Model(image, dense(tf.keras.layers.Flatten()(image)))
    dense.set_weights([np.array([[1, 1, 0], [0, 0, 1], [0, 0, 0]]), np.zeros(3)])
    outputs = Observer(student)(np.array([[4, 2, 0], [2, 0, 0]], np.uint8).reshape(2, 1, 1, 3))
    score = outlier_score("fdbd")
    fit(score, outputs, np.zeros(2, int))
    # By hand: the mean is (3, 1, 0), sqrt(2) from both, and the boundary lies at x = y.
    np.testing.assert_allclose(score.score(outputs), [1.0, 1.0], rtol=1e-6)
    np.testing.assert_array_equal(score(tf.constant([[3.0, 3.0, 1.0]]), tf.constant([[3.0, 1.0, 0.0]])), [0.0])


@pytest.mark.parametrize("alpha", [0.0, 0.01])
def test_nci_is_the_projection_on_the_weights_of_the_class_and_the_norm(fitted, held_back, fresh, student, alpha):
    mean, expected = known(held_back)[0].features.mean(axis=0, dtype=float), []
    for feature, logits in zip(fresh.features.astype(float), fresh.logits, strict=True):
        weights, off_mean = student.kernel[:, logits.argmax()].astype(float), feature - mean
        cosine = weights @ off_mean / np.linalg.norm(weights) / np.linalg.norm(off_mean)
        expected.append(np.linalg.norm(weights) * cosine + alpha * np.abs(feature).sum())
    np.testing.assert_allclose(fitted("nci", alpha=alpha).score(fresh), expected, rtol=1e-4)


def test_inlier_mass_is_the_probability_of_the_frequent_classes(held_back):
    outputs, _ = held_back
    label = np.array([0] * 50 + [2] * 40 + [5] * 9 + [6] + [-1] * 100)
    score = outlier_score("inlier_mass", {"coverage": 0.95})
    fit(score, outputs, label)
    np.testing.assert_array_equal(score.fitted["is_frequent"], [1, 0, 1, 0, 0, 1, 0])
    expected = softmax(outputs.logits.astype(float), axis=1)[:, [0, 2, 5]].sum(axis=1)
    np.testing.assert_allclose(score.score(outputs), expected, rtol=1e-5)


def test_inlier_mass_needs_classes_that_are_rare(held_back):
    outputs, _ = held_back
    with pytest.raises(NotApplicable, match="7 of the student's 7 classes are frequent, expected some and not all"):
        fit(outlier_score("inlier_mass"), outputs, np.arange(200) % 7)
    with pytest.raises(NotApplicable, match="0 of the student's 7 classes are frequent"):
        fit(outlier_score("inlier_mass", {"min_share": 0.5}), outputs, np.arange(200) % 7)


@pytest.mark.parametrize("inverse_penalty", [0.01, 10.0])
def test_agreement_is_a_logistic_regression(fitted, held_back, fresh, inverse_penalty):
    def inputs(outputs):
        z = outputs.logits.astype(float)
        return np.column_stack([np.sort(softmax(z, axis=1), axis=1)[:, :-3:-1], z.max(axis=1), logsumexp(z, axis=1)])

    outputs, pseudo_label = held_back
    regression = make_pipeline(StandardScaler(), LogisticRegression(C=inverse_penalty, tol=1e-8, max_iter=5000))
    regression.fit(inputs(outputs), outputs.logits.argmax(axis=1) == pseudo_label)
    expected = regression.predict_proba(inputs(fresh))[:, 1]
    np.testing.assert_allclose(fitted("agreement", inverse_penalty=inverse_penalty).score(fresh), expected, atol=2e-3)


def test_agreement_counts_a_class_that_the_student_lacks_as_disagreement(held_back):
    outputs, _ = held_back
    right = outputs.logits.argmax(axis=1)
    sure = outputs.logits.max(axis=1) > np.median(outputs.logits.max(axis=1))
    scores = []
    for other in (-1, (right + 1) % 7):
        score = outlier_score("agreement")
        fit(score, outputs, np.where(sure, right, other))
        scores.append(score.score(outputs))
    np.testing.assert_array_equal(*scores)
    assert scores[0][sure].mean() > scores[0][~sure].mean() + 0.2


def test_agreement_has_to_see_both(held_back):
    outputs, _ = held_back
    right = outputs.logits.argmax(axis=1)
    for label, count in ((right, 200), ((right + 1) % 7, 0), (np.full_like(right, -1), 0)):
        with pytest.raises(NotApplicable, match=f"agree on {count} of 200 held-back images, expected some and not all"):
            fit(outlier_score("agreement"), outputs, label)


def regret_of(outputs, seed=5):
    """Regrets that fall as the margin rises, and are not 0 or 1 alone."""
    z = np.sort(outputs.logits.astype(float), axis=1)
    return np.random.default_rng(seed).random(len(z)) * expit(1 - 0.5 * (z[:, -1] - z[:, -2]))


def fractional_regression(inputs, target, penalty):
    """scikit-learn's logistic regression takes no shares, but each image twice, as both classes, with their weights."""
    rows, share = np.concatenate([inputs, inputs]), np.concatenate([target, 1 - target])
    regression = LogisticRegression(C=1 / penalty, tol=1e-10, max_iter=5000)
    regression.fit(rows, np.repeat([1, 0], len(target)), sample_weight=share)
    return regression.coef_[0], regression.intercept_[0]


@pytest.mark.parametrize("penalty", [0.1, 20.0])
def test_regret_is_a_logistic_regression_without_the_inputs_that_would_lower_it(penalty):
    random = np.random.default_rng(2)
    inputs = random.normal(size=(300, 4))
    inputs[:, 3] += inputs[:, 0]
    target = np.clip(expit(inputs @ [1.0, 0.3, -2.0, 0.0] + 0.5) + random.normal(scale=0.1, size=300), 0, 1)
    weights, bias = fitted_weights(inputs, target, penalty)
    positive = weights > 0
    assert positive[:2].all()
    assert not positive[2]
    expected = fractional_regression(inputs[:, positive], target, penalty)
    np.testing.assert_allclose(weights[positive], expected[0], atol=1e-4)
    np.testing.assert_allclose(bias, expected[1], atol=1e-4)
    # It is the optimum over all inputs: more of one that is left out would only raise the loss.
    gradient = (expit(inputs @ weights + bias) - target) @ inputs + penalty * weights
    assert gradient[~positive].min() > 0


def test_regret_is_minus_the_expected_regret(held_back, fresh):
    outputs, label = held_back
    target = regret_of(outputs)
    score = outlier_score("regret")
    score.fit(outputs, label, target)
    z = fresh.logits.astype(float)
    largest = np.sort(z, axis=1)
    inputs = np.column_stack([largest[:, -1] - largest[:, -2], logsumexp(z, axis=1)])
    expected = -expit(-(inputs @ score.fitted["weights"].astype(float) + score.fitted["bias"]))
    np.testing.assert_allclose(score.score(fresh), expected, rtol=1e-4)
    # A logistic regression with a bias gets the mean right.
    np.testing.assert_allclose(score.score(outputs).mean(), -target.mean(), atol=1e-4)


def test_regret_tells_the_surest_images_apart():
    score = outlier_score("regret")
    score.fitted = {"weights": np.array([1.0, 0.0], "f"), "bias": np.float32(0)}
    logits = tf.constant([[0.0, 20.0], [0.0, 40.0], [0.0, 60.0]])
    np.testing.assert_allclose(score(logits, None), -np.exp([-20.0, -40.0, -60.0]), rtol=1e-5)


def test_regret_does_not_fall_where_the_student_is_surer(held_back):
    """Even if, at one margin, a larger energy went with a larger regret on the images that it was fitted on."""
    outputs, label = held_back
    margins, energies = regression_inputs(tf.constant(outputs.logits, tf.float64)).numpy().T
    score = outlier_score("regret")
    excess = energies - np.polyval(np.polyfit(margins, energies, 1), margins)
    score.fit(outputs, label, expit(4 * excess - 0.5 * margins))
    surer = outputs.logits + np.eye(7, dtype="f")[outputs.logits.argmax(axis=1)]
    assert (score(tf.constant(surer), None).numpy() >= score.score(outputs)).all()


@pytest.mark.parametrize("regret", [0.0, 1.0])
def test_regret_that_is_always_the_same_teaches_nothing(held_back, regret):
    outputs, label = held_back
    with pytest.raises(NotApplicable, match=f"regret: it is {regret:g} for each of 200 held-back images"):
        outlier_score("regret").fit(outputs, label, np.full(200, regret, np.float32))


def test_regret_that_rises_with_certainty_fits_no_score(held_back):
    outputs, label = held_back
    certainty = softmax(outputs.logits.astype(float), axis=1).max(axis=1)
    with pytest.raises(NotApplicable, match="the surer the student is of a held-back image, the larger is the regret"):
        outlier_score("regret").fit(outputs, label, certainty)


def outputs_of(features) -> Outputs:
    """Features of pytorch-ood's reference as if a student's, whose last layer is real."""
    dense = tf.keras.layers.Dense(4)
    image = tf.keras.Input((1, 2, 3), dtype="uint8")
    student = tf.keras.Model(image, dense(tf.keras.layers.Flatten()(image)))
    dense.set_weights([np.array(PYTORCH_OOD["kernel"]), np.array(PYTORCH_OOD["bias"])])
    features = np.array(features, np.float32)
    observer = Observer(student)
    images = np.zeros((len(features), 1, 2, 3), np.uint8)
    return Outputs(images, features @ observer.kernel + observer.bias, features, observer)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("msp", {}),
        ("max_logit", {}),
        ("energy", {}),
        ("gen", {"top": 3}),
        ("vim", {"share": 0.5}),
        ("knn", {"share": 2 / 24}),
        ("react", {}),
    ],
)
def test_scores_are_those_of_pytorch_ood(name, options):
    """Seven images; where the values come from is written beside them."""
    score = outlier_score(name, options)
    fit(score, outputs_of(PYTORCH_OOD["held_back"]), np.zeros(24, np.int64))
    found = score.score(outputs_of(PYTORCH_OOD["features"]))
    np.testing.assert_allclose(found, PYTORCH_OOD["scores"][name], rtol=1e-4, atol=1e-5)
