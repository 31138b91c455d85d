"""The paired difference, against the textbook's formula."""

import numpy as np
import pytest
from scipy import stats

from envise_tf.measures.paired import paired_difference


def test_mean_interval_and_p_are_those_of_students_formula():
    ours, theirs = [3.0, 5.0, 4.0, 8.0], [2.0, 5.5, 1.0, 6.0]
    differences = np.array([1.0, -0.5, 3.0, 2.0])
    error = differences.std(ddof=1) / 2
    reach = stats.t.ppf(0.975, df=3) * error
    found = paired_difference(ours, theirs)
    assert found["difference"] == pytest.approx(1.375)
    assert found["interval"] == pytest.approx([1.375 - reach, 1.375 + reach])
    assert found["p"] == pytest.approx(2 * stats.t.sf(1.375 / error, df=3))


def test_one_pair_has_a_difference_alone():
    assert paired_difference([2.0], [1.5]) == {"difference": 0.5}


def test_pairs_that_differ_by_the_same_have_no_p():
    assert paired_difference([2.0, 3.0], [1.5, 2.5]) == {"difference": 0.5, "interval": [0.5, 0.5], "p": None}
