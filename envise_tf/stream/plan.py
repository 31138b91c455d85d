"""How students are made and how they serve, in plain values, and what they are made with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from envise_tf.deferral.labelled import LabelledAnswers
from envise_tf.deferral.serving import ScoredStudent
from envise_tf.distillation.objectives import Objective
from envise_tf.images.windows import Augmentation
from envise_tf.prior.adaptation import Adaptation
from envise_tf.settings import AdaptBy, Policy
from envise_tf.stream.labelled import LabelledImages
from envise_tf.stream.teacher import StreamTeacher


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
        block_of_time: consecutive images that are held back or trained on together, for streams in the order of time;
            None where images are independent: then the pixels of each decide.
        rule: of the promise, see `deferral.rules`.
        options: of the rule, epsilon and confidence among them.
        adapt_by: whether a student may serve without training (restriction), is always trained (training), or is
            trained where that is expected to pay or there is none to restrict (both).
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
    block_of_time: int | None
    rule: str
    options: Mapping[str, Any]
    adapt_by: AdaptBy
    false_alarms: float
    seed: int

    @property
    def trained(self) -> int:
        """Images in the training steps that a student is expected to take.

        Our choice: agreement rises for one window, then stands still for `patience` of them, at each of two rates.
        """
        return 2 * (1 + self.patience) * self.window * self.steps


@dataclass(frozen=True)
class ServePlan:
    """How a student serves, in plain values.

    Attributes:
        false_alarms: see `ChangeDetector`.
        audit_least: shortest distance between audits, in images that the student answers, >= 1.
        audit_most: longest distance.
        most_deferred: share of any `deferred_window` images in a row that may be left to the teacher, see
            `DeferralBudget`.
        deferred_window: images, >= 1.
        policy: what ends a service: never nothing, scheduled `schedule` images, any other a change that is noticed.
        schedule: images, >= 1.
    """

    false_alarms: float
    audit_least: int
    audit_most: int
    most_deferred: float
    deferred_window: int
    policy: Policy
    schedule: int


@dataclass(frozen=True)
class Workshop:
    """What students are made with.

    Attributes:
        teacher: adapted to the stream.
        objectives: by name.
        build: number of classes -> a new student.
        labelled: images that choose a threshold where they can, instead of the teacher's probabilities.
    """

    teacher: StreamTeacher
    objectives: Mapping[str, Objective]
    build: Callable[[int], tf.keras.Model]
    labelled: LabelledImages | None = None

    def labelled_answers(self, scored: ScoredStudent, adaptation: Adaptation) -> LabelledAnswers | None:
        """Returns what a student and the adapted teacher answer on the labelled images, if there are any."""
        return None if self.labelled is None else self.labelled.answers(scored, self.teacher, adaptation)
