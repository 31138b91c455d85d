"""A bundle of the run on digits, written once."""

import json
import shutil
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def digits_run(digits_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run with a threshold made for the tests: about half of the held-back images are deferred, none is near it."""
    from fixed_run import held_back_images
    from thresholds import widest_gap

    from envise_tf.runs.finished import load_cascade

    run = Path(shutil.copytree(digits_run, tmp_path_factory.mktemp("exported") / "run"))
    scores = load_cascade(str(run)).classify_batch(held_back_images(run)).score
    threshold = json.loads((run / "threshold.json").read_text())
    threshold["values"] = [widest_gap(scores)] * len(threshold["values"])
    threshold["coverage"] = float((scores >= threshold["values"][0]).mean())
    (run / "threshold.json").write_text(json.dumps(threshold))
    return run


@pytest.fixture(scope="session")
def exported(digits_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a bundle: a binary student of seven digits, its float emulation, a float16 teacher."""
    from envise_tf.export.__main__ import main

    folder = tmp_path_factory.mktemp("bundles") / "digits"
    main([str(digits_run), "--out", str(folder)])
    return folder
