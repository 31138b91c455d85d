"""Files of networks that are none of Keras 2, and what to do about each."""

from __future__ import annotations

from pathlib import Path

from envise_tf.errors import UserError, as_word
from envise_tf.networks.keras3.exported import is_exported
from envise_tf.networks.keras3.file import is_keras3

_WITHOUT_LAYERS = {
    ".tflite": "a TensorFlow Lite file",
    ".onnx": "an ONNX file",
    ".pt": "a PyTorch file",
    ".pth": "a PyTorch file",
    ".pb": "a frozen TensorFlow graph",
}


def require_layers(path: Path) -> None:
    """Returns unless a file is of a kind that has operations alone, and no layers.

    Raises:
        UserError: it is.
    """
    if path.suffix.lower() in _WITHOUT_LAYERS:
        raise UserError(
            f"{path} is {_WITHOUT_LAYERS[path.suffix.lower()]}, whose layers are not known: give the Keras network "
            "that it was made from, as .keras, or one of Keras Applications with its weights"
        )
    if path.name.endswith(".weights.h5"):
        raise UserError(f"{path} holds weights without a network: save it whole, with model.save, as .keras")


def require_keras2(path: Path) -> None:
    """Returns unless a file holds no layers, or those of Keras 3.

    Raises:
        UserError: it does.
    """
    require_layers(path)
    if is_exported(path):
        raise UserError(
            f"{path} is a SavedModel without layers, as model.export writes it: give the .keras file of the network, "
            f"or what python -m envise_tf.convert {as_word(path)} makes of it"
        )
    if path.is_file() and is_keras3(path):
        raise UserError(
            f"{path} is a network of Keras 3: make one of Keras 2 of it, with "
            f"python -m envise_tf.convert {as_word(path)}"
        )
