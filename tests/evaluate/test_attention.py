"""Which two classes of the student an attention row shows."""

import numpy as np

from envise_tf.evaluate.attention import right_and_wrong


def test_the_teachers_class_comes_first_and_then_the_most_probable_other():
    logits = np.array([[3.0, 2, 1], [3, 2, 1], [3, 2, 1]])
    # The teacher says the student's best class, its last one, and one that it lacks.
    found = right_and_wrong(logits, np.array([7, 5, 9]), [7, 6, 5])
    assert found.tolist() == [[0, 1], [2, 0], [0, 1]]
