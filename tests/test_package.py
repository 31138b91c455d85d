"""The wheel and the sdist: built from a copy of the tree, and looked into."""

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from envise_tf import __version__

ROOT = Path(__file__).parents[1]
FOLDERS = {"envise_tf": "envise_tf", "export": "envise_tf/export", "tuning": "envise_tf/tuning"}
"""Where each folder of the tree is installed."""

pytestmark = pytest.mark.slow


def built(source: Path, kind: str) -> Path:
    """Builds a folder's "wheel" or "sdist" by the tool that pyproject.toml names; returns the file."""
    code = f"from setuptools import build_meta; print(build_meta.build_{kind}('dist'))"
    done = subprocess.run([sys.executable, "-c", code], cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return source / "dist" / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def sdist(tmp_path_factory) -> Path:
    source = tmp_path_factory.mktemp("package") / "source"
    source.mkdir()
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__", "target"))
    for name in ("setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff"):
        shutil.copy(ROOT / name, source)
    shutil.copy(ROOT / "constraints.txt", source)
    return built(source, "sdist")


@pytest.fixture(scope="module")
def wheel(sdist, tmp_path_factory) -> zipfile.ZipFile:
    """The wheel that the sdist gives: what is not in the one is not in the other."""
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (source,) = folder.iterdir()
    return zipfile.ZipFile(built(source, "wheel"))


def test_the_wheel_has_every_file_of_the_tree_and_no_other(wheel):
    expected = {
        f"{installed}/{path.relative_to(ROOT / folder).as_posix()}"
        for folder, installed in FOLDERS.items()
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and ROOT / "export/android" not in path.parents
    }
    found = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert found == expected


def test_the_sdist_has_what_installing_from_it_takes(sdist):
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"setup.py", "pyproject.toml", "constraints.txt", "README.md", "LICENSE", "CHANGELOG.md"} <= names
    # The library for Android is built from it, and by nothing that a build has left.
    assert {f"export/android/{path}" for path in ("pom.xml", "envise-core/pom.xml", "envise-android/pom.xml")} <= names
    assert "export/android/envise-android/src/main/kotlin/envise/android/AssetFiles.kt" in names
    assert not [name for name in names if "/target/" in name]


def test_the_metadata_say_what_it_is(wheel):
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    metadata = Parser().parsestr(wheel.read(name).decode())
    assert (metadata["Name"].replace("_", "-"), metadata["Version"]) == ("envise-tf", __version__)
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata.get_payload().startswith("# envise-tf")
    versions = metadata["Requires-Python"].split(",")
    assert sorted(versions) == ["<3.13", ">=3.10"]


def test_every_extra_is_in_the_table_of_the_guide(wheel):
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    extras = Parser().parsestr(wheel.read(name).decode()).get_all("Provides-Extra")
    page = (ROOT / "docs" / "install.md").read_text()
    assert extras == [extra for extra in sorted(extras) if f"| `{extra}` |" in page]


def test_the_command_is_installed(wheel):
    (name,) = (name for name in wheel.namelist() if name.endswith("entry_points.txt"))
    assert "envise = envise_tf.cli:main" in wheel.read(name).decode()


def test_what_was_built_can_be_signed(tmp_path):
    if shutil.which("gpg") is None:
        pytest.skip("gpg is not installed")
    home = tempfile.mkdtemp()  # a short name: the agent's socket lies in it
    dist = tmp_path / "dist"
    dist.mkdir()
    for name in ("a.whl", "a.tar.gz", "a.cdx.json"):
        (dist / name).write_text(name)
    environment = {**os.environ, "GNUPGHOME": home}

    def run(*words):
        return subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    try:
        key = ("--batch", "--passphrase", "", "--quick-generate-key", "somebody@example.org")
        assert run("gpg", *key).returncode == 0
        assert run("make", "-f", str(ROOT / "Makefile"), "sign", "KEY=somebody@example.org").returncode == 0
        for name in ("a.whl", "a.tar.gz", "a.cdx.json"):
            assert run("gpg", "--verify", f"dist/{name}.asc", f"dist/{name}").returncode == 0
        (dist / "a.whl").write_text("another")
        assert run("gpg", "--verify", "dist/a.whl.asc", "dist/a.whl").returncode != 0
        assert "expected make sign KEY=" in run("make", "-f", str(ROOT / "Makefile"), "sign").stderr
    finally:
        run("gpgconf", "--kill", "gpg-agent")
        shutil.rmtree(home)
