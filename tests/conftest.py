"""Every test runs with Keras 2, whichever module a test file imports first; reports are opened in headless Chromium."""

import fcntl
import importlib.metadata
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

import envise_tf  # noqa: F401

# Two workers share two cores: threads of TensorFlow's own would only wait for each other.
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


SLOW_FIXTURES = {
    "adapted_run",
    "browser",
    "digits_run",
    "exported",
    "exported_adapted",
    "keras3_files",
    "keras3_mobilenet",
    "tfds_dir",
    "unlabelled_run",
}

LONGEST = (
    "test_readme.py",
    "export/test_android.py",
    "tuning/test_pipeline.py",
    "distillation/test_replicas.py",
    "examples/test_quickstart.py",
    "export/test_beam.py",
)
"""The files that take longest, the longest first."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks what stands on a slow fixture as slow, and puts slow files first, so that no worker ends with one alone."""
    for item in items:
        if isinstance(item, pytest.Function) and SLOW_FIXTURES & set(item.fixturenames):
            item.add_marker(pytest.mark.slow)
    slow_files = {item.path for item in items if item.get_closest_marker("slow")}
    first = {Path(__file__).parent / file: place for place, file in enumerate(LONGEST)}
    items.sort(key=lambda item: first.get(item.path, len(first) + (item.path not in slow_files)))


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
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], object]], Path]:
    """Returns a path that the first worker to ask for its name makes, and all workers read."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent

    def made(name: str, make: Callable[[Path], object]) -> Path:
        with (folder / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (folder / name).exists():
                make(folder / f"{name}.unfinished")
                (folder / f"{name}.unfinished").rename(folder / name)
        return folder / name

    return made


@pytest.fixture(scope="session")
def digits_run(made_once: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """A finished run of seven digits, its student a fixed one, evaluated with a promise that it can keep."""
    from fixed_run import fixed_run

    from envise_tf.evaluate import __main__ as evaluate

    def evaluated(run: Path) -> None:
        evaluate.main([str(fixed_run(run)), "--epsilon", "0.15", "--score", "msp"])

    return made_once("digits_run", evaluated)


@pytest.fixture(scope="session")
def keras3_files(made_once: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """A folder of networks that Keras 3 wrote, and what it answers; skips where there is no Keras 3."""
    return made_once("keras3_files", lambda folder: run_with_keras3("keras3_networks.py", folder))


@pytest.fixture(scope="session")
def keras3_mobilenet(made_once: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """A folder with what a new user of Keras 3 comes with: my.keras, names.txt and photos/."""
    return made_once("keras3_mobilenet", lambda folder: run_with_keras3("keras3_mobilenet.py", folder))


def run_with_keras3(script: str, folder: Path) -> None:
    """Runs a script of the fixtures that fills a folder, in a process with Keras 3; skips where there is none."""
    if int(importlib.metadata.version("keras").partition(".")[0]) < 3:
        pytest.skip("Keras 3 is not installed")
    environment = {name: value for name, value in os.environ.items() if name != "TF_USE_LEGACY_KERAS"}
    environment["KERAS_BACKEND"] = "tensorflow"
    words = [sys.executable, str(Path(__file__).parent / "fixtures" / script), str(folder)]
    subprocess.run(words, env=environment, check=True, capture_output=True)


# --- Reports as a reader opens them -----------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def browser() -> Iterator[webdriver.Chrome]:
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("no Chromium: install chromium and chromium-driver to see reports tested as a reader sees them")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, Service(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def opened_at(browser) -> Callable[[Path, int], webdriver.Chrome]:
    """Opens a page at a width in pixels."""

    def opened(path: Path, width: int) -> webdriver.Chrome:
        browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 500},
        )
        browser.get(path.as_uri())
        return browser

    return opened


@pytest.fixture
def assert_page_is_whole() -> Callable[[webdriver.Chrome, int], None]:
    """Asserts that an open page has no message, fits its width, and shows at least so many named images."""

    def check(page: webdriver.Chrome, least: int) -> None:
        assert page.get_log("browser") == []
        width = page.execute_script("return document.documentElement.clientWidth")
        assert page.execute_script("return document.documentElement.scrollWidth") <= width
        images = page.execute_script(
            "return [...document.images].map(image => [image.complete, image.naturalWidth, image.alt])"
        )
        assert len(images) >= least
        assert all(complete and width > 0 and alt for complete, width, alt in images)

    return check
