"""A run of train made without training: a small student with fixed weights, and the shipped teacher of digits."""

from pathlib import Path
from typing import Any

import tensorflow as tf

from envise_tf.networks.loading import load_teacher
from envise_tf.networks.students import residual_student
from envise_tf.run import Run, provenance
from envise_tf.settings import TrainSettings

CLASSES = list(range(7))


def made_settings(folder: Path, **changes: Any) -> TrainSettings:
    """Settings of a run on digits whose student learns the first seven."""
    small = {"widths": (32,), "blocks": (1,), "windows": 1, "window": 32, "batch_size": 32}
    known = {"source": "digits", "scenario": "digits", "classes": "pinned", "tensorboard": False, "evaluate": False}
    return TrainSettings(**{**small, **known, "out": str(folder), **changes})


def made_run(folder: Path, **changes: Any) -> Run:
    """Writes the run, as finished, to a folder that does not exist yet."""
    settings = made_settings(folder, **changes)
    folder.mkdir(parents=True)
    run = Run(folder)
    tf.keras.utils.set_random_seed(7)
    teacher = load_teacher(settings.teacher, settings.teacher_range, None)
    residual_student(32, len(CLASSES), settings.widths, settings.blocks).save(folder / "student.keras")
    teacher.model.save(folder / "teacher.keras")
    run.write_json("classes.json", {"teacher_classes": CLASSES, "teacher_names": list(teacher.class_names)})
    run.write_json("result.json", {"class_names": list(teacher.class_names[:7]), **provenance()})
    run.begin(settings)
    return run
