"""envise-tf: turn a trained Keras image classifier into a cheap cascade for phones.

Importing the package is light: it imports neither TensorFlow nor Larq, because the mobile runtime lives
under the same name. It only asks TensorFlow, should it be imported later, for Keras 2, which Larq needs.
"""

import os

from envise_tf import keras2

keras2.choose()
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

__version__ = "0.1.0"
