"""Teachers that are damaged, or no classifiers of images: weights, types, layers, files."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from envise_tf.errors import UserError
from envise_tf.networks.loading import load_teacher
from trust.feeding import WrongAnswer
from trust.values import hostile

import tensorflow as tf  # isort: skip  (after envise_tf, which asks for Keras 2)

_SIZE, _CLASSES = 16, 10
layers = tf.keras.layers


class Feeder:
    """See `trust.feeding.Feeder`."""

    readings = 1

    def __init__(self, folder: Path, bundle: Path) -> None:
        self._folder = folder / "teacher"
        self._images = np.random.default_rng(0).integers(0, 256, (4, _SIZE, _SIZE, 3), np.uint8)

    def made(self, seed: int) -> tuple[str, Path]:
        random = np.random.default_rng(seed)
        tf.keras.backend.clear_session()
        tf.keras.utils.set_random_seed(seed)
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        kind = list(_KINDS)[seed % len(_KINDS)]
        return kind, _KINDS[kind](random, self._folder)

    def read(self, given: Path) -> str | None:
        try:
            answers = load_teacher(str(given))(self._images)
        except UserError as error:
            return str(error)
        if not np.isfinite(answers).all():
            raise WrongAnswer("outputs are no numbers, and nothing was said")
        return None


def _network(*middle: Any, size: int | None = _SIZE, head: Any = None) -> tf.keras.Model:
    """Returns a small classifier with some layers between its features and its head."""
    images = features = layers.Input((size, size, 3))
    for layer in (layers.Rescaling(1 / 255), layers.Conv2D(8, 3), *middle, layers.GlobalAveragePooling2D()):
        features = layer(features)
    return tf.keras.Model(images, (head or layers.Dense(_CLASSES))(features))


def _saved(network: tf.keras.Model, folder: Path, suffix: str = "keras") -> Path:
    path = folder / f"teacher.{suffix}"
    network.save(path)
    return path


def _no_numbers(random: np.random.Generator, folder: Path) -> Path:
    """Some weights, or all of a layer, are no numbers, or so large that answers are none."""
    network = _network(layers.BatchNormalization())
    weights = network.get_weights()
    which = int(random.integers(len(weights)))
    value = random.choice([np.nan, np.inf, -np.inf, 3e38])
    if random.integers(2):
        weights[which][...] = value
    else:
        weights[which].flat[random.integers(weights[which].size)] = value
    network.set_weights(weights)
    return _saved(network, folder, ("keras", "h5")[random.integers(2)])


def _types(random: np.random.Generator, folder: Path) -> Path:
    """Computes in another type than float32, or takes one."""
    policy = ("float16", "float64", "mixed_float16", "mixed_bfloat16", "bfloat16")[random.integers(5)]
    images = layers.Input(
        (_SIZE, _SIZE, 3), dtype=("uint8", "float32", "float64", "int32", "float16")[random.integers(5)]
    )
    features = layers.Conv2D(8, 3, dtype=policy)(layers.Rescaling(1 / 255, dtype="float32")(images))
    features = layers.GlobalAveragePooling2D(dtype=policy)(features)
    return _saved(tf.keras.Model(images, layers.Dense(_CLASSES, dtype=policy)(features)), folder)


def _odd_layers(random: np.random.Generator, folder: Path) -> Path:
    """Layers that draw, normalise by the batch, run code, or are of no use in a classifier."""
    odd: tuple[Callable[[], Any], ...] = (
        lambda: layers.Lambda(lambda x: x + 1),
        lambda: layers.GaussianNoise(1.0),
        lambda: layers.Dropout(0.5),
        lambda: layers.SpatialDropout2D(0.5),
        lambda: layers.BatchNormalization(),
        lambda: layers.UnitNormalization(),
        lambda: layers.Masking(),
        lambda: layers.RandomFlip(),
        lambda: layers.Resizing(8, 8),
        lambda: layers.ActivityRegularization(1.0),
        lambda: layers.ConvLSTM1D(4, 3, return_sequences=True),
        lambda: layers.LayerNormalization(axis=[1, 2]),
    )
    return _saved(_network(odd[random.integers(len(odd))]()), folder, ("keras", "h5")[random.integers(2)])


def _odd_shapes(random: np.random.Generator, folder: Path) -> Path:
    """Takes other things than square RGB images, or gives other things than a row of scores."""
    image = layers.Input((_SIZE, _SIZE, 3))
    flat = layers.Flatten()(image)
    size = layers.Input((None, None, 3))
    makers: tuple[Callable[[], tf.keras.Model], ...] = (
        lambda: tf.keras.Model(image, layers.Conv2D(4, 3)(image)),
        lambda: tf.keras.Model(image, layers.Dense(1)(flat)),
        lambda: tf.keras.Model(image, [layers.Dense(3)(flat), layers.Dense(3)(flat)]),
        lambda: tf.keras.Model(image, {"a": layers.Dense(3)(flat)}),
        lambda: tf.keras.Model([image, size], layers.Dense(3)(flat)),
        lambda: tf.keras.Model(size, layers.GlobalMaxPooling2D()(layers.Conv2D(5, 3)(size))),
        lambda: tf.keras.Sequential([layers.Input((_SIZE, _SIZE, 1)), layers.Flatten(), layers.Dense(3)]),
        lambda: tf.keras.Sequential([layers.Input((_SIZE, 8, 3)), layers.Flatten(), layers.Dense(3)]),
        lambda: tf.keras.Sequential([layers.Input((3, _SIZE, _SIZE)), layers.Flatten(), layers.Dense(3)]),
        lambda: tf.keras.Sequential([layers.Input((7,)), layers.Dense(3)]),
        lambda: tf.keras.Sequential([layers.Flatten(), layers.Dense(3)]),
        lambda: tf.keras.Sequential([layers.Input((_SIZE, _SIZE, 3), batch_size=2), layers.Flatten(), layers.Dense(3)]),
        lambda: tf.keras.Sequential([layers.Input((None, None, 3)), layers.Conv2D(3, 9), layers.GlobalMaxPooling2D()]),
    )
    return _saved(makers[random.integers(len(makers))](), folder)


def _members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _zipped(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def _flipped(content: bytes, random: np.random.Generator, most: int = 20) -> bytes:
    changed = bytearray(content)
    for place in random.integers(len(changed), size=random.integers(1, most)):
        changed[place] ^= 1 << int(random.integers(8))
    return bytes(changed)


def _config_values(random: np.random.Generator, folder: Path) -> Path:
    """Values anywhere in the network's description replaced or removed."""
    path = _saved(_network(layers.BatchNormalization(), layers.ReLU()), folder)
    members = _members(path)
    config = json.loads(members["config.json"])
    for _ in range(random.integers(1, 4)):
        places = _places(config)
        holder, key = places[random.integers(len(places))]
        if random.integers(3):
            holder[key] = hostile(random)
        else:
            del holder[key]
    return _zipped(path, members | {"config.json": json.dumps(config).encode()})


