"""Which differences of outputs are rounding, and which are not."""

import numpy as np

from envise_tf.networks.keras3.comparison import compared

OUTPUTS = np.array([[0.0, 8.0, 2.0], [4.0, 1.0, 3.0], [2.0, 2.0, 2.5], [5.0, 6.0, 0.0]], np.float32)


def test_the_largest_difference_and_the_share_of_images_with_the_same_class_are_told():
    others = OUTPUTS.copy()
    others[3] = [6.0, 5.75, 0.0]
    found = compared(OUTPUTS, others)
    assert (found.images, found.largest, found.same_class) == (4, 1.0, 0.75)
    assert not found.is_same


def test_what_rounding_explains_grows_with_the_outputs_and_the_precision():
    assert compared(OUTPUTS, OUTPUTS + np.float32(7e-4)).is_same
    assert not compared(OUTPUTS, OUTPUTS + np.float32(9e-4)).is_same
    assert not compared(OUTPUTS / 10, OUTPUTS / 10 + np.float32(7e-4)).is_same
    assert compared(OUTPUTS, OUTPUTS + np.float32(0.1), "float16").is_same
    assert not compared(OUTPUTS, OUTPUTS + np.float32(0.2), "float16").is_same
    assert compared(OUTPUTS, OUTPUTS + np.float32(0.9), "bfloat16").is_same


def test_outputs_that_are_no_numbers_are_never_the_same():
    assert not compared(OUTPUTS, np.full_like(OUTPUTS, np.nan)).is_same
    assert not compared(np.full_like(OUTPUTS, np.nan), np.full_like(OUTPUTS, np.nan)).is_same
