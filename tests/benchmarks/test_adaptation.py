"""The benchmark of adaptation: its figures by hand, its ledger, and trainings that do not know of each other."""

import dataclasses

import adaptation
import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from envise_tf.errors import UserError
from envise_tf.networks.students import residual_student
from envise_tf.run import Run
from envise_tf.settings import TrainSettings, parsed

Cell, Trained = adaptation.Cell, adaptation.Trained
RATES = {"before": (0.01, 0.1, 1.0), "after": (0.001, 0.01, 0.1)}
SETTINGS = adaptation.AdaptationSettings(
    widths=((32,),), rates_before=RATES["before"], rates_after=RATES["after"], seeds=(0, 1), levels=(0.4,)
)


# --- figures of a curve ----------------------------------------------------------------------------------------------


def test_mean_agreement_is_the_area_under_the_curve_over_its_length():
    assert adaptation.mean_agreement([0, 10, 40], [0.0, 0.5, 0.5]) == pytest.approx((2.5 + 15) / 40)


def test_one_less_the_mean_is_the_mean_time_until_a_level():
    steps = np.arange(0, 101)
    agreement = (steps / 100) ** 2 * 0.8
    levels = (np.arange(20_000) + 0.5) / 20_000
    until = np.where(levels <= 0.8, 100 * np.sqrt(levels / 0.8), 100)
    assert adaptation.mean_agreement(steps, agreement) == pytest.approx(1 - until.mean() / 100, abs=1e-4)


def test_smoothed_is_the_mean_of_three_in_a_row():
    np.testing.assert_allclose(adaptation.smoothed([0.0, 0.3, 0.6, 0.6]), [np.nan, np.nan, 0.3, 0.5])


def test_smoothing_wants_three_measurements():
    with pytest.raises(UserError, match="2 measurements of agreement after the change: expected at least 3; give a l"):
        adaptation.smoothed([0.1, 0.2])


@pytest.mark.parametrize(
    ("agreement", "until"),
    [
        ([0.1, 0.2, 0.5, 0.5, 0.5, 0.5], 40),
        ([0.1, 0.9, 0.1, 0.1, 0.5, 0.9], 50),  # one jump is not enough
        ([0.1, 0.2, 0.3, 0.4, 0.4, 0.4], None),
        ([0.5, 0.5, 0.5, 0.1, 0.1, 0.1], 20),  # what is lost again has been reached
    ],
)
def test_a_level_is_reached_by_three_in_a_row(agreement, until):
    assert adaptation.steps_until(range(0, 60, 10), agreement, 0.5) == until


@pytest.mark.parametrize(
    ("agreement", "until"),
    [
        ([0.1, 0.4, 0.6, 0.605, 0.61, 0.9], 50),  # neither is 0.01 above 0.6
        ([0.1, 0.4, 0.6, 0.605, 0.7, 0.7], None),  # just one in a row, twice
        ([0.1, 0.1, 0.1, 0.6, 0.5, 0.5], 60),  # standing still below the floor is not enough
        ([0.3, 0.3, 0.3, 0.3, 0.3, 0.3], None),
    ],
)
def test_the_convergence_test(agreement, until):
    assert adaptation.converged_after([10, 20, 30, 40, 50, 60], agreement, 0.5, 0.01, patience=2) == until


def test_the_lower_of_two_equal_rates_is_best():
    assert adaptation.best_rate({0.1: 0.5, 0.01: 0.5, 0.001: 0.2}) == 0.01


# --- comparison of pairs ---------------------------------------------------------------------------------------------


def test_the_paired_interval_by_hand():
    found = adaptation.compared([(10, 11), (10, 12), (10, 13)], fewer_is_better=True)
    half = stats.t.ppf(0.975, 2) / np.sqrt(3)  # the differences 1, 2, 3 have deviation 1
    assert found["difference"] == 2
    assert found["interval"] == pytest.approx([2 - half, 2 + half])
    assert found["p"] == pytest.approx(2 * stats.t.sf(2 * np.sqrt(3), 2))
    assert (found["binary_better"], found["twin_better"], found["equal"]) == (3, 0, 0)
    assert found["sign_p"] == pytest.approx(2 * 0.5**3)


