"""A GiE that only deferring every image reaches is none."""

from types import SimpleNamespace

import numpy as np
import pytest

from envise_tf.evaluate.verdict import shown_gie

EVALUATION = SimpleNamespace(flops=(15.0, 100.0))


@pytest.mark.parametrize("gain", [-0.15, np.nan])
def test_deferring_everything_and_reaching_nothing_are_no_threshold(gain):
    assert shown_gie(EVALUATION, gain) == "no threshold"


def test_a_threshold_that_answers_too_little_to_pay_is_still_one():
    assert shown_gie(EVALUATION, -0.149) == "-14.9 %"
    assert shown_gie(EVALUATION, 0.5, " ± 1.0") == "50.0 ± 1.0"
