"""Bundles of the run on digits, with its raw teacher and with an adapted one, each written once."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

MadeOnce = Callable[[str, Callable[[Path], object]], Path]


@pytest.fixture(scope="session")
def digits_run(digits_run: Path, made_once: MadeOnce) -> Path:
    """The run with a threshold made for the tests: about half of the held-back images are deferred, none is near it."""
    from fixed_run import held_back_images
    from thresholds import widest_gap

    from envise_tf.runs.finished import load_cascade

    def deferring_half(run: Path) -> None:
        shutil.copytree(digits_run, run)
        scores = load_cascade(str(run)).classify_batch(held_back_images(run)).score
        threshold = json.loads((run / "threshold.json").read_text())
        threshold["values"] = [widest_gap(scores)] * len(threshold["values"])
        threshold["coverage"] = float((scores >= threshold["values"][0]).mean())
        (run / "threshold.json").write_text(json.dumps(threshold))

    return made_once("half_deferred_run", deferring_half)


@pytest.fixture(scope="session")
def exported(digits_run: Path, made_once: MadeOnce) -> Path:
    """The folder of a bundle: a binary student of seven digits, its float emulation, a float16 teacher."""
    from envise_tf.export.__main__ import main

    return made_once("bundle", lambda folder: main([str(digits_run), "--out", str(folder)]))


@pytest.fixture(scope="session")
def adapted_run(digits_run: Path, made_once: MadeOnce) -> Path:
    """The run with a teacher adapted so strongly that it answers some of the deferred images otherwise."""
    import numpy as np
    import tensorflow as tf

    from envise_tf.prior.adapted import adapted_teacher
    from envise_tf.prior.calibration import Calibration
    from envise_tf.prior.shift import log_prior_ratio

    source, prior = np.full(10, 0.1), np.array([0.02, 0.5, 0.01, 0.01, 0.2, 0.1, 0.1, 0.0, 0.05, 0.01])
    calibration = Calibration(8.0, (0.5, 0.25, -0.25, 0, 0, 0.125, -0.125, -0.5, 0, 0))
    found = {
        "prior": prior,
        "estimate": prior,
        "lower": prior / 2,
        "upper": np.minimum(2 * prior, 1),
        "source_prior": source,
    }
    written = calibration.to_dict() | {name: shares.tolist() for name, shares in found.items()}

    def adapted(run: Path) -> None:
        shutil.copytree(digits_run, run)
        teacher = tf.keras.models.load_model(run / "teacher.keras", compile=False)
        adapted_teacher(teacher, calibration, log_prior_ratio(prior, source)).save(run / "teacher.keras")
        (run / "prior.json").write_text(
            json.dumps(written | {"outlier_rate": 0.0, "images": 700, "calibration_images": 90})
        )

    return made_once("adapted_run", adapted)


@pytest.fixture(scope="session")
def exported_adapted(adapted_run: Path, made_once: MadeOnce) -> Path:
    """The folder of a bundle like `exported`, with the adapted teacher."""
    from envise_tf.export.__main__ import main

    return made_once("adapted_bundle", lambda folder: main([str(adapted_run), "--out", str(folder)]))