def test_more_agreement_is_better():
    found = adaptation.compared([(0.5, 0.6), (0.5, 0.7)], fewer_is_better=False)
    assert found["difference"] == pytest.approx(-0.15)
    assert (found["binary_better"], found["twin_better"]) == (0, 2)


def test_what_is_not_reached_is_later_than_anything_that_is():
    found = adaptation.compared([(10, None), (None, 20), (None, None), (30, None)], fewer_is_better=True)
    assert (found["binary_better"], found["twin_better"], found["equal"]) == (2, 1, 1)
    assert found["sign_p"] == pytest.approx(1.0)
    assert "difference" not in found


def test_pairs_without_variance_have_no_p():
    same = adaptation.compared([(10, 30), (20, 40)], fewer_is_better=True)
    assert (same["difference"], same["interval"], same["p"]) == (20, [20, 20], None)
    equal = adaptation.compared([(10, 10)], fewer_is_better=True)
    assert (equal["difference"], equal["sign_p"]) == (0, None)
    assert "interval" not in equal


@pytest.mark.parametrize(
    ("interval", "said"),
    [((0.5, 3.0), "holds"), ((-3.0, -0.5), "reversed"), ((-1.0, 3.0), "undecided"), ((0.0, 3.0), "undecided")],
)
def test_the_verdict_is_where_the_interval_lies(interval, said):
    assert adaptation.verdict({"interval": interval}) == said


def test_there_is_no_verdict_on_what_some_did_not_reach():
    assert adaptation.verdict(adaptation.compared([(1, None), (1, None)], fewer_is_better=True)) == "undecided"


# --- the ledger ------------------------------------------------------------------------------------------------------


def test_a_ledger_outlives_its_process(tmp_path):
    cell, trained = Cell("twin", (32, 64), "after", 0.003, 1), Trained([0, 5], [0.1, 0.4])
    adaptation.Ledger(tmp_path, {"every": 5}).add(cell, trained, None)
    (tmp_path / cell.name / "unfinished.trained.json").write_text('{"steps": [0,')
    again = adaptation.Ledger(tmp_path, {"every": 5})
    assert again[cell] == trained
    assert again.steps == 5
    for other in ({"kind": "binary"}, {"widths": (32,)}, {"role": "before"}, {"rate": 0.001}, {"seed": 2}):
        assert dataclasses.replace(cell, **other) not in again


def test_a_ledger_keeps_the_student(tmp_path):
    cell, student = Cell("binary", (32,), "before", 0.003, 1), residual_student(8, 3, (32,), (1,))
    ledger = adaptation.Ledger(tmp_path, {})
    ledger.add(cell, Trained([5], [0.4]), student)
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), np.uint8)
    np.testing.assert_array_equal(ledger.student(cell)(images), student(images))


def test_a_ledger_of_other_settings_is_refused(tmp_path):
    adaptation.Ledger(tmp_path, {"every": 5})
    with pytest.raises(UserError, match=r"holds what was trained with other settings: give another --out"):
        adaptation.Ledger(tmp_path, {"every": 6})


# --- settings and result ---------------------------------------------------------------------------------------------


def test_the_tuning_seed_is_not_reported():
    with pytest.raises(UserError, match="rates are tuned on seed 1, which is also reported: expected another"):
        dataclasses.replace(SETTINGS, tuning_seed=1)


@pytest.mark.parametrize("name", ["widths", "rates_before", "rates_after", "seeds"])
def test_nothing_to_compare_is_refused(name):
    with pytest.raises(UserError, match=f"no {name} are given"):
        dataclasses.replace(SETTINGS, **{name: ()})


def rising(height: float, length: int) -> Trained:
    """Returns a curve that rises to `height` along a line of `length` measurements, five steps apart, and stays."""
    return Trained([5 * i for i in range(21)], [height * min(i / length, 1) for i in range(21)])


def test_the_common_level_is_one_that_both_reach():
    pairs = adaptation.pairs_of(SETTINGS, rising(0.5, 10), rising(0.8, 10))
    # 0.49 as the mean of three: at measurement i that is 0.08 (i - 1) for the twin while it rises, so it passes at 8;
    # 0.45 + 0.5 + 0.5 over 3, of the binary student at 11, is less.
    assert pairs["common level"] == (60, 40)
    assert pairs["own final level"] == (60, 60)
    assert pairs["final agreement"] == pytest.approx((0.5, 0.8))


