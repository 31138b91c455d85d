"""Rows of a benchmark as a JSON file that grows: what has passed is not examined again, what failed is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from envise_tf.files import whole
from envise_tf.run import provenance

Row = dict[str, Any]


class Ledger:
    """The rows in a JSON file, by their names.

    Args:
        path: of the file, which need not exist yet.
        command: that makes it.
    """

    def __init__(self, path: Path, command: str) -> None:
        self._path, self._command = path, command
        self.rows: dict[str, Row] = {}
        if path.exists():
            self.rows = {row["name"]: row for row in json.loads(path.read_text())["rows"]}

    def has_passed(self, name: str) -> bool:
        """Returns whether a row is there, and without problems."""
        return name in self.rows and not self.rows[name]["problems"]

    def add(self, name: str, row: Row) -> None:
        """Writes a row; its "problems" are a list of lines, empty where all went well."""
        self.rows[name] = {"name": name, **row}
        with whole(self._path) as path:
            content = {"command": self._command, **provenance(), "rows": list(self.rows.values())}
            path.write_text(json.dumps(content, indent=1) + "\n")
