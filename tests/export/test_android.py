"""The Kotlin library: its test vectors are what Python says today, and its own tests pass."""

import json
import shutil
import subprocess

import numpy as np
import pytest
from android_vectors import FOLDER, vectors

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", ["pictures.json", "decisions.json", "bundles.json"])
def test_the_stored_vectors_are_what_python_says(name):
    stored, made = json.loads((FOLDER / name).read_text()), vectors()[name]
    if name == "decisions.json":
        # Logarithms may differ in the last bit from processor to processor.
        pairs = [(one.pop("adapted", []), other.pop("adapted", [])) for one, other in zip(stored, made, strict=True)]
        for one, other in pairs:
            np.testing.assert_allclose(np.array(one, float), np.array(other, float), rtol=1e-6)
    assert stored == made


@pytest.mark.skipif(not (shutil.which("mvn") and shutil.which("javac")), reason="needs Maven and a JDK")
def test_kotlin_gives_the_same_answers():
    command = ["mvn", "-q", "-B", "verify"]
    done = subprocess.run(command, cwd=FOLDER.parents[4], capture_output=True, text=True, check=False)
    if "Could not transfer artifact" in done.stdout:
        pytest.skip("Maven reaches no repository")
    assert done.returncode == 0, done.stdout[-4000:]
