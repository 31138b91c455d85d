"""Keras 2 for the whole process: asked for before TensorFlow decides, told of saved networks' layers, left as it is.

Larq builds Keras 2 layers, while TensorFlow 2.16 and later take Keras 3 unless they are asked not to. Neither is
imported here: the mobile runtime lives in this package too.
"""

from __future__ import annotations

import importlib.util
import os
import random
import sys
from pathlib import Path
from types import ModuleType

import wrapt

_ASKED = ("1", "true", "True")
"""The values of TF_USE_LEGACY_KERAS for which TensorFlow takes Keras 2."""

_NOT_FOR_AUTOGRAPH = ("tf_keras", "larq", "envise_tf.images", "envise_tf.networks", "envise_tf.prior")
"""Modules whose functions branch and loop on what is known without running a graph: AutoGraph would change nothing."""


def choose() -> None:
    """Asks TensorFlow for Keras 2, and lets Keras load every saved student and teacher, whenever it is imported.

    Raises:
        ImportError: TensorFlow has been imported with Keras 3, or the environment asks for Keras 3.
    """
    asked = os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
    if asked not in _ASKED:
        raise ImportError(f"envise_tf needs Keras 2, but TF_USE_LEGACY_KERAS is {asked!r}: set it to 1 or unset it")
    if "tensorflow" in sys.modules and not _is_keras_2():
        raise ImportError(
            "envise_tf needs Keras 2, but TensorFlow was imported with Keras 3: import envise_tf before tensorflow, "
            "or set TF_USE_LEGACY_KERAS=1"
        )
    wrapt.register_post_import_hook(_register_layers, "tf_keras")
    wrapt.register_post_import_hook(_keep_autograph_out, "tf_keras")
    for module in ("tf_keras.src.backend", "tf_keras.src.utils.tf_utils"):
        wrapt.register_post_import_hook(_draw_whole_numbers, module)


def _is_keras_2() -> bool:
    """Returns whether the imported TensorFlow has tf_keras as `tensorflow.keras`; it chose that on its own import."""
    spec = importlib.util.find_spec("tensorflow.keras")
    return spec is not None and "tf_keras" in Path(str(spec.origin)).parts


def _register_layers(_: ModuleType) -> None:
    """Registers with Keras all that a saved network is made of beyond Keras' own layers.

    Keras imports the module of a network's class by the name that the file gives, but not those of its layers.
    """
    importlib.import_module("larq")
    importlib.import_module("envise_tf.networks.activations")
    importlib.import_module("envise_tf.networks.normalisation")
    importlib.import_module("envise_tf.prior.adapted")


def _keep_autograph_out(_: ModuleType) -> None:
    """Has AutoGraph leave the functions of Keras, Larq, images and networks as they are.

    Each would be parsed and written anew, and run more slowly each time that it is traced, which takes up to ten
    seconds in every process. AutoGraph leaves out `keras` by itself, but was never told of `tf_keras`. Users' layers
    and objectives are converted as ever.
    """
    from tensorflow.python.autograph.core import config

    left_out = (config.DoNotConvert(module) for module in _NOT_FOR_AUTOGRAPH)
    config.CONVERSION_RULES = (*left_out, *config.CONVERSION_RULES)


def _draw_whole_numbers(module: ModuleType) -> None:
    """Has a module of Keras 2 draw its seeds between whole numbers, the same ones as before.

    It draws them up to 1e9, a float, which Python has deprecated and from 3.12 on refuses.
    """
    whole = ModuleType("random")
    vars(whole).update(vars(random), Random=_Random, randint=lambda least, most: random.randint(int(least), int(most)))
    vars(module)["random"] = whole


class _Random(random.Random):
    def randint(self, a: float, b: float) -> int:
        return super().randint(int(a), int(b))
