"""Changes are noticed soon, and their absence hardly ever mistaken for one."""

import dataclasses

import numpy as np
import pytest
from scipy import special

from envise_tf.prior.adaptation import unadapted
from envise_tf.stream.change import ChangeDetector, unlikelihood
from envise_tf.stream.store import read_tree, write_tree


def first_alarm(detector: ChangeDetector, **signals: np.ndarray) -> int | None:
    """Returns after how many numbers, fed 64 at a time, a change is noticed."""
    for start in range(0, len(next(iter(signals.values()))), 64):
        if detector.noticed({name: values[start : start + 64] for name, values in signals.items()}):
            return start + 64
    return None


def bernoulli(seed: int, *parts: tuple[int, float]) -> np.ndarray:
    random = np.random.default_rng(seed)
    return np.concatenate([random.random(count) < chance for count, chance in parts])


@pytest.mark.slow
def test_an_unchanged_stream_keeps_the_stated_rate_of_false_alarms():
    """20 streams of 10,000 images; one alarm in 10,000 allowed: far fewer, as the bound is careful."""
    alarms = 0
    for seed in range(20):
        random = np.random.default_rng(seed)
        signals = {"deferral": random.random(10_000) < random.uniform(0.1, 0.9), "score": random.random(10_000)}
        alarms += first_alarm(ChangeDetector(1.0), **signals) is not None
    assert alarms <= 5


@pytest.mark.parametrize(("rise", "within"), [(0.2, 600), (0.3, 400), (0.5, 200)])
def test_a_rise_is_noticed_the_sooner_the_larger_it_is(rise, within):
    for seed in range(5):
        signal = bernoulli(seed, (4096, 0.4), (1000, 0.4 + rise))
        alarm = first_alarm(ChangeDetector(0.1), deferral=signal)
        assert alarm is not None
        assert 4096 < alarm <= 4096 + within


def test_a_fall_is_no_change_for_the_worse():
    signal = bernoulli(0, (3000, 0.8), (2000, 0.2))
    detector = ChangeDetector(0.1)
    assert first_alarm(detector, foreign=signal) is None
    # But it is remembered: the way back up is one.
    assert first_alarm(detector, foreign=bernoulli(1, (640, 0.8))) is not None


def test_the_reason_names_signal_and_means():
    detector = ChangeDetector(0.1)
    detector.noticed({"disagreement": np.zeros(2000)})
    reason = detector.noticed({"disagreement": np.ones(200)})
    assert reason is not None
    assert reason.startswith("the mean disagreement rose to ")
    assert "from 0.0" in reason


def test_fewer_false_alarms_are_paid_for_with_time():
    signal = bernoulli(3, (4096, 0.4), (2000, 0.7))
    careful, bold = (first_alarm(ChangeDetector(rate), deferral=signal) for rate in (1e-6, 10.0))
    assert careful is not None
    assert bold is not None
    assert bold < careful


@pytest.mark.parametrize("seen", [0, 2000, 3040])
def test_a_detector_comes_back_from_a_file(tmp_path, seen):
    signal = bernoulli(4, (3000, 0.3), (1000, 0.8))
    detector, copy = ChangeDetector(0.1), ChangeDetector(0.1)
    detector.noticed({"deferral": signal[:seen], "score": np.linspace(0, 1, 500)})
    write_tree(tmp_path / "state.npz", detector.snapshot())
    copy.restore(read_tree(tmp_path / "state.npz"))
    reasons = [each.noticed({"deferral": signal[seen:]}) for each in (detector, copy)]
    assert reasons[0] is not None
    assert reasons[0] == reasons[1]


def test_a_detector_that_has_forgotten_comes_back_so(tmp_path):
    """After a cut ADWIN starts anew with the next number, and a fall cuts without an alarm."""
    detector, copy = ChangeDetector(0.1), ChangeDetector(0.1)
    signal = bernoulli(0, (3000, 0.9), (96, 0.0))
    assert first_alarm(detector, deferral=signal[: len(signal) // 32 * 32]) is None
    write_tree(tmp_path / "state.npz", detector.snapshot())
    copy.restore(read_tree(tmp_path / "state.npz"))
    following = bernoulli(1, (600, 0.0), (400, 0.6))
    assert first_alarm(copy, deferral=following) == first_alarm(detector, deferral=following) is not None


# --- By the likelihood under the prior that is served -----------------------------------------------------------------

CLASSES = 100


def made_logits(shares: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Logits of a calibrated teacher that is right on some 70 % of images: log-densities of noisy one-hot features."""
    random = np.random.default_rng(seed)
    labels = random.choice(CLASSES, count, p=shares)
    return 3.4 * (3.4 * np.eye(CLASSES)[labels] + random.normal(size=(count, CLASSES)))


def shares_of(classes: range, others: float = 0.05) -> np.ndarray:
    shares = np.full(CLASSES, others / (CLASSES - len(classes)))
    shares[classes] = (1 - others) / len(classes)
    return shares


def surprise(logits: np.ndarray) -> np.ndarray:
    adaptation = dataclasses.replace(unadapted(CLASSES), estimate=shares_of(range(20)))
    return unlikelihood(logits, adaptation)


def test_unlikelihood_is_the_chance_of_the_sources_prior_at_even_odds():
    logits = made_logits(shares_of(range(40)), 200, seed=0)
    p = special.softmax(logits, axis=1)
    served = (p * shares_of(range(20)) * CLASSES).sum(axis=1)  # density over that under equal shares
    np.testing.assert_allclose(surprise(logits), 1 / (1 + served), rtol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_the_likelihood_raises_no_alarm_in_20_000_images_of_one_prior(seed):
    same = surprise(made_logits(shares_of(range(20)), 20_000, seed))
    assert first_alarm(ChangeDetector(0.1), unlikelihood=same) is None


@pytest.mark.parametrize("before", [500, 4000])
@pytest.mark.parametrize("new", [range(20, 40), range(10, 30)])
def test_the_likelihood_tells_a_change_within_500_images(before, new):
    for seed in range(5):
        parts = [(shares_of(range(20)), before, 2 * seed), (shares_of(new), 1000, 2 * seed + 1)]
        alarm = first_alarm(
            ChangeDetector(0.1), unlikelihood=surprise(np.concatenate([made_logits(*p) for p in parts]))
        )
        assert alarm is not None
        assert before < alarm < before + 500
