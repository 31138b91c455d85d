"""The settings of train, and of the sweeps that search them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from envise_tf.settings.places import FilePath, YamlFile
from envise_tf.settings.ranges import Count, HeldBack, NotAll, NotNothing, Positive, Proportion, Share, Within
from envise_tf.settings.shared import FitSettings, ImageSettings, StudentSettings, TeacherSettings


@dataclass(frozen=True)
class TrainStreamSettings(ImageSettings):
    """Stream.

    Args:
        stream: folder of unlabelled images to learn from; --source then only tests the student.
        scenario: a shipped scenario or your own YAML file; default: all classes of the source.
        prior: share of each class in a simulated stream, such as {apple: 0.7, pear: 0.3}; default: that of the source.
        classes: the student learns the classes found in the teacher's predictions, those that the scenario pins as
            inliers, or all.
        coverage: share of the stream that the classes found must cover.
        min_share: smallest share of the stream that a class needs to be found.
        part: part of the training split that the stream shows; teacher is for generic students.
    """

    stream: FilePath | None = None
    scenario: YamlFile | None = None
    prior: dict[str, Positive] | None = None
    classes: Literal["found", "pinned", "all"] = "found"
    coverage: NotNothing = 0.99
    min_share: NotAll = 0.01
    part: Literal["stream", "teacher"] = "stream"


@dataclass(frozen=True)
class TrainSettings(TrainStreamSettings, TeacherSettings, StudentSettings, FitSettings):
    """Distillation and output.

    Args:
        out: folder of the run; default: runs/train-DATE-TIME.
        evaluate: evaluate the run at the end, as python -m envise_tf.evaluate does.
        epsilon: largest loss that the threshold may promise: the share of all images by which fewer answers are right
            than the teacher's would be.
        held_back: most held-back images that agreement and threshold are measured on.
        with_twin: train the real-valued counterpart too, in RUN/twin, for phones without Larq Compute Engine.
        mixup: largest share of another image that is blended into each; the teacher answers the blend.
        mixed: share of the images that --mixup blends, each by its own draw; the others stay as they are.
        binary_rate: learning rate of binary kernels, as a multiple of --learning_rate.
        stages: 2 trains for half of the windows with signs and real kernels, and then with binary kernels; the rate
            rises and falls in each.
        photographs: show images in the report; default: those of a data set, and none of a folder of your own.
        tensorboard: write logs for TensorBoard.
        verbose: print the table of the student's layers too.
    """

    out: FilePath | None = None
    evaluate: bool = True
    epsilon: Proportion = 0.01
    held_back: HeldBack = 2000
    with_twin: bool = False
    mixup: Share = 0.0
    mixed: Share = 1.0
    binary_rate: Positive = 1.0
    stages: Annotated[int, Within(1, 2)] = 1
    photographs: bool | None = None
    tensorboard: bool = True
    verbose: bool = False


@dataclass(frozen=True)
class SweepSettings(TrainSettings):
    """Sweep, whose trials start from these settings.

    Args:
        trials: number of trials; with hyperband a rung counts as one, and the last bracket may end early.
        space: a shipped search space or your own YAML file; see docs/tuning.md.
        objective: figure to maximise on held-back stream images: gie (work saved where the cascade answers as the
            teacher does), auroc (how well the score predicts agreement with the teacher) or agreement.
        tuner: bayesian learns from earlier trials, hyperband stops weak trials early, random does neither.
        faithful: for gie, smallest share of images on which the cascade must answer as the teacher does.
        lost_after: seconds without a sign of life after which a worker's trial goes to another.
    """

    trials: Count = 20
    space: YamlFile = "distillation"
    objective: Literal["gie", "auroc", "agreement"] = "gie"
    tuner: Literal["bayesian", "hyperband", "random"] = "bayesian"
    faithful: Share = 0.95
    lost_after: Annotated[int, Within(4, 86_400)] = 60
