"""How students are made and how they serve, in plain values, and what they are made with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import tensorflow as tf

from envise_tf.deferral.cascade import Teacher
from envise_tf.distillation.objectives import Objective
from envise_tf.images.windows import Augmentation
from envise_tf.settings import Policy


@dataclass(frozen=True)
class AdaptPlan:
    """How a student is made, in plain values.

    Attributes:
        find: images in which the frequent classes are found, >= 1.
        recheck: images on which earlier students are tried, >= 1.
        coverage: share of the images that the classes found must cover.
        min_share: least share of the images that a class must have to be found.
        window: images between measurements of agreement, >= 1.
        patience: measurements without improvement at which agreement stands still, >= 1.
        improvement: least gain in agreement that counts as one.
        floor: least agreement to converge at.
        longest: images after which training ends, >= 1.
        steps: training steps for each batch that arrives, >= 1.
        batch_size: images a training step.
        learning_rate: of all variables, > 0.
        augmentation: of every training image.
        held_back: most images held back.
        block: consecutive images that are held back or trained on together, for streams in the order of time; None
            where images are independent: then the pixels of each decide.
        epsilon: largest disagreement promised.
        confidence: of the promise.
        false_alarms: of changes noticed while adapting, see `ChangeDetector`.
        seed: the same plan, seed and images make the same student.
    """

    find: int
    recheck: int
    coverage: float
    min_share: float
    window: int
    patience: int
    improvement: float
    floor: float
    longest: int
    steps: int
    batch_size: int
    learning_rate: float
    augmentation: Augmentation
    held_back: int
    block: int | None
    epsilon: float
    confidence: float
    false_alarms: float
    seed: int


@dataclass(frozen=True)
class ServePlan:
    """How a student serves, in plain values.

    Attributes:
        epsilon: largest disagreement that it promises.
        false_alarms: see `ChangeDetector`.
        audit_least: shortest distance between audits, in images that the student answers, >= 1.
        audit_most: longest distance.
        policy: what ends a service: never nothing, scheduled `schedule` images, any other a change that is noticed.
        schedule: images, >= 1.
    """

    epsilon: float
    false_alarms: float
    audit_least: int
    audit_most: int
    policy: Policy
    schedule: int


@dataclass(frozen=True)
class Workshop:
    """What students are made with.

    Attributes:
        teacher: frozen classifier of uint8 images.
        answers: the same as a function of arrays.
        objectives: by name.
        build: number of classes -> a new student.
    """

    teacher: tf.keras.Model
    answers: Teacher
    objectives: Mapping[str, Objective]
    build: Callable[[int], tf.keras.Model]

    @property
    def teacher_classes(self) -> int:
        return int(self.teacher.output_shape[-1])
