"""What the user has allowed, in this process and in those that it starts."""

from __future__ import annotations

import os

_CODE = "ENVISE_ALLOW_CODE"


def allow_code() -> None:
    """Allows code inside of a network's file to be run, see `networks.code`."""
    os.environ[_CODE] = "1"


def code_is_allowed() -> bool:
    """Returns whether it is allowed: by `allow_code`, or by ENVISE_ALLOW_CODE=1 in the environment."""
    return os.environ.get(_CODE) == "1"
