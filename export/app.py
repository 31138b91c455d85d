"""A bundle in an Android app: where it goes in the app's module, and the lines that its build needs.

    app/src/main/assets/zoo/...   the bundle; what is in the assets is protected by the app's signature
    app/envise.gradle.kts         lines to copy into build.gradle.kts
    app/libs/envise-android.aar   the library, where this checkout has built it (`make android`)

The versions are those that export/android is compiled and tested with.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from envise_tf.errors import UserError
from envise_tf.files import whole

AAR = Path(__file__).parent / "android" / "envise-android" / "target" / "envise-android-0.1.0.aar"
"""What `make android` builds; an installed package has none."""

GRADLE_LINES = """\
android {
    defaultConfig { ndk { abiFilters += "arm64-v8a" } }    // "x86_64" too, for an emulator
    androidResources { noCompress += "tflite" }            // or the networks cannot be mapped into memory
}

dependencies {
    implementation(files("libs/envise-android.aar"))
    implementation("com.google.code.gson:gson:2.13.2")
    implementation("org.jetbrains.kotlin:kotlin-stdlib:2.2.21")
    // One of the two, never both: they have the same classes.
    implementation("org.tensorflow:tensorflow-lite:2.16.1")
    // implementation(files("libs/lce-lite.aar"))          // Larq Compute Engine's, which runs student.tflite
}
"""
"""For a module's build.gradle.kts, in Gradle's Kotlin."""


def assets_folder(module: str | Path, name: str) -> Path:
    """Returns where the bundle of a name goes in an app's module, such as app/src/main/assets/zoo.

    Raises:
        UserError: there is no such module.
    """
    module = Path(module)
    if not module.is_dir():
        raise UserError(
            f"there is no folder {module}: expected that of an app's module, such as app/ in Android Studio"
        )
    return module / "src" / "main" / "assets" / name


def write_build(module: str | Path) -> list[Path]:
    """Writes beside an app's code what its build needs, anew if it is there; returns the files."""
    module = Path(module)
    lines = module / "envise.gradle.kts"
    with whole(lines) as unfinished:
        unfinished.write_text(GRADLE_LINES)
    if not AAR.exists():
        return [lines]
    library = module / "libs" / "envise-android.aar"
    library.parent.mkdir(exist_ok=True)
    with whole(library) as unfinished:
        shutil.copyfile(AAR, unfinished)
    return [lines, library]
