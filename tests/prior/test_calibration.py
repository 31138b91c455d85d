"""Calibration of made logits, against scikit-learn, a search over the temperature, and what is true by construction."""

import json

import numpy as np
import pytest
from gaussians import Gaussians
from scipy import optimize, special
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from envise_tf.errors import UserError
from envise_tf.prior.calibration import (
    TEMPERATURES,
    Calibration,
    calibrated_on_stream,
    fitted_calibration,
    fitted_temperature,
    logit_offset,
    matched_temperature,
    reliability,
)
from envise_tf.prior.estimation import estimated_prior
from envise_tf.prior.shift import adapted_logits, log_prior_ratio, uniform_prior

CLASSES = 8
SOURCE = uniform_prior(CLASSES)
STREAM = np.array([0.4, 0.3, 0.2, 0.06, 0.02, 0.02, 0.0, 0.0])


@pytest.fixture(scope="module")
def teacher():
    return Gaussians.random(CLASSES, dimensions=3, seed=1)


@pytest.fixture(scope="module")
def labelled(teacher):
    """Logits that are twice too sharp, and labels."""
    logits, labels = teacher.draw(SOURCE, 2000, seed=2)
    return 2 * logits, labels


def mean_loss(logits, labels, weights=None):
    return log_loss(labels, special.softmax(logits, axis=1), sample_weight=weights, labels=np.arange(logits.shape[1]))


def test_the_temperature_is_the_one_that_a_search_over_one_number_finds(labelled):
    logits, labels = labelled
    searched = optimize.minimize_scalar(
        lambda t: mean_loss(logits / t, labels) + 1 / t / len(labels), bounds=(0.1, 10), method="bounded"
    )
    calibration = fitted_temperature(logits, labels)
    assert calibration.temperature == pytest.approx(searched.x, rel=1e-4)
    assert calibration.temperature == pytest.approx(2, rel=0.1)
    assert calibration.bias == (0.0,) * CLASSES


