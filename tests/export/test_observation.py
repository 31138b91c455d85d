"""The prior that a device estimates: fair to the stream although the teacher sees a choice of it, and kept in JSON."""

import json
from pathlib import Path

import numpy as np
import pytest
from gaussians import Gaussians
from scipy import special

from envise_tf.errors import UserError
from envise_tf.export.bundle import Bundle
from envise_tf.export.observation import Observation
from envise_tf.prior.estimation import WindowPrior, estimated_prior
from envise_tf.prior.shift import adapted_logits, uniform_prior

CLASSES = 8
KNOWN = 4
SOURCE = uniform_prior(CLASSES)
PRIOR = np.array([0.3, 0.2, 0.15, 0.1, 0.1, 0.05, 0.05, 0.05])
SHIPPED = PRIOR[::-1]
TEMPERATURE, BIAS = 2.0, np.linspace(-0.4, 0.4, CLASSES)
TEACHER = Gaussians.random(CLASSES, dimensions=6)


def bundle(teacher="0" * 64, **entries) -> Bundle:
    shares = {"prior": SHIPPED.tolist(), "source_prior": SOURCE.tolist()}
    adaptation = {"temperature": TEMPERATURE, "bias": BIAS.tolist(), **shares, "images": 500, "calibration_images": 90}
    return Bundle(Path("bundle"), {"teacher": {"sha256": teacher}, "adaptation": adaptation | entries})


def raw(logits: np.ndarray) -> np.ndarray:
    """What a teacher's file says whose calibrated logits these are."""
    return TEMPERATURE * (logits - BIAS)


def deferred(logits: np.ndarray) -> np.ndarray:
    """Whether a student of the first four classes defers: unless it is sure of one of them."""
    probabilities = special.softmax(logits, axis=1)
    return (probabilities.argmax(axis=1) >= KNOWN) | (probabilities.max(axis=1) < 0.8)


