"""Every test runs with Keras 2, whichever module a test file imports first."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import envise_tf  # noqa: F401


@pytest.fixture(scope="session")
def tfds_dir() -> str:
    """The folder of prepared data sets; skips where CIFAR-100 is not among them."""
    folder = os.environ.get("TFDS_DATA_DIR")
    if folder is None or not (Path(folder) / "cifar100" / "3.0.2").is_dir():
        pytest.skip("CIFAR-100 is not prepared: set TFDS_DATA_DIR to the folder that holds it")
    return folder


@pytest.fixture(autouse=True)
def default_precision() -> Iterator[None]:
    """Takes back the precision that a command under test has set for the whole process."""
    yield
    if "tensorflow" in sys.modules:
        sys.modules["tensorflow"].keras.mixed_precision.set_global_policy(None)


@pytest.fixture(scope="session")
def digits_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student of seven digits, trained for half a minute and evaluated with a promise that it can keep."""
    from envise_tf import evaluate, train

    run = tmp_path_factory.mktemp("digits") / "run"
    flags = ["--windows", "16", "--tensorboard", "false", "--evaluate", "false"]
    train.main(["--preset", "digits", *flags, "--out", str(run)])
    evaluate.main([str(run), "--epsilon", "0.15", "--score", "msp"])
    return run
