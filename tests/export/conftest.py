"""A bundle of the run on digits, written once."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def exported(digits_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a bundle: a binary student of seven digits, its float emulation, a float16 teacher."""
    from envise_tf.export.__main__ import main

    folder = tmp_path_factory.mktemp("bundles") / "digits"
    main([str(digits_run), "--out", str(folder)])
    return folder
