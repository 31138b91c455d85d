"""The gain in efficiency (GiE): what a cascade of student and teacher saves of the teacher's work.

With N images of which N_T are deferred to the teacher, and F_S and F_T FLOPs an image (`networks.macs`),

    gie = 1 - (N F_S + N_T F_T) / (N F_T)        speedup = 1 / (1 - gie)

The paper calls the gain in efficiency the "relative reduction in FLOPS based on the number of times" both networks are
used; the formula is our choice. `gie_total` charges the adaptation of the student too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from envise_tf.errors import UserError
from envise_tf.networks.macs import Macs

FORWARDS_A_TRAINING_STEP = 3
"""A forward pass, and a backward one of twice its work: the gradients of the weights and of the features."""


def gie(
    images: ArrayLike, deferred: ArrayLike, student_flops: ArrayLike, teacher_flops: ArrayLike
) -> np.ndarray | np.float64:
    """Returns the gain in efficiency, 1 - (N F_S + N_T F_T) / (N F_T), float64 in (-inf, 1).

    The student sees every image, the teacher the deferred ones. 0 is the work of the teacher alone; with all images
    deferred it is -F_S / F_T. The formula is our choice, see the module. Arrays are broadcast against each other.

    Args:
        images: N >= 1.
        deferred: N_T, 0..N.
        student_flops: F_S > 0 per image, `Macs.flops`.
        teacher_flops: F_T > 0 per image. Milliseconds per image in place of both FLOPs give the measured gain.

    Raises:
        UserError: a number is out of its range.
    """
    _check_served(images, deferred)
    _check_work("student's", student_flops)
    _check_work("teacher's", teacher_flops)
    return np.float64(1) - np.divide(student_flops, teacher_flops) - np.divide(deferred, images)


def speedup(gie: ArrayLike) -> np.ndarray | np.float64:
    """Returns how many times less work a gain in efficiency means, 1 / (1 - gie), float64 > 0.

    Args:
        gie: less than 1.

    Raises:
        UserError: a gain of 1 or more, which would be no work at all.
    """
    _check(np.less(gie, 1), gie, "a GiE of {}", "less than 1: the share of the teacher's work that is saved")
    return np.float64(1) / np.subtract(1, gie)


@dataclass(frozen=True)
class AdaptationWork:
    """How often the networks ran to make the student, before it serves.

    Args:
        labelled: images that the teacher labelled, those for training and those held back; one that is labelled again
            in every step counts every time.
        trained: images in the student's training steps, steps times batch size.
        validated: held-back images that the student answered for validation.

    Raises:
        UserError: a number is negative.
    """

    labelled: int
    trained: int
    validated: int

    def __post_init__(self) -> None:
        for field in ("labelled", "trained", "validated"):
            count = getattr(self, field)
            if not 0 <= count < math.inf:
                raise UserError(f"adaptation: {count} images {field}, expected a count of at least 0")

    def flops(self, student: Macs, teacher: Macs) -> float:
        """Returns the work of the adaptation in FLOPs.

        A training step is three forward passes [our choice, a common estimate]. Before it is converted the student runs
        in float, so its binary MACs cost as much as float ones in training and in validation (our choice). The second
        derivatives that an attention objective needs are left out: they are those of the head, a few percent of a step.
        """
        passes = FORWARDS_A_TRAINING_STEP * self.trained + self.validated
        return self.labelled * teacher.flops + passes * student.flops_as_float


def gie_total(
    images: ArrayLike,
    deferred: ArrayLike,
    student_flops: ArrayLike,
    teacher_flops: ArrayLike,
    adaptation_flops: ArrayLike,
) -> np.ndarray | np.float64:
    """Returns the gain in efficiency with the adaptation charged, gie - A / (N F_T), float64 in (-inf, 1).

    Our choice. It is negative while N is small, and 0 at the break-even.

    Args:
        images: N >= 1 images served.
        deferred: N_T, 0..N.
        student_flops: F_S > 0 per image.
        teacher_flops: F_T > 0 per image.
        adaptation_flops: A >= 0, `AdaptationWork.flops`.

    Raises:
        UserError: a number is out of its range.
    """
    _check_adaptation(adaptation_flops)
    served = gie(images, deferred, student_flops, teacher_flops)
    return served - np.divide(adaptation_flops, images) / teacher_flops


def break_even(gie: ArrayLike, teacher_flops: ArrayLike, adaptation_flops: ArrayLike) -> np.ndarray | np.float64:
    """Returns after how many served images the adaptation has paid for itself, A / (gie F_T), float64 >= 0.

    Infinite where nothing is gained. At that number, and the same share deferred, `gie_total` is 0. Our choice.

    Args:
        gie: the gain of serving alone, less than 1.
        teacher_flops: F_T > 0 per image.
        adaptation_flops: A >= 0.

    Raises:
        UserError: a number is out of its range.
    """
    _check(np.less(gie, 1), gie, "a GiE of {}", "less than 1: the share of the teacher's work that is saved")
    _check_work("teacher's", teacher_flops)
    _check_adaptation(adaptation_flops)
    saved = np.multiply(gie, teacher_flops)
    gains = saved > 0
    return np.where(gains, np.divide(adaptation_flops, np.where(gains, saved, 1)), np.inf)[()]


def _check_served(images: ArrayLike, deferred: ArrayLike) -> None:
    is_count = np.isfinite(images) & np.greater_equal(images, 1)
    _check(is_count, images, "{} images served", "at least 1")
    deferred, images = np.broadcast_arrays(deferred, images)
    is_part = np.greater_equal(deferred, 0) & np.less_equal(deferred, images)
    _check(is_part, deferred, "{} images deferred", "at least 0 and at most the images served")


def _check_work(whose: str, work: ArrayLike) -> None:
    is_work = np.isfinite(work) & np.greater(work, 0)
    _check(is_work, work, f"the {whose} work is {{}} per image", "more than 0; count it with macs(model).flops")


def _check_adaptation(flops: ArrayLike) -> None:
    is_work = np.isfinite(flops) & np.greater_equal(flops, 0)
    _check(is_work, flops, "the adaptation's work is {} FLOPs", "at least 0; AdaptationWork.flops gives it")


def _check(is_right: ArrayLike, values: ArrayLike, given: str, expected: str) -> None:
    if not np.all(is_right):
        first = np.asarray(values)[~np.asarray(is_right)].flat[0]
        raise UserError(f"{given.format(first)}: expected {expected}")
