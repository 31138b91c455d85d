"""The settings of convert."""

from __future__ import annotations

from dataclasses import dataclass

from envise_tf.settings.places import FilePath
from envise_tf.settings.ranges import Checked


@dataclass(frozen=True)
class ConvertSettings(Checked):
    """Network.

    Args:
        model: .keras or .h5 file that Keras 3 has saved, or a folder that model.export has written.
        images: folder of photographs on which both networks are compared too, beside random images.
        out: .keras file of Keras 2 to write; it must not exist yet; default: MODEL-keras2.keras.
    """

    model: FilePath
    images: FilePath | None = None
    out: FilePath | None = None