def _places(value: Any) -> list[tuple[Any, Any]]:
    keys = list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
    return [(value, key) for key in keys] + [place for key in keys for place in _places(value[key])]


def _weights_flipped(random: np.random.Generator, folder: Path) -> Path:
    """Bits in the HDF5 file of the weights, its own checksums and those of the archive put right."""
    path = _saved(_network(), folder)
    members = _members(path)
    return _zipped(path, members | {"model.weights.h5": _flipped(members["model.weights.h5"], random)})


def _archive(random: np.random.Generator, folder: Path) -> Path:
    """Parts of the archive missing, empty, doubled, huge or elsewhere."""
    path = _saved(_network(), folder)
    members = _members(path)
    name = list(members)[random.integers(len(members))]
    what = random.integers(5)
    if what == 0:
        del members[name]
    elif what == 1:
        members[name] = b""
    elif what == 2:
        members[name] = random.bytes(1000)
    elif what == 3:
        members["../../escaped.txt"] = b"a"
    else:
        members[name] = members[name][: len(members[name]) // 2]
    return _zipped(path, members)


def _file_flipped(random: np.random.Generator, folder: Path) -> Path:
    path = _saved(_network(), folder, ("keras", "h5")[random.integers(2)])
    path.write_bytes(_flipped(path.read_bytes(), random))
    return path


def _truncated(random: np.random.Generator, folder: Path) -> Path:
    path = _saved(_network(), folder, ("keras", "h5")[random.integers(2)])
    content = path.read_bytes()
    path.write_bytes(content[: random.integers(len(content))])
    return path


def _saved_model(random: np.random.Generator, folder: Path) -> Path:
    """A SavedModel with bits flipped in one of its files, or without it."""
    path = folder / "saved"
    _network().save(path, save_format="tf")
    files = sorted(file for file in path.rglob("*") if file.is_file() and file.stat().st_size)
    file = files[random.integers(len(files))]
    if random.integers(4):
        file.write_bytes(_flipped(file.read_bytes(), random))
    else:
        file.unlink()
    return path


def _no_teacher(random: np.random.Generator, folder: Path) -> Path:
    """Another file, a folder, nothing."""
    path = folder / "teacher.keras"
    what = random.integers(5)
    if what == 0:
        path.write_bytes(random.bytes(1000))
    elif what == 1:
        path.mkdir()
    elif what == 2:
        path.symlink_to(path)
    elif what == 3:
        buffer = io.BytesIO()
        np.savez(buffer, a=np.zeros(3))
        path.write_bytes(buffer.getvalue())
    return path


_KINDS: dict[str, Callable[[np.random.Generator, Path], Path]] = {
    "weights that are no numbers": _no_numbers,
    "types": _types,
    "odd layers": _odd_layers,
    "odd shapes": _odd_shapes,
    "description: values": _config_values,
    "weights: bits flipped": _weights_flipped,
    "archive": _archive,
    "file: bits flipped": _file_flipped,
    "file: truncated": _truncated,
    "SavedModel": _saved_model,
    "no teacher": _no_teacher,
}
