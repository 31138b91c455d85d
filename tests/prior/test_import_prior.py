"""Where only NumPy is needed, TensorFlow stays out."""

import subprocess
import sys

import pytest

MODULES = [
    "prior.shift",
    "prior.estimation",
    "prior.black_box",
    "prior.calibration",
    "prior.frequent",
    "deferral.bounds",
    "deferral.regret",
]


@pytest.mark.parametrize("module", MODULES)
def test_importing_it_loads_no_tensorflow(module):
    code = f"import sys, envise_tf.{module}; sys.exit('tensorflow' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
