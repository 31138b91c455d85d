"""The settings of each command as frozen dataclasses, with the ranges of their numbers.

This module imports nothing heavy, so that `--help` answers at once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from envise_tf.errors import UserError


@dataclass(frozen=True)
class ImageSettings:
    """Which images are used.

    Args:
        source: digits, a data set of TensorFlow Datasets (cifar100), tiny_imagenet, or the path of a labelled folder.
        data_dir: folder where data sets are prepared; default is TFDS_DATA_DIR or TensorFlow Datasets' own.
        image_size: side in pixels that images are resized to; default is the source's own, or the teacher's.
        protocol: disjoint gives teacher and stream different halves of the training split, shared gives both all.
    """

    source: str | None = None
    data_dir: str | None = None
    image_size: int | None = None
    protocol: Literal["disjoint", "shared"] = "disjoint"


DEMANDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    **dict.fromkeys(("windows", "window", "batch_size"), (lambda value: value >= 1, "at least 1")),
    **dict.fromkeys(("learning_rate", "binary_rate"), (lambda value: value > 0, "more than 0")),
    **dict.fromkeys(("shift", "cutout", "mixup"), (lambda value: 0 <= value <= 1, "a share of 0..1")),
    "trials": (lambda value: value >= 1, "at least 1"),
    "lost_after": (lambda value: value >= 4, "at least 4"),
    "faithful": (lambda value: 0 <= value <= 1, "a share of 0..1, such as 0.95"),
    "warmup": (lambda value: 0 <= value < 1, "a share of 0..1 that leaves some steps to the cosine"),
}
"""The numbers that a setting of a training or a sweep takes, where its type allows more: intervals, and their names."""


@dataclass(frozen=True)
class FitSettings:
    """How a network is fitted.

    Args:
        windows: how long to train, in windows.
        window: images a window; checkpoint, measurement and log come once a window.
        batch_size: images a step, over all replicas.
        learning_rate: its peak; a cosine leads from it to zero.
        warmup: share of the steps in which the rate rises from zero.
        flip: mirror images at random.
        shift: largest random shift, as a share of the side.
        cutout: side of a grey square laid over each image, as a share of the side.
        precision: mixed_bfloat16 computes in bfloat16; about twice as fast on processors with AVX512-BF16 or AMX.
        strategy: how many train together: one device, mirrored (all GPUs of this machine), multi_worker (the processes
            that TF_CONFIG names) or tpu; see docs/distributed.md.
        seed: the same settings and seed give the same network.
    """

    windows: int = 30
    window: int = 1000
    batch_size: int = 64
    learning_rate: float = 2e-3
    warmup: float = 0.1
    flip: bool = False
    shift: float = 0.1
    cutout: float = 0.0
    precision: Literal["float32", "mixed_bfloat16"] = "float32"
    strategy: Literal["one", "mirrored", "multi_worker", "tpu"] = "one"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, (is_right, expected) in DEMANDS.items():
            value = getattr(self, name, None)
            if value is not None and not is_right(value):
                raise UserError(f"--{name} {value} given: expected {expected}")
        if self.batch_size > self.window:
            raise UserError(
                f"--window {self.window} with --batch_size {self.batch_size} given: "
                "expected at least one batch a window"
            )


@dataclass(frozen=True)
class TeachSettings(ImageSettings, FitSettings):
    """How a teacher is trained.

    Args:
        network: wide_resnet or a network of Keras Applications (MobileNetV2).
        depth: convolutions of the wide ResNet: 10, 16, 22, ...
        width: channels of the wide ResNet's stages are 16, 32 and 64 times this.
        weights: imagenet, or a file of weights, to start a Keras Application from.
        initial: .keras file or SavedModel to fine-tune in place of a new network.
        label_smoothing: share of each label that is spread over all classes.
        weight_decay: decoupled, on kernels only.
        out: folder of the run.
    """

    network: str = "wide_resnet"
    depth: int = 10
    width: int = 1
    weights: str | None = None
    initial: str | None = None
    label_smoothing: float = 0.1
    weight_decay: float = 5e-3
    out: str | None = None


@dataclass(frozen=True)
class TrainSettings(ImageSettings, FitSettings):
    """How a student is distilled.

    Args:
        teacher: shipped teacher (cifar100-disjoint), run of teach, .keras file, SavedModel, or Keras Application.
        teacher_range: pixel range that a teacher of your own expects; raw is 0..255.
        teacher_classes: text file with one class name a line, for a teacher of your own.
        stream: folder of unlabelled images to learn from; source then only tests the student, if it is given.
        prior: share of each class in the stream, {name: share}; default is the source's own. For simulated streams.
        scenario: name of a shipped scenario, or your own YAML file; default is all classes of the source.
        classes: the student learns the classes found in the teacher's predictions, those that the scenario pins
            as inliers, or all.
        coverage: share of the stream that the classes found must cover.
        min_share: least share of the stream that a class must have to be found.
        student_init: start from the generic student shipped beside the teacher (or a path), or from scratch.
        widths: channels of the student's stages, multiples of 32.
        blocks: binary convolutions in each stage.
        twin: train the student's real-valued counterpart instead.
        with_twin: train it too, after the student, as a run of its own in RUN/twin; for phones without the library
            that binary networks need.
        objectives: what is minimised: name, its weight and options; see docs/objectives.md.
        mixup: largest share of another image that is blended into each; the teacher answers the blend too.
        binary_rate: learning rate of binary kernels, as a multiple of learning_rate.
        part: which part of the training split the stream shows; teacher is for generic students.
        held_back: most held-back images that agreement is measured on.
        tensorboard: write TensorBoard logs.
        evaluate: choose the threshold and test the cascade at the end, as python -m envise_tf.evaluate does.
        epsilon: largest disagreement with the teacher that the threshold may promise, in images that the student
            answers. A teacher that errs often is contradicted often, and not always wrongly: it wants a larger one.
        out: folder of the run; default is runs/ and the time.
    """

    teacher: str = "digits-disjoint"
    teacher_range: Literal["raw", "unit", "symmetric", "torch", "caffe"] = "raw"
    teacher_classes: str | None = None
    stream: str | None = None
    prior: dict[str, float] | None = None
    scenario: str | None = None
    classes: Literal["found", "pinned", "all"] = "found"
    coverage: float = 0.99
    min_share: float = 0.01
    student_init: str = "scratch"
    widths: tuple[int, ...] = (32, 64, 128)
    blocks: tuple[int, ...] = (4, 4, 4)
    twin: bool = False
    with_twin: bool = False
    objectives: dict[str, dict[str, Any]] = dataclasses.field(
        default_factory=lambda: {
            "soft_label": {"weight": 1.0, "temperature": 2.0},
            "attention_triplet": {"weight": 1.0, "margin": 0.5},
        }
    )
    mixup: float = 0.0
    binary_rate: float = 1.0
    part: Literal["stream", "teacher"] = "stream"
    held_back: int = 2000
    tensorboard: bool = True
    evaluate: bool = True
    epsilon: float = 0.05
    out: str | None = None


@dataclass(frozen=True)
class SweepSettings(TrainSettings):
    """How the best settings of a training are searched; those of a training are what every trial starts from.

    Args:
        trials: how many. With hyperband a rung counts as a trial, and the last bracket may end early.
        tuner: bayesian learns from earlier trials, hyperband gives most trials few windows and the best ones all,
            random does neither.
        objective: what is searched for, on held-back stream images: gie (work saved where the cascade answers as the
            teacher does), auroc (how well the score tells that the student agrees with the teacher) or agreement.
        faithful: for gie, the least share of images on which the cascade must answer as the teacher does.
        space: name of a shipped search space, or your own YAML file; see docs/tuning.md.
        lost_after: seconds without a sign of life after which the trial of a worker is given to another.
    """

    trials: int = 20
    tuner: Literal["bayesian", "hyperband", "random"] = "bayesian"
    objective: Literal["gie", "auroc", "agreement"] = "gie"
    faithful: float = 0.95
    space: str = "distillation"
    lost_after: int = 60


Policy = Literal["lifecycle", "never", "scheduled", "scratch"]


@dataclass(frozen=True)
class StreamSettings(ImageSettings):
    """How a stream is answered, and how the student adapts to it.

    Args:
        phases: YAML file of the phases of a simulated stream, see docs/stream.md; its images come from source.
        images: folder of unlabelled images to answer, in the order of their files' times.
        video: file to answer.
        every: of a video, only every so many-th frame.
        teacher: shipped teacher (cifar100-disjoint), run of teach, .keras file, SavedModel, or Keras Application.
        teacher_range: pixel range that a teacher of your own expects; raw is 0..255.
        teacher_classes: text file with one class name a line, for a teacher of your own.
        policy: lifecycle adapts when the stream changes. For comparison: never adapts after the first time;
            scheduled adapts every `schedule` images instead; scratch adapts on changes, but forgets all students.
        baselines: run the other policies too, as runs of their own in RUN/POLICY, and show them in the report.
        schedule: images between the adaptations of the policy scheduled.
        student_init: start from the generic student shipped beside the teacher (or a path), or from scratch.
        widths: channels of the student's stages, multiples of 32.
        blocks: binary convolutions in each stage.
        twin: take the student's real-valued counterpart instead.
        objectives: what is minimised: name, its weight and options; see docs/objectives.md.
        learning_rate: of every adaptation; a fifth of it once agreement stands still.
        flip: mirror training images at random.
        shift: largest random shift of training images, as a share of the side.
        mixup: largest share of another image that is blended into each training image.
        batch_size: images that are answered at a time, and images a training step.
        steps: training steps for each batch that arrives while adapting.
        find: images after a change in which the frequent classes are found.
        recheck: images after a change on which earlier students are tried.
        coverage: share of these images that the classes found must cover.
        min_share: least share of these images that a class must have to be found.
        window: images between measurements of agreement while adapting.
        patience: measurements without improvement, after which the rate is lowered, and then serving begins.
        improvement: least gain in agreement that counts as one.
        floor: least agreement at which serving begins.
        longest: images after which serving begins whatever the agreement.
        epsilon: largest disagreement with the teacher that the threshold may promise, in images that the student
            answers.
        confidence: how sure the promise is.
        false_alarms: most changes noticed in 10,000 images where there is none, in expectation.
        audit_least: of the images that the student answers, the teacher sees at most every so many-th.
        audit_most: and at least every so many-th; in between, recent agreement decides.
        memory: MB of images kept for training.
        held_back: most images kept to measure agreement and to choose the threshold.
        students: most earlier students kept.
        checkpoint: images between checkpoints.
        seed: the same settings, seed and images give the same answers.
        out: folder of the run; default is runs/ and the time.
    """

    phases: str | None = None
    images: str | None = None
    video: str | None = None
    every: int = 1
    teacher: str = "digits-disjoint"
    teacher_range: Literal["raw", "unit", "symmetric", "torch", "caffe"] = "raw"
    teacher_classes: str | None = None
    policy: Policy = "lifecycle"
    baselines: bool = False
    schedule: int = 5000
    student_init: str = "scratch"
    widths: tuple[int, ...] = (32, 64, 128)
    blocks: tuple[int, ...] = (4, 4, 4)
    twin: bool = False
    objectives: dict[str, dict[str, Any]] = dataclasses.field(
        default_factory=lambda: {
            "soft_label": {"weight": 1.0, "temperature": 1.0},
            "attention_triplet": {"weight": 1.0, "margin": 0.5},
        }
    )
    learning_rate: float = 1e-3
    flip: bool = False
    shift: float = 0.1
    mixup: float = 0.0
    batch_size: int = 64
    steps: int = 2
    find: int = 512
    recheck: int = 128
    coverage: float = 0.99
    min_share: float = 0.01
    window: int = 512
    patience: int = 2
    improvement: float = 0.01
    floor: float = 0.5
    longest: int = 6000
    epsilon: float = 0.1
    confidence: float = 0.95
    false_alarms: float = 0.1
    audit_least: int = 8
    audit_most: int = 64
    memory: int = 64
    held_back: int = 1000
    students: int = 4
    checkpoint: int = 2000
    seed: int = 0
    out: str | None = None


@dataclass(frozen=True)
class EvaluateSettings:
    """How a finished run of train is evaluated.

    Args:
        run: folder of the run.
        data_dir: folder where data sets are prepared; default is the one that the run was trained with.
        score: the outlier score whose threshold decides who answers; default is agreement, or msp where there is
            nothing to fit it on.
        rule: what the threshold promises: risk (disagreement with the teacher among the images that the student
            answers), recall (share of inliers that it answers) or rate (share of images that it defers).
        epsilon: for risk, the largest disagreement promised; default is the run's own.
        recall: for recall, the least share of inliers promised to be answered.
        rate: for rate, the largest share of images promised to be deferred.
        confidence: how sure the promise is.
        per_class: a threshold for each class that the student predicts, in place of one for all.
        batch_size: images at a time.
        seed: of the feature picture.
    """

    run: str
    data_dir: str | None = None
    score: str | None = None
    rule: Literal["risk", "recall", "rate"] = "risk"
    epsilon: float | None = None
    recall: float = 0.95
    rate: float = 0.2
    confidence: float = 0.95
    per_class: bool = False
    batch_size: int = 256
    seed: int = 0
