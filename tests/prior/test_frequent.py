"""Frequent classes from the prior: by hand, and streams of 300 to 5,000 images whose truth is known."""

import numpy as np
import pytest
from gaussians import Gaussians, zipf_prior

from envise_tf.prior.calibration import Calibration, fitted_calibration
from envise_tf.prior.estimation import estimated_prior, prior_interval
from envise_tf.prior.frequent import frequent_classes
from envise_tf.prior.shift import uniform_prior

pytestmark = pytest.mark.slow

CLASSES = 100
SOURCE = uniform_prior(CLASSES)
MIN_SHARE = 0.01


@pytest.mark.parametrize(
    ("prior", "lower", "coverage", "min_share", "expected"),
    [
        ([0.5, 0.3, 0.2], [0.4, 0.2, 0.1], 0.8, 0.0, [0, 1]),
        ([0.2, 0.5, 0.3], [0.1, 0.4, 0.2], 0.81, 0.0, [0, 1, 2]),
        ([0.5, 0.3, 0.2], [0.4, 0.2, 0.009], 1.0, 0.01, [0, 1]),
        ([0.5, 0.3, 0.2], [0.4, 0.2, 0.01], 1.0, 0.01, [0, 1]),
        ([0.2, 0.5, 0.3], [0.0, 0.4, 0.2], 0.1, 0.0, [1]),
        ([0.5, 0.3, 0.2], [0.4, 0.2, 0.1], 1.0, 0.4, []),
        ([0.25, 0.25, 0.25, 0.25], [0.2] * 4, 0.5, 0.0, [0, 1]),
    ],
    ids=["exact", "one-more", "unsure", "not-above", "one", "none", "tie"],
)
def test_by_hand(prior, lower, coverage, min_share, expected):
    found = frequent_classes(np.array(prior), np.array(lower), coverage, min_share)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, expected)


def found_in(logits):
    prior = estimated_prior(logits, SOURCE).prior
    lower, _ = prior_interval(logits, prior, SOURCE, seed=1)
    return set(frequent_classes(prior, lower, coverage=0.99, min_share=MIN_SHARE))


@pytest.mark.parametrize("images", [300, 1000, 5000])
@pytest.mark.parametrize("seed", range(3))
def test_zipf_over_20_of_100_classes_has_no_false_class_and_misses_only_rare_ones(images, seed):
    """A class may be missed where the images could not have shown it: 1 % is within 4 standard errors of its share."""
    prior = zipf_prior(CLASSES, 20, seed=seed)
    logits, _ = Gaussians.random(CLASSES).draw(prior, images, seed)
    found = found_in(logits)
    surely_above = np.flatnonzero(prior - 4 * np.sqrt(2 * prior / images) > MIN_SHARE)
    assert set(surely_above) <= found <= set(np.flatnonzero(prior > MIN_SHARE))
    assert len(found) >= {300: 6, 1000: 10, 5000: 15}[images]


def test_counts_of_predictions_show_false_classes_where_the_prior_shows_none():
    prior = zipf_prior(CLASSES, 5, outliers=0.0)
    logits, _ = Gaussians.random(CLASSES, spread=0.7).draw(prior, 4000, seed=2)
    shares = np.bincount(logits.argmax(axis=1), minlength=CLASSES) / len(logits)
    by_count = set(frequent_classes(shares, shares, coverage=0.99, min_share=MIN_SHARE))
    assert by_count - set(np.flatnonzero(prior))
    assert found_in(logits) == set(np.flatnonzero(prior))


def test_a_class_that_the_teacher_always_takes_for_another_is_found_once_its_bias_is_known():
    teacher = Gaussians.random(CLASSES)
    prior = zipf_prior(CLASSES, 20)
    overlooked = int(np.argsort(prior)[-3])
    offset = np.where(np.arange(CLASSES) == overlooked, -15.0, 0.0)
    labelled, labels = teacher.draw(SOURCE, 3000, seed=3)
    calibration = fitted_calibration(labelled + offset, labels, ridge=0.1)
    logits = teacher.draw(prior, 3000, seed=4)[0] + offset
    assert (logits.argmax(axis=1) == overlooked).mean() < MIN_SHARE / 2
    assert overlooked not in found_in(Calibration.identity(CLASSES).logits(logits))
    assert overlooked in found_in(calibration.logits(logits))


def test_of_two_classes_that_look_almost_the_same_none_outside_the_stream_is_called_frequent():
    """The interval of a class and its double is wide: with the double absent, it is not surely above 1 %."""
    means = Gaussians.random(CLASSES).means
    means[1] = means[0] + 0.1
    teacher = Gaussians(means)
    prior = np.zeros(CLASSES)
    prior[[0, 5, 6, 7]] = 0.25
    logits, _ = teacher.draw(prior, 2000, seed=5)
    found = found_in(logits)
    assert {5, 6, 7} <= found <= {0, 1, 5, 6, 7}
    estimate = estimated_prior(logits, SOURCE).prior
    assert estimate[:2].sum() == pytest.approx(0.25, abs=0.03)
