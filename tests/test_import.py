"""What an import of the package loads, which Keras it takes, and what loads after it: each in a process of its own."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "TF_USE_LEGACY_KERAS"}
LOAD = """
for options in ({}, {"compile": False}):
    print(type(tf.keras.models.load_model(sys.argv[1], **options)).__name__)
"""


def python(code: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=ENVIRONMENT | environment)


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> str:
    from envise_tf.networks.students import residual_student

    path = tmp_path_factory.mktemp("student") / "student.keras"
    residual_student(8, 3, (32,), (1,)).save(path)
    return str(path)


def test_the_package_imports_neither_tensorflow_nor_larq():
    done = python("import sys, envise_tf; print([m for m in ('tensorflow', 'larq', 'keras') if m in sys.modules])")
    assert done.stdout.strip() == "[]"


def test_tensorflow_with_keras_3_imported_first_is_one_clear_import_error():
    """As it is imported, once its Keras has been used, and with a variable that comes too late."""
    code = (
        "import os, tensorflow as tf\n"
        "for prepare in (lambda: None, lambda: tf.keras.layers, lambda: os.environ.update(TF_USE_LEGACY_KERAS='1')):\n"
        "    os.environ.pop('TF_USE_LEGACY_KERAS', None)  # which the import before has set\n"
        "    prepare()\n"
        "    try:\n"
        "        import envise_tf\n"
        "    except ImportError as error:\n"
        "        print(error)\n"
        "import envise_tf.train.pipeline"
    )
    done = python(code)
    lines = done.stdout.splitlines()
    assert len(lines) == 3
    assert all(line.startswith("envise_tf needs Keras 2, but TensorFlow was imported with") for line in lines)
    assert done.returncode == 1
    assert "ImportError: envise_tf needs Keras 2, but TensorFlow was imported with" in done.stderr.splitlines()[-1]


def test_keras_3_asked_for_is_one_clear_import_error():
    done = python("import envise_tf", TF_USE_LEGACY_KERAS="0")
    assert done.returncode == 1
    assert "ImportError: envise_tf needs Keras 2, but TF_USE_LEGACY_KERAS is '0'" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    "imports",
    [
        "import envise_tf\nimport tensorflow as tf",
        "import envise_tf\nimport tf_keras\nimport tensorflow as tf",
        "import envise_tf, keras_tuner\nimport tensorflow as tf",
        "import os; os.environ['TF_USE_LEGACY_KERAS'] = '1'\nimport tensorflow as tf\nimport envise_tf",
    ],
)
def test_a_student_loads_with_the_package_alone(imports, student):
    done = python(f"import sys\n{imports}\n{LOAD}", student)
    assert done.stdout.split() == ["Functional", "Functional"], done.stderr


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


def test_keras_draws_the_same_seeds_as_ever_and_between_whole_numbers():
    """On Python 3.12 its own call raises; before, it warns."""
    code = (
        "import random, warnings, envise_tf, tensorflow as tf\n"
        "from tf_keras.src import backend\n"
        "from tf_keras.src.utils import tf_utils\n"
        "warnings.simplefilter('error')\n"
        "tf.keras.utils.set_random_seed(3)\n"
        "drawn = [tf_utils.get_random_seed(), backend.RandomGenerator()._create_seed(None)]\n"
        "generator = random.Random(3)\n"
        "print(drawn == [generator.randint(1, 10**9) for _ in range(2)], tf_utils.get_random_seed() > 0)\n"
    )
    done = python(code)
    assert done.stdout.strip() == "True True", done.stderr
