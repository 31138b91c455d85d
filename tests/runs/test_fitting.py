"""The student's channels: those asked for, or what the teacher's work makes of them."""

import pytest

from envise_tf.errors import UserError
from envise_tf.networks.macs import macs
from envise_tf.networks.students import residual_student
from envise_tf.networks.teachers import wide_resnet
from envise_tf.runs.fitting import student_widths
from envise_tf.settings.shared import StudentSettings

pytestmark = pytest.mark.slow


def test_a_student_is_picked_by_the_teachers_work():
    teacher = wide_resnet(32, 10, depth=10, width=3)
    asked = StudentSettings(widths="auto", blocks=(1, 1, 1))
    widths = student_widths(asked, teacher, 32)
    work, next_work = (
        macs(residual_student(32, 10, each, asked.blocks)).flops for each in (widths, [2 * width for width in widths])
    )
    assert work <= 0.06 * macs(teacher).flops < next_work


def test_widths_that_are_asked_for_stay():
    assert student_widths(StudentSettings(widths=(32, 96)), None, 32) == (32, 96)


def test_a_student_that_starts_from_another_has_its_own_widths():
    with pytest.raises(UserError, match="--widths auto given with --student_init generic, which has its own"):
        student_widths(StudentSettings(widths="auto", student_init="generic"), None, 32)
