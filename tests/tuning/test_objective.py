"""What a sweep measures: against brute force, and on a real run."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from envise_tf.errors import UserError
from envise_tf.runs.finished import load_run
from envise_tf.tuning.objective import auroc, best_gie, objective_figures

STUDENT, TEACHER = 3.0, 20.0


def gie_by_trying_all(score, agrees, faithful):
    best = -np.inf
    for threshold in [*score, np.inf]:
        answered = score >= threshold
        if np.mean(agrees | ~answered) >= faithful - 1e-9:
            best = max(best, 1 - STUDENT / TEACHER - np.mean(~answered))
    return best


@pytest.mark.parametrize("faithful", [0.5, 0.8, 0.9, 0.95, 1.0])
def test_the_best_gain_is_that_of_the_best_threshold(faithful):
    random = np.random.default_rng(0)
    for images in (1, 2, 7, 60):
        score = random.integers(0, 9, images).astype(float)  # with ties
        agrees = random.random(images) < 0.3 + 0.07 * score
        expected = gie_by_trying_all(score, agrees, faithful)
        assert best_gie(score, agrees, faithful, STUDENT, TEACHER) == pytest.approx(expected)


def test_a_perfect_student_answers_all_and_a_useless_one_nothing():
    score, all_right = np.arange(5.0), np.ones(5, bool)
    assert best_gie(score, all_right, 1.0, STUDENT, TEACHER) == pytest.approx(1 - STUDENT / TEACHER)
    assert best_gie(score, ~all_right, 1.0, STUDENT, TEACHER) == pytest.approx(-STUDENT / TEACHER)


def test_a_share_above_one_is_refused():
    with pytest.raises(UserError, match="--faithful 95 given: expected a share"):
        best_gie(np.zeros(3), np.ones(3, bool), 95, STUDENT, TEACHER)


def test_auroc_is_that_of_scikit_learn():
    random = np.random.default_rng(1)
    score, agrees = random.normal(size=50), random.random(50) < 0.7
    assert auroc(score, agrees) == pytest.approx(roc_auc_score(agrees, score))
    assert np.isnan(auroc(score, np.ones(50, bool)))
    assert np.isnan(auroc(score, np.zeros(50, bool)))


def test_the_figures_of_a_run_follow_from_its_held_back_images(digits_run):
    figures = [objective_figures(load_run(str(digits_run)), faithful) for faithful in (1.0, 0.9, 0.0)]
    assert figures[0]["gie"] <= figures[1]["gie"] <= figures[2]["gie"] < 1
    assert figures[2]["gie"] > 0.8, "everything is answered, and the student is cheap"
    assert figures[0]["agreement"] == figures[1]["agreement"]
    assert 0.5 < figures[0]["agreement"] <= 1
    assert objective_figures(load_run(str(digits_run)), 0.9) == figures[1]
