"""The gain in efficiency against its formula by hand."""

import envise_tf  # noqa: F401  (first: it asks TensorFlow for Keras 2)

# isort: split
import numpy as np
import pytest
import tensorflow as tf

from envise_tf.errors import UserError
from envise_tf.measures.gie import AdaptationWork, break_even, gie, gie_total, speedup
from envise_tf.measures.latency import measured_milliseconds
from envise_tf.networks.macs import LayerMacs, Macs

layers = tf.keras.layers


def test_gie_by_hand():
    # 100 images at 5 and 20 of them at 50 as well: 500 + 1000 of 5000.
    assert gie(100, 20, 5, 50) == pytest.approx(0.7)
    assert speedup(0.7) == pytest.approx(1 / 0.3)


def test_gie_with_none_and_with_all_deferred():
    assert gie(100, 0, 5, 50) == pytest.approx(0.9)
    assert gie(100, 100, 5, 50) == pytest.approx(-0.1)  # the student's work for nothing
    assert gie(7, 0, 50, 50) == 0
    assert (speedup(0), speedup(-1)) == (1, 0.5)


def test_gie_of_a_curve_falls_by_one_image_in_n_for_each_image_deferred():
    curve = gie(10, np.arange(11), 1, 4)
    np.testing.assert_allclose(curve, 0.75 - np.arange(11) / 10)
    assert curve.dtype == np.float64
    np.testing.assert_allclose(speedup(curve) * (1 - curve), 1)


def test_gie_is_the_share_of_work_saved_whatever_the_unit_and_the_number_of_images():
    random = np.random.default_rng(1)
    images = random.integers(1, 10_000, 500)
    deferred = random.integers(0, images + 1)
    student, teacher = random.uniform(1, 1e9, (2, 500))
    gain = gie(images, deferred, student, teacher)
    work = images * student + deferred * teacher
    np.testing.assert_allclose((1 - gain) * images * teacher, work)
    np.testing.assert_allclose(images * teacher / speedup(gain), work)
    np.testing.assert_allclose(gie(3 * images, 3 * deferred, 7 * student, 7 * teacher), gain)
    assert (gain < 1).all()
    assert gie(2**40, 2**39, 1e12, 1e13) == pytest.approx(0.4)


def test_adaptation_charges_labels_training_and_validation():
    student = Macs((LayerMacs("a", "Conv2D", 10, 0), LayerMacs("b", "QuantConv2D", 0, 64)))
    teacher = Macs((LayerMacs("c", "Conv2D", 1000, 0),))
    adaptation = AdaptationWork(labelled=110, trained=100, validated=10)
    # 2000 FLOPs a label; 3 forwards of 2 (10 + 64) FLOPs a training image, one a validation image.
    assert adaptation.flops(student, teacher) == 110 * 2000 + 300 * 148 + 10 * 148
    assert AdaptationWork(0, 0, 0).flops(student, teacher) == 0


def test_gie_total_starts_in_debt_breaks_even_and_nears_gie():
    served = gie(100, 20, 5, 50)
    even = break_even(served, 50, 7000)
    assert even == pytest.approx(200)  # each image saves 0.7 of 50
    assert gie_total(200, 40, 5, 50, 7000) == pytest.approx(0)
    assert gie_total(100, 20, 5, 50, 7000) == pytest.approx(0.7 - 1.4)
    images = np.array([10, 100, 1000, 10**9])
    totals = gie_total(images, images // 5, 5, 50, 7000)
    assert (np.diff(totals) > 0).all()
    assert ((totals > 0) == (images > even)).all()
    assert totals[-1] == pytest.approx(served, abs=1e-6)
    assert gie_total(100, 20, 5, 50, 0) == served


def test_an_adaptation_that_gains_nothing_never_pays_for_itself():
    np.testing.assert_array_equal(break_even([0.5, 0, -0.1], 50, 100), [4, np.inf, np.inf])
    assert break_even(-0.1, 50, 100) == np.inf
    assert break_even(0.5, 50, 0) == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: gie(10, 12, 1, 2), "12 images deferred: expected at least 0 and at most the images served"),
        (lambda: gie(10, np.array([0, 11]), 1, 2), "11 images deferred"),
        (lambda: gie(10, -1, 1, 2), "-1 images deferred"),
        (lambda: gie(10, np.nan, 1, 2), "nan images deferred"),
        (lambda: gie(0, 0, 1, 2), "0 images served: expected at least 1"),
        (
            lambda: gie(10, 1, 0, 2),
            r"the student's work is 0 per image: expected more than 0; count it with macs\(model",
        ),
        (lambda: gie(10, 1, 1, [2, 0]), "the teacher's work is 0 per image"),
        (lambda: gie(10, 1, np.inf, 2), "the student's work is inf"),
        (lambda: speedup(1.0), "a GiE of 1.0: expected less than 1"),
        (lambda: break_even(1.5, 2, 3), "a GiE of 1.5"),
        (lambda: break_even(0.5, 0, 3), "the teacher's work is 0"),
        (lambda: break_even(0.5, 2, -3), "the adaptation's work is -3 FLOPs: expected at least 0"),
        (lambda: gie_total(10, 1, 1, 2, np.nan), "the adaptation's work is nan FLOPs"),
        (lambda: AdaptationWork(1, -2, 3), "adaptation: -2 images trained, expected a count of at least 0"),
        (lambda: measured_milliseconds(len, np.zeros((0, 4))), "0 images, 20 repeats, 3 calls to warm up: expected"),
        (lambda: measured_milliseconds(len, np.zeros((2, 4)), repeats=0), "2 images, 0 repeats"),
    ],
)
def test_impossible_numbers_are_refused_in_one_line(call, message):
    with pytest.raises(UserError, match=message) as error:
        call()
    assert "\n" not in str(error.value)
