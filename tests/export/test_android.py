"""The Kotlin library: its test vectors are what Python says today, and its own tests pass."""

import base64
import json
import shutil
import subprocess

import numpy as np
import pytest
from android_vectors import VECTORS
from android_vectors.cases import FOLDER

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", VECTORS)
def test_the_stored_vectors_are_what_python_says(name):
    stored = list(leaves(json.loads((FOLDER / name).read_text())))
    made = list(leaves(json.loads(json.dumps(VECTORS[name]()))))
    assert [(place, None if isinstance(value, float) else value) for place, value in made] == [
        (place, None if isinstance(value, float) else value) for place, value in stored
    ]
    # Logarithms may differ in the last bit from processor to processor, and EM may take a step more.
    numbers, others = ([value for _, value in said if isinstance(value, float)] for said in (made, stored))
    np.testing.assert_allclose(numbers, others, rtol=1e-6, atol=2e-5)


def leaves(value, place=""):
    """Yields the values in JSON and where they are; the likelihood ratios in a state as numbers."""
    if isinstance(value, dict | list):
        for key, inside in sorted(value.items()) if isinstance(value, dict) else enumerate(value):
            yield from leaves(inside, f"{place}/{key}")
    elif place.endswith("/ratios") and isinstance(value, str):
        content = base64.b64decode(value)
        yield from ((place, float(ratio)) for ratio in np.frombuffer(content[: len(content) // 4 * 4], "<f4"))
    else:
        yield place, value


@pytest.mark.skipif(not (shutil.which("mvn") and shutil.which("javac")), reason="needs Maven and a JDK")
def test_kotlin_gives_the_same_answers():
    command = ["mvn", "-q", "-B", "verify"]
    done = subprocess.run(command, cwd=FOLDER.parents[4], capture_output=True, text=True, check=False)
    if "Could not transfer artifact" in done.stdout:
        pytest.skip("Maven reaches no repository")
    assert done.returncode == 0, done.stdout[-4000:]
