"""Networks shipped with the package: float16 weights beside a card that says how they were made.

    python -m envise_tf.networks.shipped RUN NAME

packs the network of a finished run of teach; NAME is the preset that made it and what users give as --teacher, such
as cifar100-disjoint.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from importlib import resources
from importlib.abc import Traversable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tensorflow as tf

from envise_tf.errors import UserError, nearest_names
from envise_tf.networks.code import load_keras
from envise_tf.networks.efficientnet_lite import efficientnet_lite
from envise_tf.networks.labelled import CALIBRATION_FILE, LabelledLogits
from envise_tf.networks.students import residual_student
from envise_tf.networks.teachers import wide_resnet

Kind = Literal["teacher", "student"]

_BUILDERS: dict[str, Callable[..., tf.keras.Model]] = {
    "efficientnet_lite": efficientnet_lite,
    "residual_student": residual_student,
    "wide_resnet": wide_resnet,
}


def shipped_names(kind: Kind) -> list[str]:
    """Returns the names of the shipped teachers, or of the generic students beside them."""
    ending = f".{kind}.json"
    return sorted(file.name.removesuffix(ending) for file in _folder().iterdir() if file.name.endswith(ending))


def card(name: str, kind: Kind) -> dict[str, Any]:
    """Returns the card of a shipped network: command, protocol, accuracy, architecture, class_names, versions, date.

    Raises:
        UserError: no such network.
    """
    if name not in shipped_names(kind):
        raise UserError(f"no {kind} is shipped as {name}: {nearest_names(name, shipped_names(kind))}")
    return json.loads((_folder() / f"{name}.{kind}.json").read_text())


def shipped_network(name: str, kind: Kind) -> tf.keras.Model:
    """Returns a shipped network in float32.

    Raises:
        UserError: no such network.
    """
    model = _built(card(name, kind)["architecture"])
    with (_folder() / f"{name}.{kind}.npz").open("rb") as file, np.load(file) as arrays:
        model.set_weights([arrays[f"{i:03}"].astype(np.float32) for i in range(len(arrays))])
    return model


def shipped_labelled(name: str) -> LabelledLogits | None:
    """Returns what a shipped teacher says of labelled images that it was not trained on; None if there are none."""
    file = _folder() / f"{name}.teacher.{CALIBRATION_FILE}"
    if not file.is_file():
        return None
    with file.open("rb") as opened:
        return LabelledLogits.load(opened)


def pack(run: Path, name: str) -> Path:
    """Writes the network of a finished run of teach into the package; returns the path of its card.

    Raises:
        UserError: the run is not finished, or its network is not one that can be built from its settings.
    """
    kind: Kind = "student" if (run / "student.keras").exists() else "teacher"
    try:
        result = json.loads((run / "result.json").read_text())
        model = load_keras(run / f"{kind}.keras")
    except OSError as error:
        raise UserError(f"{run} holds no finished run of teach ({error}): let it end first") from None
    if result["architecture"]["network"] not in _BUILDERS:
        raise UserError(f"{run} holds a {result['architecture']['network']}: only {', '.join(_BUILDERS)} are shipped")
    weights = [weight.astype(np.float16) for weight in model.get_weights()]
    if [weight.shape for weight in weights] != [
        weight.shape for weight in _built(result["architecture"]).get_weights()
    ]:
        raise UserError(f"{run} holds another network than its settings say: one made with --initial is not shipped")
    target = Path(str(_folder())) / f"{name}.{kind}"
    np.savez_compressed(f"{target}.npz", **{f"{i:03}": weight for i, weight in enumerate(weights)})
    if (run / CALIBRATION_FILE).exists():
        shutil.copy(run / CALIBRATION_FILE, f"{target}.{CALIBRATION_FILE}")
    path = Path(f"{target}.json")
    path.write_text(json.dumps(_card(result, name, kind), indent=2) + "\n")
    return path


def _built(architecture: dict[str, Any]) -> tf.keras.Model:
    options = dict(architecture)
    return _BUILDERS[options.pop("network")](**options)


def _card(result: dict[str, Any], name: str, kind: Kind) -> dict[str, Any]:
    settings = result.pop("settings")
    result.pop("evaluation", None)
    made_from = ("source", "protocol", "windows", "window", "precision", "seed")
    flag = "--student " if kind == "student" else ""
    return {
        "command": f"python -m envise_tf.teach {flag}--preset {name}",
        **{key: settings[key] for key in made_from},
        **result,
    }


def _folder() -> Traversable:
    return resources.files("envise_tf.networks") / "weights"


if __name__ == "__main__":
    print(f"wrote {pack(Path(sys.argv[1]), sys.argv[2])}")
