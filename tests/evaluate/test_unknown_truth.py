"""A true class that the teacher does not know is -1, which must not pass for its last class."""

import numpy as np

from envise_tf.evaluate.gallery import true_name
from envise_tf.evaluate.tested_sections import confusion_counts

NAMES = ("ant", "bee", "cat")


def test_an_unknown_class_has_no_name_of_another():
    assert [true_name(NAMES, truth) for truth in (0, 2)] == ["ant", "cat"]
    assert true_name(NAMES, -1) not in NAMES


def test_the_confusion_leaves_unknown_classes_out():
    truth, answer = np.array([2, 0, -1, -1, 2, 1, 0]), np.array([2, 2, 2, 0, 1, 2, -1])
    # Rows and columns are cat, ant: of two cats one is answered cat and one bee, which is left out; an ant is called
    # cat and another nothing that is shown; the bee and the two unknown ones have no row.
    assert confusion_counts(truth, answer, [2, 0]).tolist() == [[1, 0], [1, 0]]
    assert confusion_counts(np.array([-1, -1]), np.array([2, 0]), [2, 0]).tolist() == [[0, 0], [0, 0]]