def test_two_classes_are_logistic_regression_on_the_difference_of_the_logits():
    logits, labels = Gaussians.random(2, dimensions=2, seed=3).draw([0.7, 0.3], 500, seed=4)
    difference = logits[:, [1]] - logits[:, [0]]
    # Its penalty |slope| is our prior on 1 / T.
    lasso = LogisticRegression(penalty="l1", C=1.0, solver="saga", tol=1e-10, max_iter=100_000)
    regression = lasso.fit(difference, labels)
    calibration = fitted_calibration(logits, labels, ridge=0.0)
    assert 1 / calibration.temperature == pytest.approx(regression.coef_[0, 0], rel=1e-4)
    assert calibration.bias[1] - calibration.bias[0] == pytest.approx(regression.intercept_[0], abs=1e-4)
    assert sum(calibration.bias) == pytest.approx(0, abs=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("ridge", [0.0, 5.0])
@pytest.mark.parametrize("log_ratio", [None, np.linspace(-2, 1, CLASSES)], ids=["plain", "weighted"])
def test_no_other_temperature_and_bias_nearby_is_better(labelled, ridge, log_ratio):
    logits, labels = labelled
    shift = np.zeros(CLASSES) if log_ratio is None else log_ratio
    weights = np.exp(shift)[labels]
    effective = weights.sum() ** 2 / (weights**2).sum()

    def loss(parameters):
        bias = parameters[1:] - parameters[1:].mean()
        data = mean_loss(parameters[0] * logits + bias + shift, labels, weights)
        return data + (parameters[0] + ridge / 2 * (bias**2).sum()) / effective

    found = fitted_calibration(logits, labels, log_ratio, ridge=ridge)
    best = np.array([1 / found.temperature, *found.bias])
    independent = optimize.minimize(loss, np.append(1.0, np.zeros(CLASSES)), method="BFGS", options={"gtol": 1e-7})
    assert loss(best) == pytest.approx(independent.fun, abs=1e-8)
    np.testing.assert_allclose(best[1:], independent.x[1:] - independent.x[1:].mean(), atol=2e-3)
    rng = np.random.default_rng(0)
    assert all(loss(best) < loss(best + rng.normal(scale=0.03, size=len(best))) for _ in range(50))


def test_with_bias_and_no_ridge_the_mean_probability_of_a_class_is_its_share_of_the_labels(teacher):
    logits, labels = teacher.draw(np.linspace(1, 3, CLASSES) / 16, 1000, seed=5)
    calibration = fitted_calibration(logits, labels, ridge=0.0)
    shares = np.bincount(labels, minlength=CLASSES) / len(labels)
    means = special.softmax(calibration.logits(logits), axis=1).mean(axis=0)
    np.testing.assert_allclose(means, shares, atol=1e-5)


def test_the_ridge_shrinks_the_bias_of_a_class_with_few_images_most(teacher):
    prior = np.array([*[0.166] * 6, 0.002, 0.002])
    logits, labels = teacher.draw(prior, 6000, seed=6)
    offset = np.array([1.0, 0, 0, 0, 0, 0, 0, 1.0]) - np.log(prior)
    free, shrunk = (np.array(fitted_calibration(logits - offset, labels, ridge=r).bias) for r in (0.0, 32.0))
    kept = (shrunk - shrunk[1:6].mean()) / (free - free[1:6].mean())
    assert 0.85 < kept[0] < 1
    assert kept[7] < 0.5


def test_biases_of_noise_alone_come_out_as_next_to_none_and_true_ones_stay(teacher):
    logits, labels = teacher.draw(SOURCE, 800, seed=7)
    offset = np.array([1.5, -1.5, 0.5, -0.5, 0, 0, 0, 0])
    free = np.array(fitted_calibration(logits, labels, ridge=0.0).bias)
    of_noise = np.array(fitted_calibration(logits, labels).bias)
    assert np.abs(of_noise).max() < 0.5 * np.abs(free).max()
    true = np.array(fitted_calibration(logits - offset, labels).bias)
    np.testing.assert_allclose(true, offset, atol=0.3)


@pytest.mark.slow
def test_the_ridge_found_is_the_one_under_which_left_out_images_are_most_probable(teacher):
    """Not just on these: how a normal prior of each width would have done on images that the fit has not seen."""
    offset = np.linspace(-0.6, 0.6, CLASSES)
    losses = []
    for seed in range(6):
        fitting, held_out = (teacher.draw(SOURCE, images, seed=seed + images) for images in (300, 4000))
        fits = [fitted_calibration(fitting[0] - offset, fitting[1], ridge=ridge) for ridge in (None, 1.0, 30.0, 1e4)]
        losses.append([mean_loss(fit.logits(held_out[0] - offset), held_out[1]) for fit in fits])
    found, *fixed = np.mean(losses, axis=0)
    assert found < min(fixed) + 0.003
    assert found < max(fixed) - 0.01


@pytest.mark.parametrize("shares", [SOURCE, STREAM], ids=["as the source", "of their own"])
def test_what_a_teachers_logits_lack_is_found_whatever_the_shares_of_the_labelled_images(teacher, shares):
    logits, labels = teacher.draw(shares, 8000, seed=8)
    lacking = np.array([1.0, -1.0, 0.5, 0, 0, -0.5, 0, 0])
    found = logit_offset(2 * logits - lacking, labels, SOURCE)
    shown = shares > 0
    np.testing.assert_allclose((found - found[3])[shown], (lacking - lacking[3])[shown], atol=0.4)
    assert np.abs(found[~shown]).max(initial=0) < 2.5


def test_a_class_without_an_image_gets_a_finite_bias(labelled):
    logits, labels = labelled
    seen = labels != 3
    bias = np.array(fitted_calibration(logits[seen], labels[seen]).bias)
    assert np.isfinite(bias).all()
    assert bias.argmin() == 3


def test_useless_logits_end_at_the_hottest_temperature():
    labels = np.arange(200) % CLASSES
    for fit in (fitted_temperature, matched_temperature):
        assert fit(-np.eye(CLASSES)[labels], labels).temperature == pytest.approx(TEMPERATURES[1])


@pytest.mark.parametrize("images", [16, 50, 1000])
@pytest.mark.parametrize("gap", [1.0, 5.0])
def test_logits_that_are_never_wrong_are_believed_as_far_as_there_are_images(images, gap):
    labels = np.arange(images) % CLASSES
    logits = gap * np.eye(CLASSES)[labels]
    # By hand: each image loses log(1 + 7 exp(-gap / T)), and with 1 / T its sum is least where its slope is -1.
    slope = images * gap - 1
    sharpness = np.log((CLASSES - 1) * slope) / gap
    for found in (fitted_temperature(logits, labels), fitted_calibration(logits, labels)):
        assert 1 / found.temperature == pytest.approx(sharpness, rel=1e-3)
        mistaken = 1 - special.softmax(found.logits(logits), axis=1).max(axis=1)
        np.testing.assert_allclose(mistaken, 1 / (images * gap), rtol=0.01)


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        (np.array([[0.0, np.nan], [1, 0]]), np.array([0, 1]), "NaN or infinite"),
        (np.zeros((3, 2)), np.array([0, 1, 2]), "labels run from 0 to 2: expected 0 to 1"),
        (np.zeros((3, 2)), np.array([1, 1, 1]), "3 labelled images show 1 classes: expected at least two"),
        (np.zeros((0, 2)), np.zeros(0, int), "0 labelled images show 0 classes"),
        (np.zeros((3, 2)), np.array([0, 1]), r"expected \(images, classes\) and \(images,\)"),
        (np.zeros((2, 2)), np.array([0.0, 1.0]), "of integers"),
    ],
    ids=["nan", "label out of range", "one class", "none", "lengths", "float labels"],
)
@pytest.mark.parametrize("fit", [fitted_calibration, matched_temperature])
def test_what_cannot_be_fitted_is_said(fit, logits, labels, message):
    with pytest.raises(UserError, match=message):
        fit(logits, labels)