def observe(observation: Observation, logits: np.ndarray) -> None:
    """Shows a stream to the teacher as the runtime does."""
    for batch in np.array_split(logits, len(logits) // 100):
        is_deferred = deferred(batch)
        observation.see_deferred(raw(batch[is_deferred]))
        answered = batch[~is_deferred]
        observation.see_audited(raw(answered[observation.audited(len(answered))]))


@pytest.fixture(scope="module")
def estimates():
    """Of 25 streams, the prior as we estimate it and as deferred images alone give it, with further images of each."""
    found = []
    for seed in range(25):
        logits, _ = TEACHER.draw(PRIOR, 3000, seed)
        observation = Observation(bundle(), 0.1, 1000, seed)
        observe(observation, logits)
        naive = estimated_prior(logits[deferred(logits)], SOURCE).prior
        found.append((observation.prior, naive, *TEACHER.draw(PRIOR, 2000, 100 + seed)))
    return found


def test_the_estimate_is_that_of_the_stream_and_not_of_the_deferred_images(estimates):
    ours, naive = (np.array([one[which] for one in estimates]) for which in (0, 1))
    error = ours.std(axis=0, ddof=1) / np.sqrt(len(ours))
    assert (np.abs(ours.mean(axis=0) - PRIOR) < 3.5 * error).all()
    assert error.max() < 0.01
    # The student answers the first four classes where it is sure, so little is deferred of them.
    assert np.abs(naive.mean(axis=0) - PRIOR).sum() > 0.3
    assert (naive[:, KNOWN:].sum(axis=1) > PRIOR[KNOWN:].sum() + 0.1).all()


def test_the_answers_to_deferred_images_follow(estimates):
    accuracy = []
    for ours, naive, logits, labels in estimates:
        rows = deferred(logits)
        priors = (PRIOR, ours, naive, SHIPPED)
        accuracy.append([(adapted_logits(logits, one, SOURCE).argmax(1) == labels)[rows].mean() for one in priors])
    best, by_ours, by_naive, by_shipped = np.mean(accuracy, axis=0)
    assert by_ours > best - 0.02
    assert by_ours > by_naive + 0.05
    assert by_ours > by_shipped + 0.15


def test_where_everything_is_audited_all_images_count_alike():
    logits, _ = TEACHER.draw(PRIOR, 500, seed=1)
    observation, window = Observation(bundle(), 1.0, 500), WindowPrior(500, SOURCE)
    observation.see_deferred(raw(logits[:200]))
    assert observation.audited(300).all()
    observation.see_audited(raw(logits[200:]))
    for batch in (logits[:200], logits[200:]):
        window.update(batch)
    np.testing.assert_allclose(observation.prior, window.prior, atol=1e-5)


def test_audits_are_a_share_drawn_by_chance():
    drawn = Observation(bundle(), 0.05, 100, seed=0).audited(20_000)
    assert drawn.mean() == pytest.approx(0.05, abs=0.005)
    again, other = (Observation(bundle(), 0.05, 100, seed).audited(20_000) for seed in (0, 1))
    np.testing.assert_array_equal(again, drawn)
    assert (other != drawn).any()


def test_until_the_window_is_full_the_prior_is_the_bundles():
    logits, _ = TEACHER.draw(PRIOR, 200, seed=2)
    observation = Observation(bundle(), 0.5, 200)
    observation.see_deferred(raw(logits[:199]))
    np.testing.assert_array_equal(observation.prior, SHIPPED)
    observation.see_deferred(raw(logits[199:]))
    assert observation.images == 200
    assert np.abs(observation.prior - SHIPPED).sum() > 0.3


@pytest.mark.parametrize("images", [0, 150, 900])
def test_an_observation_survives_a_restart(images):
    logits, _ = TEACHER.draw(PRIOR, 1500, seed=3)
    observation, restarted = (Observation(bundle(), 0.2, 400, seed=5) for _ in range(2))
    if images:
        observe(observation, logits[:images])
    text = json.dumps(observation.state())
    restarted.restore(json.loads(text))
    assert restarted.images == observation.images
    np.testing.assert_array_equal(restarted.prior, observation.prior)
    observation.see_deferred(raw(logits[images:]))
    restarted.see_deferred(raw(logits[images:]))
    np.testing.assert_allclose(restarted.prior, observation.prior, atol=1e-5)


def test_the_state_is_no_larger_than_its_window():
    observation = Observation(bundle(), 0.2, 100)
    sizes = []
    for seed in range(3):
        observe(observation, TEACHER.draw(PRIOR, 500, seed)[0])
        sizes.append(len(json.dumps(observation.state())))
    assert max(sizes) < 100 * CLASSES * 8
    assert max(sizes) - min(sizes) < 200


def broken_states():
    observation = Observation(bundle(), 0.2, 100)
    observation.see_deferred(raw(TEACHER.draw(PRIOR, 120, 0)[0]))
    state = observation.state()
    other = Observation(bundle(), 0.2, 100)
    other.see_deferred(np.zeros((3, CLASSES)))
    few = other.state()
    return {
        "no object": [],
        "empty": {},
        "without weights": {key: value for key, value in state.items() if key != "weights"},
        "weights of others": state | {"weights": few["weights"]},
        "ratios of others": state | {"ratios": few["ratios"]},
        "no base64": state | {"ratios": "?" * 40},
        "cut": state | {"ratios": state["ratios"][:-8]},
        "weights of zero": state | {"weights": "AAAA" * (len(state["weights"]) // 4)},
        "ratios of zero": state | {"ratios": "A" * len(state["ratios"])},
        "no prior": state | {"prior": None},
        "short prior": state | {"prior": [0.5, 0.5]},
        "prior of sum 8": state | {"prior": [1.0] * CLASSES},
        "negative prior": state | {"prior": [-1.0, 2.0, *[0.0] * (CLASSES - 2)]},
        "infinite prior": state | {"prior": [float("inf"), *[0.0] * (CLASSES - 1)]},
    }


@pytest.mark.parametrize("damage", broken_states())
def test_a_damaged_state_is_refused_and_changes_nothing(damage):
    observation = Observation(bundle(), 0.2, 100)
    with pytest.raises(UserError, match="is damaged, or that of another teacher") as caught:
        observation.restore(broken_states()[damage])
    assert "\n" not in str(caught.value)
    assert observation.images == 0
    np.testing.assert_array_equal(observation.prior, SHIPPED)


@pytest.mark.parametrize(
    "other", [bundle(teacher="1" * 64), bundle(temperature=1.0), bundle(source_prior=SHIPPED.tolist())]
)
def test_the_state_of_another_teacher_or_calibration_is_refused(other):
    with pytest.raises(UserError, match="another teacher"):
        Observation(other, 0.2, 100).restore(Observation(bundle(), 0.2, 100).state())


def test_another_prior_in_the_bundle_leaves_the_state_valid():
    Observation(bundle(prior=PRIOR.tolist()), 0.2, 100).restore(Observation(bundle(), 0.2, 100).state())


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((0.0, 100), "audit_share 0.0: expected more than 0 and at most 1"),
        ((-0.1, 100), "audit_share -0.1: expected"),
        ((1.1, 100), "audit_share 1.1: expected"),
        ((float("nan"), 100), "audit_share nan: expected"),
        ((0.1, 99), "a window of 99 images: expected at least 100"),
    ],
)
def test_numbers_out_of_range_are_one_line(arguments, told):
    with pytest.raises(UserError, match=told) as caught:
        Observation(bundle(), *arguments)
    assert "\n" not in str(caught.value)


def test_the_prior_of_a_raw_teacher_is_not_estimated():
    with pytest.raises(UserError, match="has a raw teacher"):
        Observation(Bundle(Path("bundle"), {"teacher": {"sha256": "0"}}), 0.1, 100)
