"""What the network in a file of Keras 3 answers, asked in a process in which Keras 3 runs.

This process has Keras 2, and no process can have both.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from envise_tf.networks.keras3.exported import exported_outputs, is_exported

_ANSWER = """
import sys
import keras
import numpy as np
if int(keras.__version__.split(".")[0]) < 3:
    sys.exit(f"Keras {keras.__version__} is installed")
path, folder = sys.argv[1:]
images = np.load(f"{folder}/images.npy")
try:
    network = keras.saving.load_model(path, compile=False)
except Exception as error:
    sys.exit(f"Keras {keras.__version__} cannot load it: " + " ".join(str(error).split())[:160])
batches = [images[first : first + 32] for first in range(0, len(images), 32)]
outputs = [keras.ops.cast(network(batch, training=False), "float32") for batch in batches]
np.save(f"{folder}/outputs.npy", np.concatenate([keras.ops.convert_to_numpy(each) for each in outputs]))
"""


class NoAnswerError(Exception):
    """There is no Keras 3 beside Keras 2, or it cannot load the file; why, in one line."""


def original_outputs(path: Path, images: np.ndarray) -> np.ndarray:
    """Returns the outputs of a network as Keras 3 loads it, float32 (n, classes), in inference mode.

    Nothing is run that the file holds as code.

    Args:
        path: a .keras or .h5 file of Keras 3, or a folder that `model.export` has written, which needs no Keras.
        images: (n, height, width, 3), in the range and dtype that the network takes.

    Raises:
        NoAnswerError: Keras 3 is missing, or cannot load the file.
    """
    environment = {name: value for name, value in os.environ.items() if name != "TF_USE_LEGACY_KERAS"}
    environment |= {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
    if is_exported(path):
        return exported_outputs(path, images)
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "images.npy", images)
        words = [sys.executable, "-c", _ANSWER, str(path.absolute()), folder]
        done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise NoAnswerError((done.stderr.strip().splitlines() or ["Keras 3 gave no answer"])[-1])
        return np.load(Path(folder) / "outputs.npy")