@pytest.mark.parametrize("temperature", [0.0, -1.0, np.nan, np.inf])
def test_a_temperature_is_above_zero(temperature):
    with pytest.raises(UserError, match="expected T > 0"):
        Calibration(temperature, (0.0, 0.0))


def test_json_gives_the_same_calibration_again(labelled):
    calibration = fitted_calibration(*labelled)
    assert Calibration.from_dict(json.loads(json.dumps(calibration.to_dict()))) == calibration


def test_the_identity_leaves_logits_as_they_are():
    logits = np.random.default_rng(0).normal(size=(5, 3))
    np.testing.assert_array_equal(Calibration.identity(3).logits(logits), logits)


@pytest.mark.parametrize("log_ratio", [None, np.linspace(-2, 1, CLASSES)], ids=["plain", "weighted"])
def test_the_matched_temperature_makes_mean_confidence_the_accuracy(labelled, log_ratio):
    logits, labels = labelled
    shift = np.zeros(CLASSES) if log_ratio is None else log_ratio
    q = special.softmax(matched_temperature(logits, labels, log_ratio).logits(logits) + shift, axis=1)
    weights = np.exp(shift)[labels]
    accuracy = np.average(q.argmax(axis=1) == labels, weights=weights)
    # An image whose answer turns at the temperature is worth its share.
    assert np.average(q.max(axis=1), weights=weights) == pytest.approx(accuracy, abs=weights.max() / weights.sum())


@pytest.mark.parametrize("seed", range(4))
def test_a_skewed_prior_does_not_lead_to_the_answer_that_is_always_the_same(teacher, seed):
    """As hot as can be, the adapted teacher is as sure of the largest share as it is right: no match to settle for."""
    prior = 1 / np.arange(1, CLASSES + 1) ** 2
    logits, labels = teacher.draw(SOURCE, 1000, seed)
    log_ratio = log_prior_ratio(prior / prior.sum(), SOURCE)
    probable = fitted_temperature(2 * logits, labels, log_ratio).temperature
    matched = matched_temperature(2 * logits, labels, log_ratio).temperature
    assert probable / 1.501 < matched < probable * 1.501


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fit", "stream_share", "tolerance"), [(fitted_temperature, 1.0, 0.03), (matched_temperature, 0.5, 0.08)]
)
def test_on_a_stream_both_the_calibration_and_the_prior_come_out_right(teacher, fit, stream_share, tolerance):
    """Two of the classes look alike, and a temperature 4 % off, as matching leaves it, moves share between them."""
    logits, labels = teacher.draw(SOURCE, 10_000, seed=2)
    stream, truth = teacher.draw(STREAM, 4000, seed=7)
    calibration, prior = calibrated_on_stream(2 * logits, labels, 2 * stream, SOURCE, fit, stream_share)
    assert calibration.temperature == pytest.approx(2, rel=0.1)
    np.testing.assert_allclose(prior, STREAM, atol=tolerance)
    q = special.softmax(adapted_logits(calibration.logits(2 * stream), prior, SOURCE), axis=1)
    accuracy = (q.argmax(axis=1) == truth).mean()
    assert accuracy > (stream.argmax(axis=1) == truth).mean() + 0.03
    assert q.max(axis=1).mean() == pytest.approx(accuracy, abs=0.03)


