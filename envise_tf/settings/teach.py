"""The settings of teach."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from envise_tf.settings.places import FilePath, WeightsPlace
from envise_tf.settings.ranges import Count, NotAll, Share, Within
from envise_tf.settings.shared import FitSettings, ImageSettings


@dataclass(frozen=True)
class TeachSettings(ImageSettings, FitSettings):
    """Network and output.

    Args:
        network: wide_resnet, or a network of Keras Applications such as MobileNetV2.
        depth: convolutions of the wide ResNet: 10, 16, 22 and so on.
        width: the stages of the wide ResNet have 16, 32 and 64 times this many channels.
        weights: imagenet or a file of weights, which a network of Keras Applications starts from.
        initial: imagenet-lite0 or imagenet-lite2, which get a new last layer, or a .keras file or SavedModel, to
            fine-tune in place of a new network; imagenet-lite0@112 resizes the images to 112 pixels inside.
        frozen: blocks of imagenet-lite0 next to the image that keep their weights; faster, for few images.
        head_passes: passes in which the new last layer alone is trained before all layers are.
        mixup: largest share of another image, and of its label, that is blended into each.
        ema: share that each step keeps of the running mean of the weights, which is the result; 0 takes the last.
        label_smoothing: share of each label that is spread over all classes.
        weight_decay: decoupled, on kernels only.
        out: folder of the run; default: runs/teach- and the time.
    """

    network: str = "wide_resnet"
    depth: Annotated[int, Within(10, 1000)] = 10
    width: Count = 1
    weights: WeightsPlace | None = None
    initial: FilePath | None = None
    frozen: Annotated[int, Within(0, 1000)] = 0
    head_passes: Annotated[int, Within(0, 1000)] = 0
    mixup: Share = 0.0
    ema: NotAll = 0.0
    label_smoothing: NotAll = 0.1
    weight_decay: Annotated[float, Within(0)] = 5e-3
    out: FilePath | None = None
