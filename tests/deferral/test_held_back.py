"""What is refused as held-back images."""

import numpy as np
import pytest

from envise_tf.deferral.held_back import HeldBack
from envise_tf.errors import UserError


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (([1.0, np.nan], [0, 0], [True, True], [True, True], [0, 0]), "1 of 2 held-back scores are not finite"),
        (([np.inf], [0], [True], [True], [0]), "1 of 1 held-back scores are not finite"),
        (
            ([1.0], [0, 1], [True], [True], [0]),
            r"have shapes \[\(1,\), \(2,\), \(1,\), \(1,\), \(1,\)\]: expected \(n,\) each",
        ),
        (([[1.0]], [[0]], [[True]], [[True]], [[0]]), r"expected \(n,\) each"),
        (([1.0], [0], [True], [False], [0]), "an image agrees but is no inlier"),
        (([1.0], [0], [False], [True], [1.5]), "a regret is outside 0..1"),
        (([1.0], [0], [False], [True], [np.nan]), "a regret is outside 0..1"),
        (([1.0], [0], [True], [True], [0.1]), "not 0 where student and teacher agree"),
    ],
)
def test_held_back_images_that_make_no_sense_are_refused(columns, message):
    with pytest.raises(UserError, match=message):
        HeldBack(*columns)


def test_without_probabilities_a_disagreement_may_cost_everything():
    own, pseudo_label = np.array([0, 0, 1]), np.array([0, 1, -1])
    np.testing.assert_array_equal(HeldBack.of(np.zeros(3), own, pseudo_label).regret, [0, 1, 1])
