"""Files of Keras 3: which version wrote one, the network's configuration, and its weights.

Both formats are JSON and HDF5. They are read without Keras 3, so that no version of it has to be installed, and without
running anything that they hold.

- `.keras` is a zip: metadata.json, config.json, and model.weights.h5, in which the layer at `layers/conv2d_1` is the
  second of that class in its model, whatever its name is, and a nested model is a layer with layers of its own.
- `.h5`, the older one, has the configuration as an attribute, and for each outermost layer, by its name, the arrays of
  all that is in it: first those that are trained, then the others.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from envise_tf.errors import UserError, reason_of

_UNREADABLE = (OSError, KeyError, TypeError, ValueError, AttributeError, RuntimeError, zipfile.BadZipFile)


@dataclass(frozen=True)
class Keras3File:
    """A network as Keras 3 has saved it.

    Attributes:
        path: of the file.
        config: class and arguments of the network, and of its layers.
        arrays: the weights: by the place of each layer in a .keras file, by outermost layer in an .h5 file.
        by_name: whether it is an .h5 file.
    """

    path: Path
    config: Mapping[str, Any]
    arrays: Mapping[str, Sequence[np.ndarray]]
    by_name: bool


def keras_version(path: Path) -> str | None:
    """Returns the version of Keras that wrote a .keras or .h5 file, such as "3.12.4"; None if it holds no network."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                return str(json.loads(archive.read("metadata.json"))["keras_version"])
        with h5py.File(path) as file:
            return _text(file.attrs["keras_version"]) if "model_config" in file.attrs else None
    except _UNREADABLE:
        return None


def is_keras3(path: Path) -> bool:
    """Returns whether Keras 3, or a later one, wrote a .keras or .h5 file."""
    version = keras_version(path) or ""
    return version.partition(".")[0].isdigit() and int(version.partition(".")[0]) >= 3


def read_keras3(path: Path) -> Keras3File:
    """Returns what a file of Keras 3 holds.

    Raises:
        UserError: it holds no network, or one of Keras 2.
    """
    version = keras_version(path)
    if version is None:
        raise UserError(f"{path} holds no network of Keras: expected what model.save wrote, as .keras or .h5")
    if not is_keras3(path):
        raise UserError(f"{path} is a file of Keras {version}: give it to --teacher as it is")
    try:
        return _of_archive(path) if zipfile.is_zipfile(path) else _of_hdf5(path)
    except _UNREADABLE as error:
        raise UserError(f"{path} is damaged ({reason_of(error)}): save it again, with model.save") from None


def _of_archive(path: Path) -> Keras3File:
    with zipfile.ZipFile(path) as archive:
        config = json.loads(archive.read("config.json"))
        weights = io.BytesIO(archive.read("model.weights.h5"))
    arrays: dict[str, list[np.ndarray]] = {}

    def keep(place: str, found: h5py.Group | h5py.Dataset) -> None:
        if isinstance(found, h5py.Group) and place.endswith("/vars"):
            arrays[place.removesuffix("/vars")] = [np.asarray(found[name]) for name in sorted(found, key=int)]

    with h5py.File(weights) as file:
        file.visititems(keep)
    return Keras3File(path, config, arrays, by_name=False)


def _of_hdf5(path: Path) -> Keras3File:
    with h5py.File(path) as file:
        config = json.loads(_text(file.attrs["model_config"]))
        groups = file["model_weights"]
        arrays = {layer: [np.asarray(group[name]) for name in _names(group.attrs)] for layer, group in groups.items()}
    return Keras3File(path, config, arrays, by_name=True)


def _names(attributes: Mapping[str, Any]) -> list[str]:
    """Returns the names of a layer's arrays; a list too long for one attribute goes on in numbered ones."""
    parts = ["weight_names"] if "weight_names" in attributes else sorted(attributes, key=lambda part: (len(part), part))
    return [_text(name) for part in parts if part.startswith("weight_names") for name in attributes[part]]


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
