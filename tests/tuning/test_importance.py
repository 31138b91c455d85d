"""The importance of settings, on figures of which it is known what they depend on."""

import dataclasses
import re

import numpy as np
import pytest
from made_up_trials import record, sweep_records
from sklearn.ensemble import RandomForestRegressor
from sklearn.inspection import permutation_importance

from envise_tf.tuning.importance import LEAST_STUDENTS, importance
from envise_tf.tuning.positions import position, positions
from envise_tf.tuning.space import Choices, Range, Space, load_space
from envise_tf.tuning.trials import BASELINE

pytestmark = pytest.mark.slow

SPACE = Space(
    "three",
    {
        "learning_rate": Range(0.001, 0.1, "log"),
        "mixup": Range(0.0, 1.0),
        "blocks": Choices(((2, 2), (4, 4), (6, 6))),
    },
)


def students(count, figure, windows=lambda number: 10, space=SPACE):
    """Trials with random values, their GiE a function of these and of their number."""
    chance = np.random.default_rng(1)
    found = []
    for number in range(count):
        values = {
            "learning_rate": float(10 ** chance.uniform(-3, -1)),
            "mixup": float(chance.uniform()),
            "blocks": [[2, 2], [4, 4], [6, 6]][chance.integers(3)],
        }
        found.append(record(str(number), figure(values, number), windows(number), values=values))
    return found


def of_rate(values, number):
    return 0.5 + 0.1 * np.log10(values["learning_rate"])


@pytest.mark.parametrize(
    ("dimension", "value", "expected"),
    [
        (Range(1.0, 3.0), 1.5, 0.25),
        (Range(100, 300), 300, 1.0),
        (Range(0.001, 0.1, "log"), 0.01, 0.5),
        (Range(0.001, 0.1, "log"), 0.2, np.nan),
        (Range(0.001, 0.1), None, np.nan),
        (Choices((64, 128, 256)), 128, 0.5),
        (Choices(((2, 2), (4, 4))), [4, 4], 1.0),
        (Choices(((2, 2), (4, 4))), (2, 2), 0.0),
        (Choices((False, True)), True, 1.0),
        (Choices(("student", "teacher")), "pupil", np.nan),
        (Choices(("student", "teacher")), None, np.nan),
    ],
)
def test_where_a_value_lies(dimension, value, expected):
    assert position(dimension, value) == pytest.approx(expected, nan_ok=True)


def test_positions_have_a_row_a_trial_and_a_column_a_setting():
    assert positions(SPACE, []).shape == (0, 3)
    rows = [{"mixup": 1.0, "blocks": [6, 6], "learning_rate": 0.001}, {"mixup": 0, "blocks": None, "learning_rate": 1}]
    np.testing.assert_array_equal(positions(SPACE, rows), [[0, 1, 1], [np.nan, 0, np.nan]])


def test_only_the_setting_that_counts_has_importance():
    found = importance(SPACE, students(60, of_rate), "gie")
    assert found.names == ("learning_rate", "mixup", "blocks")
    assert found.students == 60
    assert found.explained > 0.85
    # Shuffling all that is known at most doubles the variance.
    assert 1 < found.values[0] < 2.2
    assert (np.abs(found.values[1:]) < 0.05).all()
    assert (found.spreads > 0).all()
    assert found.spreads[0] < found.values[0] / 4


def test_the_order_is_that_of_held_out_permutation():
    def figure(values, number):
        return of_rate(values, number) + 0.1 * values["mixup"] + 0.02 * (values["blocks"] == [4, 4])

    trials = students(80, figure)
    features, target = positions(SPACE, [one.values for one in trials]), [one.figures["gie"] for one in trials]
    forest = RandomForestRegressor(100, random_state=3).fit(features[:50], target[:50])
    expected = permutation_importance(forest, features[50:], target[50:], n_repeats=20, random_state=3)
    found = importance(SPACE, trials, "gie")
    np.testing.assert_array_equal(np.argsort(found.values), np.argsort(expected.importances_mean))


def test_pure_chance_is_not_explained():
    noise = np.random.default_rng(5).normal(size=40)
    found = importance(SPACE, students(40, lambda values, number: noise[number]), "gie")
    assert found.explained < 0.1
    assert (np.abs(found.values) < 3 * found.spreads + 0.1).all()


def test_windows_are_a_feature_where_they_differ():
    def figure(values, number):
        return of_rate(values, number) - 0.5 * (number % 3 == 0)

    found = importance(SPACE, students(60, figure, lambda number: 4 if number % 3 == 0 else 10), "gie")
    assert found.names[-1] == "windows"
    assert np.argmax(found.values) == 3
    assert np.argsort(found.values)[-2] == 0
    assert found.explained > 0.8


def test_of_the_rungs_of_a_student_only_the_last_counts():
    last = students(20, of_rate)
    first = [
        dataclasses.replace(one, trial=str(100 + int(one.trial)), figures={"gie": 0.1}, curve=one.curve[:3])
        for one in last
    ]
    with_rungs, without = importance(SPACE, [*first, *last], "gie"), importance(SPACE, last, "gie")
    assert with_rungs.names == without.names
    np.testing.assert_array_equal(with_rungs.values, without.values)


def test_the_baseline_and_failed_trials_do_not_count():
    trials = students(20, of_rate)
    others = [record(BASELINE, 9.0, values={**trials[0].values, "blocks": None}), record("99", None)]
    np.testing.assert_array_equal(
        importance(SPACE, [*others, *trials], "gie").values, importance(SPACE, trials, "gie").values
    )


def test_the_order_of_the_records_changes_nothing():
    trials = students(20, of_rate)
    np.testing.assert_array_equal(
        importance(SPACE, trials[::-1], "gie").values, importance(SPACE, trials, "gie").values
    )


def test_too_few_students_have_none():
    assert importance(SPACE, students(LEAST_STUDENTS - 1, of_rate), "gie") is None
    assert importance(SPACE, students(LEAST_STUDENTS, of_rate), "gie") is not None
    assert importance(SPACE, students(40, lambda values, number: 0.5), "gie") is None


def test_a_sweep_of_a_shipped_space():
    space = load_space("distillation")
    found = importance(space, sweep_records(60, space), "gie")
    best = [found.names[row] for row in np.argsort(-found.values)[:3]]
    assert set(best) == {"learning_rate", "objectives.soft_label.temperature", "windows"}
    assert not [name for name in found.names if re.search("[A-Z ]", name)]
