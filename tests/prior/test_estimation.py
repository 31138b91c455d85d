"""The stream's prior: against QuaPy's answers, a general optimiser, and streams whose prior is known."""

import json
from pathlib import Path

import numpy as np
import pytest
from gaussians import Gaussians, zipf_prior
from scipy import optimize, special

from envise_tf.errors import UserError
from envise_tf.prior.estimation import WindowPrior, estimated_prior, log_likelihood, prior_interval
from envise_tf.prior.shift import SHARE_FLOOR, uniform_prior

CLASSES = 100
SOURCE = uniform_prior(CLASSES)
QUAPY = json.loads(Path(__file__).with_name("quapy.json").read_text())["cases"]


@pytest.fixture(scope="module")
def teacher():
    return Gaussians.random(CLASSES)


# --- EM ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", QUAPY, ids=["even source", "skewed source"])
def test_em_agrees_with_quapy(case):
    with np.errstate(divide="ignore"):  # rounded probabilities of 0
        logits = np.log(np.array(case["probabilities"]))
    estimate = estimated_prior(logits, np.array(case["source_prior"]), pseudo_images=0)
    np.testing.assert_allclose(estimate.prior, case["emq"], atol=2e-4)


@pytest.mark.parametrize("pseudo_images", [0.0, 1.0, 50.0])
def test_em_climbs_to_the_largest_posterior_density(pseudo_images):
    source = np.array([0.3, 0.2, 0.2, 0.15, 0.1, 0.05])
    logits, _ = Gaussians.random(6, dimensions=3, seed=4).draw([0.5, 0.3, 0.1, 0.05, 0.05, 0.0], 300, seed=5)
    ratios = special.softmax(logits + np.log(source), axis=1) / source

    def loss(z):
        prior = special.softmax(z)
        return -np.log(ratios @ prior).sum() - pseudo_images * source @ np.log(prior)

    found = optimize.minimize(loss, np.zeros(6), method="BFGS")
    estimate = estimated_prior(logits + np.log(source), source, pseudo_images)
    assert estimate.has_converged
    np.testing.assert_allclose(estimate.prior, special.softmax(found.x), atol=1e-3)


@pytest.mark.parametrize("pseudo_images", [0.0, 1.0, 50.0])
@pytest.mark.parametrize("seed", range(5))
def test_the_likelihood_never_falls(teacher, seed, pseudo_images):
    random = np.random.default_rng(seed)
    logits, _ = teacher.draw(random.dirichlet(np.full(CLASSES, 0.1)), 300, seed)
    # Also of a teacher that is far from calibrated, and from an odd start.
    estimate = estimated_prior(3 * logits, SOURCE, pseudo_images, start=random.dirichlet(np.full(CLASSES, 1.0)))
    rises = np.diff(estimate.log_likelihood)
    assert (rises >= -1e-9 * np.abs(estimate.log_likelihood[0])).all()
    assert estimate.log_likelihood[-1] > estimate.log_likelihood[0] + 1


def test_the_prior_of_a_stream_is_found(teacher):
    prior = zipf_prior(CLASSES, 20)
    logits, _ = teacher.draw(prior, 5000, seed=1)
    estimate = estimated_prior(logits, SOURCE).prior
    counted = np.bincount(logits.argmax(axis=1), minlength=CLASSES) / len(logits)
    assert np.abs(estimate - prior).sum() < 0.1 < np.abs(counted - prior).sum() / 3
    assert estimate.sum() == pytest.approx(1)


def test_the_dirichlet_prior_keeps_an_unseen_class_possible():
    logits = np.array([[0.0, -800.0, -800.0]] * 50)
    source = np.array([0.2, 0.3, 0.5])
    np.testing.assert_allclose(estimated_prior(logits, source, 0).prior, [1, 0, 0], atol=1e-12)
    np.testing.assert_allclose(estimated_prior(logits, source, 10).prior, np.array([52, 3, 5]) / 60)


def test_a_constant_per_image_and_logits_far_out_of_range_change_nothing(teacher):
    logits, _ = teacher.draw(zipf_prior(CLASSES, 20), 200, seed=2)
    moved = logits + np.linspace(-1e5, 1e5, 200)[:, None]
    np.testing.assert_allclose(estimated_prior(moved, SOURCE).prior, estimated_prior(logits, SOURCE).prior, atol=1e-6)


def test_an_impossible_class_may_be_minus_infinity():
    logits = np.array([[0.0, -np.inf], [0.0, 0.0]])
    assert np.isfinite(estimated_prior(logits, uniform_prior(2)).prior).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_image_without_numbers_is_refused(value):
    with pytest.raises(UserError, match="the logits of 1 images are NaN or infinite"):
        estimated_prior(np.array([[0.0, 1.0], [value, value]]), uniform_prior(2))


def test_without_an_image_nothing_is_estimated():
    with pytest.raises(UserError, match="no image"):
        estimated_prior(np.empty((0, 2)), uniform_prior(2), pseudo_images=0)


def test_the_likelihood_under_a_prior_by_hand():
    probabilities = np.array([[0.6, 0.4], [0.1, 0.9]])
    source, prior = np.array([0.5, 0.5]), np.array([0.9, 0.1])
    expected = np.log((probabilities * prior / source).sum(axis=1))
    np.testing.assert_allclose(log_likelihood(np.log(probabilities) + 3, prior, source), expected)


# --- The interval -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_interval_holds_the_truth_as_often_as_it_says(teacher):
    """Over 20 streams of 20 classes, 400 shares: 95 % within three standard errors, which is 91.7 %."""
    prior = np.zeros(CLASSES)
    prior[:20] = 0.05
    held = []
    for seed in range(20):
        logits, _ = teacher.draw(prior, 600, seed)
        estimate = estimated_prior(logits, SOURCE).prior
        lower, upper = prior_interval(logits, estimate, SOURCE, seed)
        held.append((lower <= prior) & (prior <= upper))
    assert 0.917 < np.mean(np.array(held)[:, :20]) < 0.99


