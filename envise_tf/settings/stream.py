"""The settings of stream."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from envise_tf.errors import UserError
from envise_tf.settings.places import FilePath, YamlFile
from envise_tf.settings.ranges import Checked, Count, HeldBack, NotAll, NotNothing, Positive, Proportion, Seed, Share
from envise_tf.settings.shared import ImageSettings, StudentSettings, TeacherSettings

AdaptBy = Literal["restriction", "training", "both"]
Policy = Literal["lifecycle", "never", "scheduled", "scratch"]


@dataclass(frozen=True)
class FrameSettings(ImageSettings):
    """Stream.

    Args:
        phases: a shipped phase file or your own YAML file, for a simulated stream of --source; see docs/stream.md.
        images: folder of unlabelled images to answer, the oldest file first.
        video: video file to answer.
        every: answer one frame in this many of a video.
        seed: the same settings, seed and images give the same answers.
        out: folder of the run; default: runs/stream- and the time.
    """

    phases: YamlFile | None = None
    images: FilePath | None = None
    video: FilePath | None = None
    every: Count = 1
    seed: Seed = 0
    out: FilePath | None = None


@dataclass(frozen=True)
class ServeSettings(Checked):
    """Serving.

    Args:
        rule: what the threshold promises: accuracy (how much less often than the teacher's the cascade's answers are
            right) or risk (disagreement with the teacher among the images that the student answers).
        epsilon: largest loss or disagreement promised.
        bound: for accuracy, the upper confidence bound; betting promises more where most answers cost nothing.
        confidence: probability with which the promise holds.
        audit_least: shortest interval between audits, in images that the student answers.
        audit_most: longest interval between audits; recent agreement decides between the two.
        most_deferred: share of any --deferred_window images in a row that may be deferred; beyond it the student
            answers, which the promise does not cover.
        deferred_window: images over which deferred ones are counted.
        false_alarms: changes noticed per 10,000 images where there is none, at most, in expectation.
        held_back: most images kept to measure agreement and to choose the threshold.
    """

    rule: Literal["accuracy", "risk"] = "accuracy"
    epsilon: Proportion = 0.01
    bound: Literal["betting", "hoeffding_bentkus"] = "betting"
    confidence: Proportion = 0.95
    audit_least: Count = 8
    audit_most: Count = 64
    most_deferred: NotNothing = 1.0
    deferred_window: Count = 1000
    false_alarms: Positive = 0.1
    held_back: HeldBack = 1000


@dataclass(frozen=True)
class AdaptSettings(Checked):
    """Adapting.

    Args:
        adapt_by: restriction lets the generic student serve with the frequent classes alone, untrained; training trains
            it first; both restricts it and trains on where that is expected to pay, or trains where there is none.
        learning_rate: of every adaptation; a fifth of it once agreement stands still.
        batch_size: images answered at a time, and images per training step.
        steps: training steps for each batch that arrives while adapting.
        find: images after a change in which the frequent classes are found.
        recheck: images after a change on which earlier students are tried.
        coverage: share of the stream that the classes found must cover.
        min_share: share of the stream that a class must surely have to be found.
        window: images between measurements of agreement.
        patience: measurements without improvement before the rate is lowered, and again before serving begins.
        improvement: smallest gain in agreement that counts as one.
        floor: smallest agreement at which serving begins.
        longest: images after which serving begins whatever the agreement.
        flip: mirror training images at random.
        shift: largest random shift of training images, as a share of the side.
        mixup: largest share of another image that is blended into each training image.
        memory: MB of images kept for training.
        students: most earlier students kept.
        checkpoint: images between checkpoints.
    """

    adapt_by: AdaptBy = "both"
    learning_rate: Positive = 1e-3
    batch_size: Count = 64
    steps: Count = 2
    find: Count = 512
    recheck: Count = 128
    coverage: NotNothing = 0.99
    min_share: NotAll = 0.01
    window: Count = 512
    patience: Count = 2
    improvement: Share = 0.01
    floor: Share = 0.5
    longest: Count = 6000
    flip: bool = False
    shift: Share = 0.1
    mixup: Share = 0.0
    memory: Count = 64
    students: Count = 4
    checkpoint: Count = 2000


@dataclass(frozen=True)
class StreamSettings(FrameSettings, TeacherSettings, StudentSettings, ServeSettings, AdaptSettings):
    """Policy, for comparisons.

    Args:
        policy: lifecycle adapts when the stream changes, never only once, scheduled every --schedule images, scratch on
            changes as lifecycle does but without earlier students.
        baselines: run the other policies too, in RUN/POLICY, and show them in the report.
        schedule: images between the adaptations of the policy scheduled.
    """

    policy: Policy = "lifecycle"
    baselines: bool = False
    schedule: Count = 5000
    objectives: dict[str, dict[str, Any]] = dataclasses.field(
        default_factory=lambda: {
            "soft_label": {"weight": 1.0, "temperature": 1.0},
            "attention_triplet": {"weight": 1.0, "margin": 0.5},
        }
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.audit_least > self.audit_most:
            raise UserError(
                f"--audit_least {self.audit_least} and --audit_most {self.audit_most} given: expected the first to be "
                "no larger"
            )
        if self.adapt_by == "restriction" and self.student_init == "scratch":
            raise UserError(
                "--adapt_by restriction with --student_init scratch given: expected a generic student to restrict; "
                "give --student_init generic or the path of a student.keras, or --adapt_by training"
            )
