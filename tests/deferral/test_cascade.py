"""The decision rule on made numbers, and a cascade of real networks on real digits."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest

from envise_tf.deferral.cascade import Cascade, is_deferred
from envise_tf.errors import UserError


def test_an_image_is_deferred_below_the_threshold_of_its_class():
    score = np.array([0.5, 0.5, 0.4999, 0.9, np.nan, 7.0], np.float32)
    student_class = np.array([0, 1, 0, 1, 0, 2])
    thresholds = np.array([0.5, 0.8, np.inf], np.float32)
    assert is_deferred(score, student_class, thresholds).tolist() == [False, True, True, False, True, True]


def test_minus_infinity_defers_nothing_but_what_is_no_number():
    scores = np.array([-1e30, np.nan, 0], np.float32)
    assert is_deferred(scores, np.zeros(3, int), np.array([-np.inf])).tolist() == [False, True, False]


class Counted:
    """A function of images that remembers how many it saw."""

    def __init__(self, run):
        self.run, self.seen = run, []

    def __call__(self, images):
        self.seen.append(len(images))
        return self.run(images)


def made_cascade(thresholds):
    """Student of classes 2 and 0, whose score is the image's mean; a teacher of three classes that always says 1."""
    student = Counted(lambda images: (images[:, 0, 0, :2].astype(np.float32), images.mean((1, 2, 3))))
    teacher = Counted(lambda images: np.tile([0.0, 1.0, 0.0], (len(images), 1)))
    return Cascade(student, teacher, np.array(thresholds, np.float32), [2, 0], ("ant", "bee", "cat"))


def test_the_teacher_sees_only_what_is_deferred():
    images = np.zeros((4, 2, 2, 3), np.uint8)
    images[1], images[3] = 100, 200
    images[3, 0, 0, 1] = 255
    cascade = made_cascade([50, 50])
    answers = cascade.classify_batch(images)
    assert answers.label.tolist() == [1, 2, 1, 0]
    assert answers.by_student.tolist() == [False, True, False, True]
    assert cascade.teacher.seen == [2]
    assert cascade.student.seen == [4]
    one = cascade.classify(images[3])
    assert (one.label, one.by_student) == ("ant", True)
    assert one.score == pytest.approx(images[3].mean())
    assert cascade.classify(images[0]).label == "bee"


def test_a_budget_decides_which_deferred_images_the_teacher_sees():
    images = np.zeros((4, 2, 2, 3), np.uint8)
    images[1] = 100
    plain = made_cascade([50, 50])
    limited = dataclasses.replace(plain, budget=lambda deferred: np.array([True, False, False, True]))
    answers = limited.classify_batch(images)
    assert answers.promised.tolist() == [True, True, False, True]
    assert answers.by_student.tolist() == [False, True, True, False]
    assert answers.label.tolist() == [1, 2, 2, 1]
    assert limited.teacher.seen == [2]
    assert plain.classify_batch(images).promised.all()


def test_no_deferred_image_no_call_of_the_teacher():
    cascade = made_cascade([0, 0])
    cascade.classify_batch(np.ones((3, 2, 2, 3), np.uint8))
    assert cascade.teacher.seen == []


def test_thresholds_and_classes_must_match():
    with pytest.raises(UserError, match="1 thresholds for 2 classes"):
        made_cascade([0.5])
    with pytest.raises(UserError, match="class 5 of the teacher, which has 3 names"):
        Cascade(print, print, np.zeros(1), [5], ("ant", "bee", "cat"))


def test_the_decision_needs_no_tensorflow():
    code = "import sys, envise_tf.deferral.cascade; sys.exit('tensorflow' in sys.modules or 'larq' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
