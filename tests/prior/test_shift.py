"""Shifted logits against Bayes' rule by hand, and shares of nothing."""

import numpy as np
import pytest
from scipy.special import softmax

from envise_tf.errors import UserError
from envise_tf.prior.shift import SHARE_FLOOR, adapted_logits, checked_prior, log_prior_ratio, uniform_prior


def test_bayes_rule_by_hand():
    probabilities = np.array([[0.6, 0.3, 0.1]])
    prior, source = np.array([0.2, 0.3, 0.5]), np.array([0.5, 0.25, 0.25])
    expected = probabilities * prior / source
    adapted = softmax(adapted_logits(np.log(probabilities), prior, source), axis=1)
    np.testing.assert_allclose(adapted, expected / expected.sum())


def test_the_source_prior_changes_nothing():
    source = np.array([0.5, 0.25, 0.25])
    np.testing.assert_allclose(log_prior_ratio(source, source), 0, atol=1e-15)


def test_a_share_of_nothing_counts_as_the_floor():
    ratio = log_prior_ratio(np.array([1.0, 0.0]), uniform_prior(2))
    np.testing.assert_allclose(ratio, np.log([2, 2 * SHARE_FLOOR]))


@pytest.mark.parametrize("source", [[0.5, 0.5, 0.0], [0.5, 0.4, 0.2], [0.5, 0.5], [0.5, np.nan, 0.5]])
def test_what_is_no_source_prior_is_refused(source):
    with pytest.raises(UserError, match="expected 3 shares above 0 that sum to 1"):
        checked_prior(np.array(source), 3)
