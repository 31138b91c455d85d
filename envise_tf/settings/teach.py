"""The settings of teach."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from envise_tf.settings.places import FilePath, WeightsPlace
from envise_tf.settings.ranges import Count, NotAll, Within
from envise_tf.settings.shared import FitSettings, ImageSettings


@dataclass(frozen=True)
class TeachSettings(ImageSettings, FitSettings):
    """Network and output.

    Args:
        network: wide_resnet, or a network of Keras Applications such as MobileNetV2.
        depth: convolutions of the wide ResNet: 10, 16, 22 and so on.
        width: the stages of the wide ResNet have 16, 32 and 64 times this many channels.
        weights: imagenet or a file of weights, which a network of Keras Applications starts from.
        initial: .keras file or SavedModel to fine-tune in place of a new network.
        label_smoothing: share of each label that is spread over all classes.
        weight_decay: decoupled, on kernels only.
        out: folder of the run; default: runs/teach- and the time.
    """

    network: str = "wide_resnet"
    depth: Annotated[int, Within(10, 1000)] = 10
    width: Count = 1
    weights: WeightsPlace | None = None
    initial: FilePath | None = None
    label_smoothing: NotAll = 0.1
    weight_decay: Annotated[float, Within(0)] = 5e-3
    out: FilePath | None = None