@pytest.fixture
def ledger(tmp_path):
    """The binary student is twice as fast as its twin, and both are best at different rates."""
    filled = adaptation.Ledger(tmp_path, {})
    for kind, best, length in (("binary", 0.01, 5), ("twin", 0.1, 10)):
        for seed in (100, 0, 1):
            for role, rate in [(role, rate) for role, rates in RATES.items() for rate in rates]:
                height = 0.6 if rate == best else 0.3
                trained = Trained([100], [height]) if role == "before" else rising(height, length + seed % 2)
                filled.add(Cell(kind, (32,), role, rate, seed), trained, None)
    return filled


def test_the_result_uses_the_best_rate_of_each_kind(ledger):
    found = adaptation.result(SETTINGS, ledger, batch_size=64)
    binary, twin = found["networks"]["32"]["binary"], found["networks"]["32"]["twin"]
    assert binary["rate"] == {"before": 0.01, "after": 0.01}
    assert twin["rate"] == {"before": 0.1, "after": 0.1}
    assert binary["rate_is_at_edge"] == {"before": True, "after": False}
    assert twin["rate_is_at_edge"] == {"before": False, "after": True}
    assert binary["tuning"]["before"] == {0.01: 0.6, 0.1: 0.3, 1.0: 0.3}
    assert binary["agreement_before"] == [0.6, 0.6]
    assert binary["final_agreement"] == pytest.approx([0.6, 0.6])
    assert found["comparison"]["all widths"]["common level"]["binary_better"] == 2
    assert found["comparison"]["32"]["mean agreement"]["binary_better"] == 2
    assert found["verdict"] == "holds"


def test_steps_become_images_and_curves_their_range(ledger):
    binary = adaptation.result(SETTINGS, ledger, batch_size=64)["networks"]["32"]["binary"]
    # 0.4 as the mean of three: 0.12 (i - 1) at i = 5 (0.48, and 0.36 before); 0.1 (i - 1) at i = 5.
    assert binary["steps"]["level 0.4"] == [25, 25]
    assert binary["images"]["level 0.4"] == [1600, 1600]
    curve = binary["curve"]
    assert curve["low"][3] == pytest.approx(0.3)
    assert curve["high"][3] == pytest.approx(0.36)
    assert curve["mean"][3] == pytest.approx(0.33)


def test_the_picture_has_a_panel_a_width_and_a_line_a_kind(ledger):
    found = adaptation.result(SETTINGS, ledger, batch_size=64)
    (axes,) = adaptation.picture(found["networks"]).axes
    assert [line.get_label() for line in axes.lines] == ["binary student", "real-valued twin"]
    np.testing.assert_allclose(axes.lines[0].get_ydata()[-1], 60)
    assert axes.get_title() == "widths 32"


# --- training --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_training_depends_neither_on_those_before_it_nor_on_an_interruption(tmp_path):
    settings, _ = parsed(TrainSettings, "train", "", ["--preset", "digits"])
    settings = dataclasses.replace(
        settings, window=128, windows=2, batch_size=32, objectives={"soft_label": {"weight": 1.0}}
    )
    task = adaptation.Task(settings, held_back=128)
    student = residual_student(task.job.size, len(task.classes), (32,), (1,))
    start = student.get_weights()

    def trained(run, most):
        """Returns how a training went, which a Ctrl-C ends when it takes more steps."""
        left = iter(range(most))

        def stop_at_the_end(*_):
            if next(left, None) is None:
                raise KeyboardInterrupt

        student.set_weights(start)
        rate = tf.keras.optimizers.schedules.PolynomialDecay(0.0, 2, end_learning_rate=0.01)
        stops = tf.keras.callbacks.LambdaCallback(on_train_batch_end=stop_at_the_end)
        return task.trained(student, rate, seed=0, every=3, run=Run(tmp_path / run), callbacks=[stops])

    first, weights = trained("first", most=6), student.get_weights()
    assert first.steps == [0, 3, 6]
    with pytest.raises(KeyboardInterrupt):
        trained("again", most=4)
    assert not np.array_equal(student.get_weights()[-1], weights[-1])
    assert trained("again", most=3) == first
    for value, expected in zip(student.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(value, expected)