def test_the_alternation_ends_at_its_fixed_point(teacher, labelled):
    stream = 2 * teacher.draw(STREAM, 1000, seed=8)[0]
    calibration, prior = calibrated_on_stream(*labelled, stream, SOURCE, fitted_temperature, stream_share=1.0)
    again = fitted_temperature(*labelled, log_prior_ratio(prior, SOURCE))
    assert again.temperature == pytest.approx(calibration.temperature, rel=1e-3)
    np.testing.assert_allclose(estimated_prior(calibration.logits(stream), SOURCE).prior, prior, atol=1e-3)


def test_half_way_lies_between_the_plain_and_the_weighted_temperature(labelled, teacher):
    stream = 2 * teacher.draw(STREAM, 1000, seed=8)[0]
    plain, half, whole = (
        calibrated_on_stream(*labelled, stream, SOURCE, fitted_temperature, share)[0].temperature
        for share in (0.0, 0.5, 1.0)
    )
    assert plain == fitted_temperature(*labelled).temperature
    assert half == pytest.approx(np.sqrt(plain * whole), rel=2e-3)
    assert abs(whole - plain) > 0.01


# --- Reliability ------------------------------------------------------------------------------------------------------


def test_reliability_by_hand():
    diagram = reliability([0.1, 0.2, 0.85, 0.95, 0.9], [False, True, True, True, False], bins=2, binning="equal_width")
    np.testing.assert_array_equal(diagram.images, [2, 3])
    np.testing.assert_allclose(diagram.confidence, [0.15, 0.9])
    np.testing.assert_allclose(diagram.accuracy, [0.5, 2 / 3])
    assert diagram.calibration_error == pytest.approx((2 * 0.35 + 3 * (0.9 - 2 / 3)) / 5)
    assert diagram.overconfidence == pytest.approx(3 / 5 - 3 / 5)


def test_bins_of_equal_mass_hold_equally_many_images_and_bins_of_equal_width_may_be_left_out():
    confidence = np.linspace(0.9, 1, 100)
    assert reliability(confidence, confidence > 0.95, bins=10).images.tolist() == [10] * 10
    assert reliability(confidence, confidence > 0.95, bins=10, binning="equal_width").images.tolist() == [100]


@pytest.mark.parametrize("binning", ["equal_mass", "equal_width"])
def test_a_calibrated_teacher_has_little_error_and_a_sharp_one_is_too_sure(teacher, binning):
    logits, labels = teacher.draw(SOURCE, 20_000, seed=9)
    error = {}
    for sharpness in (1, 3):
        p = special.softmax(sharpness * logits, axis=1)
        diagram = reliability(p.max(axis=1), p.argmax(axis=1) == labels, binning=binning)
        error[sharpness] = diagram.calibration_error, diagram.overconfidence
    assert error[1][0] < 0.015
    assert abs(error[1][1]) < 0.01
    assert error[3][1] > 0.05
    assert error[3][0] == pytest.approx(error[3][1], abs=0.01)


def test_what_is_no_confidence_is_refused():
    with pytest.raises(UserError, match=r"not in 0\.\.1"):
        reliability([0.5, 1.5], [True, False])
    with pytest.raises(UserError, match="n > 0"):
        reliability([], [])
