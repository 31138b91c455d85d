import os
import subprocess
import sys

import pytest

ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "TF_USE_LEGACY_KERAS"}


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=ENVIRONMENT)


def test_the_package_imports_neither_tensorflow_nor_larq():
    done = python("import sys, envise_tf; print([m for m in ('tensorflow', 'larq', 'keras') if m in sys.modules])")
    assert done.stdout.strip() == "[]"


def test_keras_3_imported_first_is_one_clear_import_error():
    done = python("import tensorflow as tf; tf.keras.layers; import envise_tf.networks")
    assert done.returncode == 1
    assert "ImportError: envise_tf needs Keras 2" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("command", ["train", "teach", "cli"])
def test_help_imports_nothing_heavy(command):
    code = (
        "import sys, runpy\n"
        f"sys.argv = ['{command}', '--help']\n"
        "try:\n"
        f"    runpy.run_module('envise_tf.{command}', run_name='__main__')\n"
        "except SystemExit:\n    pass\n"
        "assert 'tensorflow' not in sys.modules and 'numpy' not in sys.modules, 'heavy'\n"
    )
    done = python(code)
    assert done.returncode == 0, done.stderr
