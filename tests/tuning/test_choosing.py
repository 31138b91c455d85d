"""The winner of a sweep is chosen on other images than those that test its promise."""

import numpy as np
import pytest
import tensorflow as tf
from made_held_back import DELTA, EPSILON, held_back, most_violations
from made_run import made_run

from envise_tf.deferral.rules import binomial_tail
from envise_tf.deferral.threshold import chosen_threshold
from envise_tf.images.digits import Digits
from envise_tf.images.halves import is_in_part
from envise_tf.runs.finished import load_run
from envise_tf.tuning.objective import best_gie, objective_figures

pytestmark = pytest.mark.slow

SWEEPS, TRIALS, STREAM = 300, 20, 4000
STUDENT, TEACHER = 1.0, 10.0


def broken_promises(choosing_part: str) -> int:
    """How many of the winners of so many sweeps break their promise, each chosen on one part of the held-back images.

    The upper half of each student's scores agrees; with the lower half its disagreement is a hair above epsilon, so
    that its promise is broken exactly when it answers everything.
    """
    random, broken = np.random.default_rng(31), 0
    for _ in range(SWEEPS):
        prints = tf.constant(random.integers(0, 2**62, STREAM))
        part = {name: is_in_part(prints, name, "shared").numpy() for name in ("choosing", "promising")}
        students = []
        for _ in range(TRIALS):
            score = (random.random(STREAM) < 0.5).astype(np.float32)
            agrees = (score == 1) | (random.random(STREAM) >= 2 * EPSILON * (1 + 1e-9))
            students.append(held_back(score, agrees))
        seen = [student.where(part[choosing_part]) for student in students]
        wrong = [np.sum(~one.agrees) for one in seen]
        gain = [best_gie(one.score, one.agrees, 1 - EPSILON, STUDENT, TEACHER) for one in seen]
        winner = students[max(range(TRIALS), key=lambda i: (gain[i], -wrong[i]))]
        value = chosen_threshold("risk", winner.where(part["choosing"]), winner.where(part["promising"]), 1).values[0]
        broken += value == 0
    return broken


def test_a_winner_breaks_its_promise_no_more_often_than_any_student():
    assert broken_promises("choosing") <= most_violations(SWEEPS)


def test_a_winner_chosen_on_the_images_of_the_promise_would_break_it_far_more_often():
    assert broken_promises("promising") > 4 * DELTA * SWEEPS


def test_the_figures_of_a_trial_follow_from_the_choosing_images_alone(tmp_path):
    run = made_run(tmp_path / "run")
    examples = Digits().examples("train", range(7)).batch(2000).get_single_element()
    images = examples["image"].numpy()[is_in_part(examples["fingerprint"], "choosing", "disjoint").numpy()]
    networks = [
        tf.keras.models.load_model(run.folder / f"{name}.keras", compile=False) for name in ("student", "teacher")
    ]
    own, teacher = (network.predict(images, verbose=0).argmax(axis=-1) for network in networks)
    assert 20 < len(images) < 80
    figures = objective_figures(load_run(str(run.folder)), faithful=0.0)
    assert figures["agreement"] == pytest.approx((own == teacher)[teacher < 7].mean())


def test_a_promise_of_the_edge_is_no_easier_for_one_student():
    # The two tests above would say nothing if the promise were never made.
    promising = 2 * STREAM // 15
    most = np.flatnonzero(binomial_tail(np.arange(promising), np.full(promising, promising), EPSILON) <= DELTA)[-1]
    assert binomial_tail(most, promising, EPSILON) > 0.03
