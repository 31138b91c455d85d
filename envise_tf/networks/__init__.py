"""Teachers, students, and the cut between trunk and head.

Larq builds Keras 2 layers, so TensorFlow must have been imported with Keras 2; this is where it is checked.
"""

import tensorflow as tf

_VERSION = getattr(tf.keras, "__version__", "2")  # tf_keras does not show its version here, Keras 3 does

if not _VERSION.startswith("2"):
    raise ImportError(
        f"envise_tf needs Keras 2, but tf.keras is Keras {_VERSION}: import envise_tf before tensorflow, "
        "or set TF_USE_LEGACY_KERAS=1"
    )
