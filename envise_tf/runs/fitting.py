"""What the commands that train have in common before their first step: the replicas and the run that they write to."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import tensorflow as tf

from envise_tf.distillation.replicas import Replicas, replicas_of
from envise_tf.errors import UserError
from envise_tf.networks.macs import macs
from envise_tf.networks.students import widest_widths
from envise_tf.run import Run
from envise_tf.settings import TeachSettings, TrainSettings, as_yaml
from envise_tf.settings.shared import StudentSettings

_STUDENTS_SHARE = 0.06
"""Of the teacher's work, at most, for a student that is picked by it (our choice: less is hardly noticed beside what
deferred images cost, and more would have to be earned by fewer of them)."""


def student_widths(settings: StudentSettings, teacher: tf.keras.Model, size: int) -> tuple[int, ...]:
    """Returns the channels of each stage of the student: those asked for, or what the teacher's work makes of "auto".

    Args:
        settings: of the student.
        teacher: the network.
        size: side of the images in pixels.

    Raises:
        UserError: the student starts from another, which has its own; or blocks that make no student.
    """
    if settings.widths != "auto":
        return settings.widths
    if settings.student_init != "scratch":
        raise UserError(
            f"--widths auto given with --student_init {settings.student_init}, which has its own: give those, or "
            "--student_init scratch"
        )
    shape = {name: value for name, value in settings.shape.items() if name != "widths"}
    return widest_widths(size, teacher.output_shape[-1], most_flops=_STUDENTS_SHARE * macs(teacher).flops, **shape)


def found_replicas(settings: TeachSettings | TrainSettings, told: Callable[[str], None]) -> Replicas:
    """Returns the replicas that the settings ask for; to be called before any other work of TensorFlow.

    Args:
        settings: of the training.
        told: called with lines for the user, see `replicas_of`.

    Raises:
        UserError: as in `replicas_of`; or several workers are given no folder.
    """
    if settings.strategy == "multi_worker" and settings.out is None:
        raise UserError("--strategy multi_worker without --out: expected a folder that all workers see; give --out")
    return replicas_of(settings.strategy, settings.batch_size, told)


@contextmanager
def opened_run(
    settings: TeachSettings | TrainSettings, command: str, resumed: bool, replicas: Replicas
) -> Iterator[Run]:
    """Yields the run to write to, of which nothing is written yet, or which is resumed.

    Args:
        settings: of the training; `out` is the folder.
        command: as in `Run.planned`.
        resumed: resume the run in settings.out.
        replicas: the workers among them must have been started with the same settings.

    Raises:
        UserError: as in `Run.planned`, `Run.held`, `Replicas.require_same` and `Replicas.writing`.
    """
    is_new = replicas.is_chief and not resumed
    run = Run.planned(settings, command) if is_new else Run(Path(str(settings.out)))
    holding = run.held(resumed) if replicas.is_chief else nullcontext()
    with run.resumable(command), holding, replicas.writing(run, resumed) as mine:
        replicas.require_same(as_yaml(dataclasses.replace(settings, out=None, data_dir=None)))
        yield mine
