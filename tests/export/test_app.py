"""A bundle in an Android app: where it lies, and what the app's build is told."""

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from commands import error_line

from envise_tf.errors import UserError
from envise_tf.export import app
from envise_tf.export.__main__ import main
from envise_tf.export.bundle import load_bundle

ANDROID = Path(app.__file__).parent / "android"


@pytest.fixture
def library(tmp_path, monkeypatch) -> Path:
    path = tmp_path / "envise-android-0.1.0.aar"
    path.write_bytes(b"library")
    monkeypatch.setattr(app, "AAR", path)
    return path


def test_the_build_gets_its_lines_and_the_library_where_there_is_one(tmp_path, library):
    module = tmp_path / "app"
    module.mkdir()
    assert app.write_build(module) == [module / "envise.gradle.kts", module / "libs" / "envise-android.aar"]
    assert (module / "envise.gradle.kts").read_text() == app.GRADLE_LINES
    assert (module / "libs" / "envise-android.aar").read_bytes() == b"library"
    library.write_bytes(b"newer")
    app.write_build(module)
    assert (module / "libs" / "envise-android.aar").read_bytes() == b"newer"
    library.unlink()
    assert app.write_build(module) == [module / "envise.gradle.kts"]


def test_the_lines_name_what_the_library_is_built_and_tested_with():
    pom = ElementTree.parse(ANDROID / "pom.xml").getroot()
    properties = {element.tag.partition("}")[2]: element.text for element in [*pom, *pom.iterfind("{*}properties/*")]}
    found = dict(re.findall(r'implementation\("([^":]+:[^":]+):([^"]+)"\)', app.GRADLE_LINES))
    assert found == {
        "com.google.code.gson:gson": properties["gson.version"],
        "org.jetbrains.kotlin:kotlin-stdlib": properties["kotlin.version"],
        "org.tensorflow:tensorflow-lite": properties["tensorflow-lite.version"],
    }
    assert app.AAR.name == f"envise-android-{properties['version']}.aar"


def test_the_sample_app_has_the_lines():
    assert (ANDROID / "sample" / "app" / "build.gradle.kts").read_text().endswith("\n\n" + app.GRADLE_LINES)


def test_a_module_that_is_not_there_is_told(tmp_path):
    with pytest.raises(UserError, match=r"there is no folder .*app: expected that of an app's module"):
        app.assets_folder(tmp_path / "app", "zoo")


def test_the_export_command_lays_an_app_out(digits_run, tmp_path, library, capsys):
    module = tmp_path / "app"
    module.mkdir()
    line = error_line(capsys, main, [str(digits_run), "--android", str(module), "--out", str(tmp_path / "bundle")])
    assert "expected one" in line
    main([str(digits_run), "--android", str(module)])
    assets = module / "src" / "main" / "assets" / digits_run.name
    assert load_bundle(assets).manifest["name"] == digits_run.name
    assert {path.name for path in module.iterdir()} == {"src", "libs", "envise.gradle.kts"}
    printed = capsys.readouterr().out
    assert f'Bundle.load(AssetFiles(context.assets, "{digits_run.name}"))' in printed
    assert "libs/envise-android.aar" in printed
    assert "--overwrite true" in error_line(capsys, main, [str(digits_run), "--android", str(module)])
    library.unlink()
    (module / "libs" / "envise-android.aar").unlink()
    main([str(digits_run), "--android", str(module), "--overwrite", "true"])
    assert "libs/envise-android.aar is missing: build it from the sources" in capsys.readouterr().out
