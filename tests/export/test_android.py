"""The Kotlin library: its test vectors are what Python says today, and its own tests pass."""

import base64
import contextlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import android_bundle
import numpy as np
import pytest
import soak
from android_vectors import VECTORS
from android_vectors.cases import FOLDER
from android_vectors.pictures import photographs
from PIL import Image
from shipped_bundle import cifar_bundle, int8_bundle
from sklearn.datasets import load_sample_images

from envise_tf.export.benchmark import OUTLIER_RATES, BenchmarkSettings, merged
from envise_tf.export.bundle import load_bundle
from envise_tf.export.golden import golden_arrays
from envise_tf.export.runtime import Cascade

pytestmark = pytest.mark.slow

PROJECT = FOLDER.parents[4]
ANDROID = PROJECT / "envise-android"
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


IS_REQUIRED = os.environ.get("ENVISE_ANDROID") == "required"
"""Whether Kotlin's tests fail instead of being skipped, where they cannot run."""


def missing_tool() -> str:
    """Returns what this machine lacks to build the library, in words; empty where it lacks nothing."""
    javac = shutil.which("javac")
    if javac is None or not shutil.which("mvn"):
        return "needs Maven and a JDK from 17 on"
    about = (Path(javac).resolve().parents[1] / "release").read_text()
    (version,) = re.findall(r'JAVA_VERSION="(\d+)', about)
    return "" if int(version) >= 17 else f"needs a JDK from 17 on, not {version}"


MISSING = missing_tool()
assert not (IS_REQUIRED and MISSING), MISSING


@pytest.mark.skipif(bool(MISSING), reason=MISSING)
def test_kotlin_gives_the_same_answers(bundles, whole_photographs, tmp_path):
    command = ["mvn", "-q", "-B", "verify", f"-Denvise.photographs={whole_photographs}"]
    if IS_LINUX:
        command.append(f"-Denvise.bundles={os.pathsep.join(map(str, bundles))}")
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    if done.returncode and "Could not transfer artifact" in done.stdout and not IS_REQUIRED:
        pytest.skip("Maven reaches no repository")
    assert done.returncode == 0, done.stdout[-4000:]
    assert number_of_tests("PicturesTest")
    assert number_of_tests("PicturesTest", "envise-android")
    if IS_LINUX:
        assert number_of_tests("RealInferenceTest") == REAL_TESTS * len(bundles)
        for name in ("InterpreterLoaderTest", "AssetFilesTest", "SnippetsTest", "SampleTest"):
            assert number_of_tests(name, "envise-android")
        check_the_phones_figures(tmp_path / "benchmark.json")
        soaked = soak.soaked_runtime(soak.in_kotlin(), 2000, bundles[0])
        assert soaked["samples"][-1]["images"] == 2000, soaked["problems"]
        assert soaked["files"][0] == soaked["files"][1]


def check_the_phones_figures(report: Path) -> None:
    """What the benchmark in Kotlin has just printed is put into a report."""
    report.write_text(json.dumps({"bundle": "digits"}))
    figures = merged(BenchmarkSettings(str(android_bundle.FOLDER), str(report)), str(ANDROID / "target" / "phone.json"))
    assert figures["device"]["library"] == "TensorFlow Lite"
    found = [(row["threads"], row["what"], row["outlier_rate"]) for row in figures["latency"]]
    student, rates = "student_builtin", [None, *OUTLIER_RATES]
    assert found == [
        (threads, *row) for threads in (1, 2) for row in [("teacher", None), *((student, rate) for rate in rates)]
    ]


def test_the_stored_bundle_is_answered_as_its_golden_file_says():
    bundle = load_bundle(android_bundle.FOLDER)
    golden = golden_arrays(bundle)
    answers = Cascade(bundle, builtin=True).classify_batch(golden["images"])
    np.testing.assert_array_equal(answers.label, golden["builtin_label"])
    np.testing.assert_array_equal(answers.by_student, golden["builtin_by_student"])


def number_of_tests(name: str, module: str = "envise-core") -> int:
    """Returns how many tests a class in Kotlin has, of which none may have been skipped."""
    package = "envise" if module == "envise-core" else "envise.android"
    report = ElementTree.parse(PROJECT / module / "target/surefire-reports" / f"TEST-{package}.{name}.xml").getroot()
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
