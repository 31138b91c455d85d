"""Every test runs with Keras 2, whichever module a test file imports first."""

import envise_tf  # noqa: F401
