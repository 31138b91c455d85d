"""JSON that strangers may have written: read strictly, and checked against the schemas in schema/."""

from __future__ import annotations

import functools
import json
from importlib import resources
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

_LONGEST_REASON = 200


def strict_json(text: str) -> Any:
    """Returns what a text of JSON says; NaN and Infinity, which Python would take, are no numbers of JSON.

    Raises:
        ValueError: it is not JSON.
        RecursionError: it is nested too deeply.
    """
    return json.loads(text, parse_constant=_refuse_constant)


def schema_problem(content: Any, schema: str) -> str | None:
    """Returns how a content of JSON breaks a schema, as "breaks the schema at KEY: REASON"; None if it does not.

    Args:
        content: as `strict_json` returns it.
        schema: name of a file schema/NAME.schema.json.
    """
    broken = best_match(_validator(schema).iter_errors(content))
    if broken is None:
        return None
    place = broken.json_path.removeprefix("$").removeprefix(".") or "its top"
    return f"breaks the schema at {place}: {shortened(broken.message)}"


def shortened(reason: str) -> str:
    """Returns a reason in one line; of a long one, which starts with the value found, both ends."""
    reason = " ".join(reason.split())
    half = _LONGEST_REASON // 2
    return reason if len(reason) <= _LONGEST_REASON else f"{reason[:half]} ... {reason[-half:]}"


@functools.cache
def _validator(schema: str) -> Draft202012Validator:
    file = resources.files("envise_tf.export") / "schema" / f"{schema}.schema.json"
    return Draft202012Validator(json.loads(file.read_text("utf-8")))


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")
