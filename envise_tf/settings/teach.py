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
        depth: number of convolutional layers of the wide ResNet: 10, 16, 22 and so on.
        width: widening factor of the wide ResNet, whose stages have 16, 32 and 64 times this many channels.
        weights: imagenet, or a file of weights, for a network of Keras Applications to start from.
        initial: network to fine-tune instead of training a new one: imagenet-lite0 or imagenet-lite2, which get a new
            last layer, a .keras file or a SavedModel; imagenet-lite0@112 resizes the images to 112 pixels inside.
        frozen: number of first blocks of imagenet-lite0 whose weights stay as they are; faster, for few images.
        head_passes: passes over the images in which only the new last layer is trained, before all layers are.
        mixup: largest share of another image, and of its label, that is blended into each.
        ema: decay of the moving average of the weights, which become the teacher's; 0 takes the last weights.
        label_smoothing: share of each label that is spread evenly over all classes.
        weight_decay: decoupled weight decay, of kernels only.
        out: folder of the run; default: runs/teach-DATE-TIME.
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
