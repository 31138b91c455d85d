"""The budget for the teacher, against a count by hand over every window."""

import numpy as np
import pytest

from envise_tf.deferral.budget import DeferralBudget
from envise_tf.errors import UserError


def test_what_is_granted_by_hand():
    budget = DeferralBudget(0.5, window=4)
    deferred = np.array([1, 0, 1, 1, 1, 1, 0, 1], bool)
    #                    g     g  -  g  -  .  g: two of any four in a row
    assert budget.open_for(deferred).tolist() == [True, True, True, False, True, False, True, True]


@pytest.mark.parametrize(
    ("most", "window", "rate"), [(5, 50, 0.5), (2, 7, 0.9), (5, 5, 0.8), (1, 50, 1.0), (29, 100, 0.9)]
)
def test_no_window_has_more_and_none_is_refused_while_there_is_room(most, window, rate):
    budget = DeferralBudget(most / window, window)
    deferred = np.random.default_rng(3).random(2000) < rate
    is_open = np.concatenate([budget.open_for(part) for part in np.split(deferred, [1, 40, 41, 900])])
    granted = (deferred & is_open).astype(int)
    before = np.array([granted[max(0, i - window + 1) : i].sum() for i in range(len(granted))])
    np.testing.assert_array_equal(is_open, before < budget.most)
    assert (before + granted).max() == budget.most == most


def test_images_that_find_it_open_are_a_fair_sample():
    budget = DeferralBudget(0.1, window=100)
    deferred = np.random.default_rng(4).random(200_000) < 0.3
    is_open = budget.open_for(deferred)
    assert 0.2 < is_open.mean() < 0.5
    assert deferred[is_open].mean() == pytest.approx(0.3, abs=0.01)


def test_it_goes_on_from_a_snapshot():
    deferred = np.random.default_rng(5).random(300) < 0.6
    budget, again = DeferralBudget(0.2, 30), DeferralBudget(0.2, 30)
    budget.open_for(deferred[:170])
    again.restore(budget.snapshot())
    np.testing.assert_array_equal(again.open_for(deferred[170:]), budget.open_for(deferred[170:]))
    assert again.is_spent == budget.is_spent


@pytest.mark.parametrize(("share", "window"), [(0.0, 100), (-0.1, 100), (1.1, 100), (0.5, 0), (0.001, 100)])
def test_a_budget_of_nothing_or_of_more_than_all_is_refused(share, window):
    with pytest.raises(UserError, match="expected a share of at least one image and at most 1"):
        DeferralBudget(share, window)
