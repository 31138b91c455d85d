"""The layers of Keras 2 that do at inference what those of Keras 3 do, from the arguments that a file gives."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from envise_tf.errors import UserError
from envise_tf.networks.activations import keras3_hard_sigmoid, keras3_hard_swish

layers = tf.keras.layers

_SAME = (
    *("Conv1D", "Conv2D", "Conv2DTranspose", "DepthwiseConv2D", "SeparableConv2D", "Dense", "EinsumDense"),
    *("BatchNormalization", "LayerNormalization", "GroupNormalization", "UnitNormalization", "Normalization"),
    *("Activation", "ReLU", "LeakyReLU", "PReLU", "ELU", "Softmax"),
    *("MaxPooling2D", "AveragePooling2D", "GlobalMaxPooling2D", "GlobalAveragePooling2D"),
    *("MaxPooling1D", "AveragePooling1D", "GlobalMaxPooling1D", "GlobalAveragePooling1D"),
    *("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate", "Dot"),
    *("Flatten", "Reshape", "Permute", "RepeatVector", "ZeroPadding2D", "Cropping2D", "UpSampling2D", "Identity"),
    *("Rescaling", "Resizing", "CenterCrop"),
    *("Dropout", "SpatialDropout2D", "AlphaDropout", "GaussianDropout", "GaussianNoise", "ActivityRegularization"),
)
"""Classes that mean the same in both, apart from what is below."""

_AUGMENTATION = (
    *("RandomFlip", "RandomRotation", "RandomZoom", "RandomTranslation", "RandomShear", "RandomPerspective"),
    *("RandomElasticTransform", "RandomBrightness", "RandomContrast", "RandomHue", "RandomSaturation"),
    *("RandomColorJitter", "RandomColorDegeneration", "RandomGrayscale", "RandomSharpness", "RandomPosterization"),
    *("RandomInvert", "RandomErasing", "RandomGaussianBlur", "RandAugment", "AugMix", "MixUp", "CutMix"),
)
"""Classes that pass on images as they are, but for training."""

_RENAMED = {("LeakyReLU", "negative_slope"): "alpha"}
"""Arguments by class and name in Keras 3, and their name in Keras 2."""

_OF_TRAINING = ("_initializer", "_regularizer", "_constraint", "seed")
"""How the names of arguments end that no trained network needs."""

_WITHOUT_EFFECT = {("Resizing", "fill_mode"), ("Resizing", "fill_value"), ("BatchNormalization", "renorm_momentum")}
"""Arguments that say nothing where those that Keras 2 lacks are off."""

_ACTIVATIONS = {
    **{name: name for name in ("linear", "relu", "relu6", "leaky_relu", "elu", "selu", "gelu", "mish", "exponential")},
    **{name: name for name in ("sigmoid", "tanh", "softplus", "softsign", "softmax", "log_softmax")},
    **dict.fromkeys(("silu", "swish"), "swish"),
    **dict.fromkeys(("hard_silu", "hard_swish"), keras3_hard_swish),
    "hard_sigmoid": keras3_hard_sigmoid,
}
"""By their name in Keras 3."""


def counterpart(kind: str, config: Mapping[str, Any]) -> tf.keras.layers.Layer:
    """Returns a layer of Keras 2, without its weights, that does at inference what one of Keras 3 does.

    Augmentation becomes an identity. Initialisers, regularisers and constraints are left out.

    Args:
        kind: class of the layer in Keras 3.
        config: its arguments, as the file gives them.

    Raises:
        UserError: Keras 2 has no such layer, or the layer lacks an argument that is in use.
    """
    named = f"layer {config['name']} ({kind})"
    common = {"name": config["name"], "trainable": config.get("trainable", True), "dtype": _policy(config, named)}
    if kind in _AUGMENTATION:
        return layers.Activation("linear", **common)
    if kind == "Lambda":
        raise UserError(f"{named} holds code, which is not run: replace it by layers of Keras, such as Rescaling")
    if kind not in _SAME:
        raise UserError(
            f"{named} has no counterpart in Keras 2: replace it by other layers, and save the network again"
        )
    if config.get("data_format") == "channels_first":
        raise UserError(f"{named} has the channels first: expected a network of images with the channels last")
    own = {_RENAMED.get((kind, name), name): value for name, value in config.items() if name not in common}
    known = inspect.signature(getattr(layers, kind).__init__).parameters
    arguments = {name: value for name, value in own.items() if name in known and not name.endswith(_OF_TRAINING)}
    for name, value in own.items():
        if name not in known and not name.endswith(_OF_TRAINING) and not _is_off(kind, name, value):
            raise UserError(f"{named} has {name}={value!r}, which Keras 2 does not know: leave it out")
    if "activation" in arguments:
        arguments["activation"] = activation(arguments["activation"], named)
    return getattr(layers, kind)(**arguments, **common)


def activation(given: Any, named: str) -> Any:
    """Returns an activation as a layer of Keras 2 takes it.

    Args:
        given: its name in Keras 3, or how Keras 3 writes down a function of that name; None is the identity.
        named: the layer, for the error.

    Raises:
        UserError: Keras 2 has no such activation.
    """
    name = given.get("config") if isinstance(given, dict) else given
    if name is None:
        return "linear"
    if not isinstance(name, str) or name not in _ACTIVATIONS:
        shown = given.get("class_name") if isinstance(name, dict) else name
        raise UserError(f"{named} has the activation {shown}, which has no counterpart in Keras 2: use another")
    return _ACTIVATIONS[name]


def _is_off(kind: str, name: str, value: Any) -> bool:
    return not value or value == "channels_last" or (kind, name) in _WITHOUT_EFFECT


def _policy(config: Mapping[str, Any], named: str) -> str | None:
    """Returns the name of a layer's precision."""
    given = config.get("dtype")
    if not isinstance(given, dict):
        return given
    if given["class_name"] != "DTypePolicy":
        raise UserError(f"{named} is quantised ({given['class_name']}): give the network from before it was quantised")
    return given["config"]["name"]
