"""Trainings that follow one another, such as a sweep's: what they have in common is found once."""

from __future__ import annotations

import dataclasses

from envise_tf.prior.adaptation import Adaptation
from envise_tf.runs.job import Job, found_adaptation, found_job, found_objectives, raw_job
from envise_tf.settings import TrainSettings

_STUDENTS_OWN = {
    *("objectives", "widths", "blocks", "block", "stem", "student_size", "windows", "learning_rate", "binary_rate"),
    *("warmup", "flip", "shift", "cutout", "mixup", "mixed", "out"),
}
"""Settings that change neither images nor teacher."""


class Jobs:
    """Finds jobs one after the other; one that differs from the last in its student alone shares all the rest with it.

    Images and teacher are then looked up, loaded and checked once, and the teacher looks at the stream once.
    """

    def __init__(self) -> None:
        self._last: Job | None = None
        self._adaptation: Adaptation | None = None

    def found(self, settings: TrainSettings) -> Job:
        """Returns the job that the settings describe, its teacher not adapted.

        Raises:
            UserError: as in `found_job`.
        """
        if self._last is None or _other_work(self._last.settings, settings):
            self._last, self._adaptation = raw_job(found_job(settings)), None
        return dataclasses.replace(self._last, settings=settings, objectives=found_objectives(settings))

    def adaptation(self, job: Job) -> Adaptation:
        """Returns how the teacher of the job that was found last is adapted to its stream.

        Raises:
            UserError: the stream has no image.
        """
        if self._adaptation is None:
            self._adaptation = found_adaptation(job)
        return self._adaptation


def _other_work(one: TrainSettings, other: TrainSettings) -> bool:
    names = {field.name for field in dataclasses.fields(TrainSettings)} - _STUDENTS_OWN
    return any(getattr(one, name) != getattr(other, name) for name in names)
