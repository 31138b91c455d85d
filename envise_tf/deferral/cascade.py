"""The cascade: the student looks at every image, the teacher only at those that the student defers.

Plain arrays in, decisions out, and no TensorFlow: Keras, TensorFlow Lite and the tests all decide by `is_deferred`.
A wrong deferral costs time, never accuracy; an image that should have been deferred and was not costs accuracy.
Work can be bounded by a budget for the teacher, at the cost of answers that no promise covers; see `deferral.budget`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from envise_tf.errors import UserError

Student = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""uint8 images (n, height, width, 3) -> logits (n, student's classes) and scores (n,)."""

Teacher = Callable[[np.ndarray], np.ndarray]
"""uint8 images (n, height, width, 3) -> logits or probabilities (n, teacher's classes)."""

Budget = Callable[[np.ndarray], np.ndarray]
"""Which images the student would leave to the teacher, bool (n,) -> which it may, as `DeferralBudget.open_for`."""


def is_deferred(score: np.ndarray, student_class: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Returns which images the student leaves to the teacher, bool (n,): those whose score misses the threshold.

    A score equal to the threshold is answered; one that is not a number is deferred.

    Args:
        score: float (n,), larger = more inlier.
        student_class: integer (n,), what the student predicts, in its own numbering.
        thresholds: float (student's classes,); +inf defers whatever is predicted as that class.
    """
    return ~(np.asarray(score) >= np.asarray(thresholds)[np.asarray(student_class)])


@dataclass(frozen=True)
class Answers:
    """What a cascade says of n images.

    Attributes:
        label: int64 (n,), in the teacher's classes.
        by_student: bool (n,), whether the student answered; else the teacher did.
        score: float32 (n,), the student's inlier score.
        promised: bool (n,), whether the threshold's promise covers the answer: not where the student gave it only
            because the budget for the teacher was spent.
    """

    label: np.ndarray
    by_student: np.ndarray
    score: np.ndarray
    promised: np.ndarray

    def first(self, class_names: Sequence[str]) -> Answer:
        """Returns what is said of the first image, its class by name."""
        said = (bool(self.by_student[0]), float(self.score[0]), bool(self.promised[0]))
        return Answer(class_names[self.label[0]], *said)


@dataclass(frozen=True)
class Answer:
    """What a cascade says of one image: the class by name; the rest as in `Answers`."""

    label: str
    by_student: bool
    score: float
    promised: bool


@dataclass(frozen=True)
class Cascade:
    """Student and teacher as one classifier over the teacher's classes.

    Responsible for who answers. Not for how a network is run: both come as functions of any runtime.

    Args:
        student: see `Student`; sees every image.
        teacher: see `Teacher`; called with the deferred images alone, and not at all where there are none.
        thresholds: float (student's classes,), see `is_deferred`.
        teacher_classes: the teacher's class of each of the student's.
        class_names: the name of each of the teacher's classes.
        budget: see `Budget`; None is no limit.

    Raises:
        UserError: thresholds and teacher_classes differ in length, or a class has no name.
    """

    student: Student
    teacher: Teacher
    thresholds: np.ndarray
    teacher_classes: Sequence[int]
    class_names: Sequence[str]
    budget: Budget | None = None

    def __post_init__(self) -> None:
        if len(self.thresholds) != len(self.teacher_classes):
            raise UserError(
                f"{len(self.thresholds)} thresholds for {len(self.teacher_classes)} classes of the student: "
                "expected one each"
            )
        if max(self.teacher_classes) >= len(self.class_names):
            raise UserError(
                f"the student answers with class {max(self.teacher_classes)} of the teacher, which has "
                f"{len(self.class_names)} names: expected a name for each class"
            )

    def classify_batch(self, images: np.ndarray) -> Answers:
        """Returns the answers for uint8 images (n, height, width, 3)."""
        logits, score = self.student(images)
        student_class = np.argmax(logits, axis=-1)
        deferred = is_deferred(score, student_class, self.thresholds)
        promised = np.ones(len(deferred), bool) if self.budget is None else self.budget(deferred) | ~deferred
        asked = deferred & promised
        label = np.asarray(self.teacher_classes, np.int64)[student_class]
        if asked.any():
            label[asked] = np.argmax(self.teacher(images[asked]), axis=-1)
        return Answers(label, ~asked, np.asarray(score, np.float32), promised)

    def classify(self, image: np.ndarray) -> Answer:
        """Returns the answer for one uint8 image (height, width, 3)."""
        return self.classify_batch(image[np.newaxis]).first(self.class_names)