def test_the_interval_is_that_of_a_bootstrap_one_by_one(teacher):
    logits, _ = teacher.draw(zipf_prior(CLASSES, 10), 400, seed=3)
    estimate = estimated_prior(logits, SOURCE).prior
    lower, upper = prior_interval(logits, estimate, SOURCE, seed=4, replicates=40)
    weights = np.random.default_rng(4).multinomial(400, np.full(400, 1 / 400), size=40)
    drawn = [estimated_prior(np.repeat(logits, weight, axis=0), SOURCE, start=estimate).prior for weight in weights]
    np.testing.assert_allclose([lower, upper], np.quantile(drawn, [0.025, 0.975], axis=0), atol=2e-3)


def test_the_interval_of_a_known_answer_is_that_of_a_share():
    """Where the teacher is always sure, a share is a binomial proportion."""
    labels = np.repeat([0, 1], [300, 700])
    logits = np.where(np.arange(2) == labels[:, None], 0.0, -60.0)
    lower, upper = prior_interval(logits, np.array([0.3, 0.7]), uniform_prior(2), 0, pseudo_images=0, replicates=2000)
    error = np.sqrt(0.3 * 0.7 / 1000)
    assert lower[0] == pytest.approx(0.3 - 1.96 * error, abs=0.003)
    assert upper[0] == pytest.approx(0.3 + 1.96 * error, abs=0.003)


# --- The window -------------------------------------------------------------------------------------------------------


def test_the_window_comes_to_the_estimate_on_its_images(teacher):
    logits, _ = teacher.draw(zipf_prior(CLASSES, 20), 1000, seed=5)
    window = WindowPrior(400, SOURCE)
    for batch in np.array_split(logits, 25):
        window.update(batch)
    assert window.images == 400
    settled = [window.update(np.empty((0, CLASSES))) for _ in range(50)][-1]
    np.testing.assert_allclose(settled, estimated_prior(logits[-400:], SOURCE).prior, atol=1e-3)


def test_batches_larger_than_the_window_leave_their_end(teacher):
    logits, _ = teacher.draw(zipf_prior(CLASSES, 20), 500, seed=6)
    small, large = WindowPrior(100, SOURCE), WindowPrior(100, SOURCE)
    large.update(logits)
    small.update(logits[-100:])
    np.testing.assert_allclose(large.prior, small.prior, atol=1e-6)


def test_after_a_change_the_window_forgets_and_finds_the_new_classes(teacher):
    before, after = zipf_prior(CLASSES, 10, seed=1), zipf_prior(CLASSES, 10, seed=2)
    window = WindowPrior(600, SOURCE)
    for seed, prior in ((1, before), (2, after)):
        for batch in np.array_split(teacher.draw(prior, 1200, seed)[0], 20):
            window.update(batch)
        assert np.abs(window.prior - prior).sum() < 0.3
    assert (window.prior > 0).all()


def test_before_the_first_image_the_window_holds_the_source_prior():
    window = WindowPrior(10, SOURCE)
    np.testing.assert_array_equal(window.update(np.empty((0, CLASSES))), SOURCE)
    assert window.images == 0


def test_without_pseudo_images_a_class_comes_back_from_nothing():
    window = WindowPrior(20, uniform_prior(2), pseudo_images=0)
    first, second = np.array([[0.0, -80.0]] * 20), np.array([[-80.0, 0.0]] * 20)
    for _ in range(30):
        window.update(first)
    assert window.prior[1] < SHARE_FLOOR
    for _ in range(3):
        window.update(second)
    assert window.prior[1] > 0.99


def settled(window):
    return [window.update(np.empty((0, CLASSES))) for _ in range(50)][-1]


def test_an_image_of_weight_three_counts_as_three_images(teacher):
    logits, _ = teacher.draw(zipf_prior(CLASSES, 20), 240, seed=7)
    weighted, repeated = WindowPrior(240, SOURCE), WindowPrior(400, SOURCE)
    weighted.update(logits[:160])
    weighted.update(logits[160:], weight=3)
    repeated.update(np.concatenate([logits, logits[160:], logits[160:]]))
    np.testing.assert_allclose(settled(weighted), settled(repeated), atol=1e-5)
    assert np.abs(weighted.prior - estimated_prior(logits, SOURCE).prior).max() > 0.01


@pytest.mark.parametrize("images", [0, 150, 400, 700])
def test_a_restored_window_goes_on_as_the_one_it_was_taken_of(teacher, images):
    logits, _ = teacher.draw(zipf_prior(CLASSES, 20), 1000, seed=8)
    window, restored = WindowPrior(400, SOURCE), WindowPrior(400, SOURCE)
    window.update(logits[:images], weight=2.0)
    restored.restore(window.snapshot())
    assert restored.images == window.images
    np.testing.assert_array_equal(restored.prior, window.prior)
    for batch in np.array_split(logits[images:], 4):
        np.testing.assert_allclose(restored.update(batch), window.update(batch), atol=1e-5)


def test_a_smaller_window_keeps_the_newest_images(teacher):
    logits, _ = teacher.draw(zipf_prior(CLASSES, 20), 700, seed=9)
    window, smaller, newest = WindowPrior(400, SOURCE), WindowPrior(100, SOURCE), WindowPrior(100, SOURCE)
    window.update(logits)
    smaller.restore(window.snapshot())
    newest.update(logits[-100:])
    np.testing.assert_allclose(settled(smaller), settled(newest), atol=1e-4)
