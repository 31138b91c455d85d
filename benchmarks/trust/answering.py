"""python answering.py BUNDLE ANSWERS STEP: answers of a bundle, one after the other, for `soak.py`, which watches.

It imports what an app imports, and no more. After each STEP answers it says how many and waits for a line.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from envise_tf.export.runtime import Cascade

_BATCH = 100


def answer(bundle: Path, answers: int, step: int) -> None:
    """Answers the bundle's own images and as many of noise, in turns."""
    cascade = Cascade.load(bundle, builtin=True)
    with np.load(bundle / "golden.npz") as golden:
        images = golden["images"]
    images = np.concatenate([images, np.random.default_rng(0).integers(0, 256, images.shape, np.uint8)])
    for first in range(0, answers, _BATCH):
        given = min(first + _BATCH, answers)
        cascade.classify_batch(images[np.arange(first, given) % len(images)])
        if given // step > first // step or given == answers:
            print(given, flush=True)
            sys.stdin.readline()


if __name__ == "__main__":
    answer(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
