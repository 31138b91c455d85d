"""What is refused as held-back images."""

import numpy as np
import pytest

from envise_tf.deferral.held_back import HeldBack
from envise_tf.errors import UserError


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (([1.0, np.nan], [0, 0], [True, True], [True, True]), "1 of 2 held-back scores are not finite"),
        (([np.inf], [0], [True], [True]), "1 of 1 held-back scores are not finite"),
        (([1.0], [0, 1], [True], [True]), r"have shapes \[\(1,\), \(2,\), \(1,\), \(1,\)\]: expected \(n,\) each"),
        (([[1.0]], [[0]], [[True]], [[True]]), r"expected \(n,\) each"),
        (([1.0], [0], [True], [False]), "an image agrees but is no inlier"),
    ],
)
def test_held_back_images_that_make_no_sense_are_refused(columns, message):
    with pytest.raises(UserError, match=message):
        HeldBack(*columns)
