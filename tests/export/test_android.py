"""The Kotlin library: its test vectors are what Python says today, and its own tests pass."""

import base64
import contextlib
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from android_vectors import VECTORS
from android_vectors.cases import FOLDER
from android_vectors.pictures import photographs
from PIL import Image
from shipped_bundle import cifar_bundle, int8_bundle
from sklearn.datasets import load_sample_images

pytestmark = pytest.mark.slow

PROJECT = FOLDER.parents[4]
REAL_TESTS = 6
"""Tests in Kotlin that run the files of a bundle."""


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


IS_LINUX = sys.platform == "linux" and platform.machine() == "x86_64"
"""Where the tests in Kotlin have TensorFlow Lite."""


@pytest.mark.skipif(not (shutil.which("mvn") and shutil.which("javac")), reason="needs Maven and a JDK")
def test_kotlin_gives_the_same_answers(bundles, whole_photographs):
    command = ["mvn", "-q", "-B", "verify", f"-Denvise.photographs={whole_photographs}"]
    if IS_LINUX:
        command.append(f"-Denvise.bundles={os.pathsep.join(map(str, bundles))}")
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    if done.returncode and "Could not transfer artifact" in done.stdout:
        pytest.skip("Maven reaches no repository")
    assert done.returncode == 0, done.stdout[-4000:]
    assert number_of_tests("PicturesTest")
    if IS_LINUX:
        assert number_of_tests("RealInferenceTest") == REAL_TESTS * len(bundles)


def number_of_tests(name: str) -> int:
    """Returns how many tests a class in Kotlin has, of which none may have been skipped."""
    report = ElementTree.parse(PROJECT / f"envise-core/target/surefire-reports/TEST-envise.{name}.xml").getroot()
    assert report.attrib["skipped"] == "0"
    return int(report.attrib["tests"])


@pytest.fixture
def bundles(exported, exported_adapted, tmp_path, request) -> list[Path]:
    """Bundles whose files Kotlin runs: of the export command, one in int8, and one of CIFAR-100 where it is."""
    made = [exported, exported_adapted, int8_bundle(tmp_path / "int8")]
    with contextlib.suppress(pytest.skip.Exception):
        made.append(cifar_bundle(tmp_path / "cifar100", request.getfixturevalue("tfds_dir")))
    return made


@pytest.fixture
def whole_photographs(tmp_path) -> Path:
    """A folder of two photographs as they come, and what Python makes of them."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    for index, image in enumerate(load_sample_images().images):
        Image.fromarray(image[: len(image) // 2 * 2]).save(folder / f"{index}.png")
    (folder / "photographs.json").write_text(json.dumps(photographs(folder)))
    return folder
