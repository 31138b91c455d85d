"""python benchmarks/grid.py GRID: a table of trainings: scenario x kind of student x seed, each trained and evaluated.

GRID is the path of a YAML file, such as benchmarks/grids/objectives.yaml: what all cells have in common, what each kind
changes, and which cells there are, the most telling first. A kind's preset is laid over the common ones. A cell is a
run of train in runs/grid/GRID/; a finished one is never trained again and an unfinished one is resumed, so the command
can be killed and started again at any moment. After each cell the table beside this file, GRID.json, has one row more;
rows of cells that were trained elsewhere stay in it, and `--missing` does not train these again. A cell that fails is
named and left for the next time.
"""

from __future__ import annotations

import argparse
import itertools
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from envise_tf import progress
from envise_tf.errors import UserError, reports_user_errors
from envise_tf.files import whole
from envise_tf.named_files import parsed_yaml, read_text, require_conforming
from envise_tf.run import provenance

KEPT = Path("runs/grid")
TABLES = Path(__file__).parent
CONSOLE = Console(width=160, soft_wrap=True)


def _list_of(kind: str, what: str) -> dict[str, Any]:
    """Returns the schema of a list that is not empty."""
    item = {"type": kind, "description": f"a {what}"}
    return {"type": "array", "items": item, "minItems": 1, "description": f"a list of {what}s"}


SCHEMA = {
    "type": "object",
    "required": ["settings", "kinds", "cells"],
    "additionalProperties": False,
    "description": "settings, kinds and cells",
    "properties": {
        "settings": {"type": "object", "description": "settings of train"},
        "kinds": {
            "type": "object",
            "additionalProperties": {"type": "object", "description": "settings of train"},
            "description": "settings of train by the name of a kind",
        },
        "cells": {
            "type": "array",
            "description": "a list of blocks of cells",
            "items": {
                "type": "object",
                "required": ["scenario", "kind", "seed"],
                "additionalProperties": False,
                "description": "scenario, kind and seed, a list each",
                "properties": {
                    "scenario": _list_of("string", "name"),
                    "kind": _list_of("string", "name"),
                    "seed": _list_of("integer", "seed"),
                },
            },
        },
    },
}


@dataclass(frozen=True)
class Cell:
    """One training: its place in the table, the presets that it starts from, and its settings."""

    scenario: str
    kind: str
    seed: int
    presets: list[str]
    settings: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.scenario}, {self.kind}, seed {self.seed}"

    @property
    def words(self) -> list[str]:
        """The words of train that name its presets."""
        return [word for preset in self.presets for word in ("--preset", preset)]

    def run(self, folder: Path) -> Path:
        """Returns the folder of its run, inside that of the grid."""
        return folder / self.scenario / self.kind.replace(" ", "-") / str(self.seed)


def kind_of(run: str | Path) -> str:
    """Returns what a run is called by its folder; one of a grid, .../KIND/SEED, by its kind."""
    folder = Path(run)
    return folder.parent.name.replace("-", " ") if folder.name.isdigit() else folder.name


@reports_user_errors("start again with the same words: what has been trained is kept")
def main() -> None:
    """Trains what is left of a grid and writes its table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("grid", help="path of a YAML file, such as benchmarks/grids/objectives.yaml")
    parser.add_argument("--missing", action="store_true", help="leave out cells that the table has, trained elsewhere")
    flags = parser.parse_args()
    # As Ctrl-C: the training is ended with its driver, rather than left alone to hold the cell.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    path = Path(flags.grid)
    cells = list(cells_of(loaded(path)))
    folder, table = KEPT / path.stem, TABLES / f"{path.stem}.json"
    known = known_rows(table, cells)
    with progress.bar("cells, time", CONSOLE) as bar:
        task = bar.add_task("", total=len(cells))
        for number, cell in enumerate(cells):
            bar.update(task, description=str(cell), completed=number)
            run = cell.run(folder)
            if not is_finished(run) and not (flags.missing and str(cell) in known):
                reason = trained(cell, run)
                CONSOLE.print(f"{cell}: {reason or line(row(cell, run))}", highlight=False)
                here = {str(each): row(each, each.run(folder)) for each in cells if is_finished(each.run(folder))}
                rows = known | here
                write_table(table, path, [rows[str(each)] for each in cells if str(each) in rows])
        bar.update(task, description="all cells", completed=len(cells))


def loaded(path: Path) -> dict[str, Any]:
    """Returns what a grid's file says.

    Raises:
        UserError: it cannot be read or is no grid.
    """
    grid = parsed_yaml(read_text(path, "grid"), f"grid {path}", "settings, kinds and cells")
    require_conforming(grid, SCHEMA, f"grid {path}")
    unknown = {kind for block in grid["cells"] for kind in block["kind"]} - set(grid["kinds"])
    if unknown:
        raise UserError(
            f"grid {path} has cells of the kinds {sorted(unknown)}: expected some of {sorted(grid['kinds'])}"
        )
    return grid


def cells_of(grid: dict[str, Any]) -> Iterator[Cell]:
    """Yields each cell once, in the order of the file; kinds that are compared follow each other."""
    seen = set()
    for block in grid["cells"]:
        for seed, scenario, kind in itertools.product(block["seed"], block["scenario"], block["kind"]):
            if (place := (scenario, kind, seed)) not in seen:
                seen.add(place)
                asked = [grid["settings"], grid["kinds"][kind], {"scenario": scenario, "seed": seed}]
                named = (settings.get("preset", []) for settings in asked)
                presets = [name for names in named for name in ([names] if isinstance(names, str) else names)]
                settings = {key: value for each in asked for key, value in each.items() if key != "preset"}
                yield Cell(*place, presets, settings)


def known_rows(table: Path, cells: list[Cell]) -> dict[str, dict[str, Any]]:
    """Returns the rows of a table, by the name of their cell, that were made with what the cell is today."""
    rows = json.loads(table.read_text())["rows"] if table.exists() else []
    made = {(row["scenario"], row["kind"], row["seed"]): row for row in rows}
    return {
        str(cell): row
        for cell in cells
        if (row := made.get((cell.scenario, cell.kind, cell.seed)))
        and (row["presets"], row["settings"]) == (cell.presets, cell.settings)
    }


def is_finished(run: Path) -> bool:
    """Returns whether a cell's run has been trained and evaluated."""
    result = run / "result.json"
    return result.exists() and "evaluation" in json.loads(result.read_text())


def trained(cell: Cell, run: Path) -> str | None:
    """Trains and evaluates a cell, from where it was left; returns None, or why it failed."""
    run.parent.mkdir(parents=True, exist_ok=True)
    words = cell.words
    if (run / "settings.yaml").exists():
        words = ["--resume", str(run)]
    else:
        asked = run.with_suffix(".yaml")
        with whole(asked) as path:
            path.write_text(yaml.safe_dump(cell.settings))
        words = [*words, "--config", str(asked), "--out", str(run)]
    with run.with_suffix(".txt").open("a") as output:
        command = [sys.executable, "-m", "envise_tf.train", *words]
        done = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, check=False)
    if done.returncode == 0:
        return None
    return f"failed: {run.with_suffix('.txt').read_text().splitlines()[-1]}"


def row(cell: Cell, run: Path) -> dict[str, Any]:
    """Returns a cell's row of the table: figures of a finished run, shares in 0..1 where nothing else is said."""
    result = json.loads((run / "result.json").read_text())
    evaluation = result["evaluation"]
    kept = (
        "score",
        "agreement",
        "promise",
        "calibration",
        "equal_accuracy",
        "rates",
        "scores",
        "separation",
        "localisation",
    )
    return {
        "scenario": cell.scenario,
        "kind": cell.kind,
        "seed": cell.seed,
        "presets": cell.presets,
        "settings": cell.settings,
        "seconds_a_step": result["seconds"] / result["steps"],
        "seconds": result["seconds"],
        "student": result["architecture"],
        "work": {name: evaluation["work"][name]["flops"] for name in ("student", "teacher")},
        "test_agreement": evaluation["test"]["agreement"],
        **{name: evaluation[name] for name in kept},
        **{name: result[name] for name in ("versions", "git_commit", "machine", "date")},
    }


def line(of: dict[str, Any]) -> str:
    """Returns a row in one line, at 5 % outliers."""
    rate = next(each for each in of["rates"] if each["outlier_rate"] == 0.05)
    equal = of["equal_accuracy"]["0.05"]["adapted"]["gie"] if "adapted" in of["equal_accuracy"]["0.05"] else {}
    return (
        f"agreement {of['test_agreement']:.3f}, student {rate['accuracy_student']:.3f}, "
        f"cascade {rate['accuracy_cascade']:.3f} of {rate['accuracy_teacher']:.3f}, GiE {rate['gie']:.3f}, "
        f"one point below the teacher {equal.get('0.01', float('nan')):.3f}, AUROC energy "
        f"{of['scores']['energy']['auroc']:.3f}, {of['seconds']:.0f} s"
    )


def write_table(table: Path, grid: Path, rows: list[dict[str, Any]]) -> None:
    """Writes the rows of all finished cells, in the order of the grid."""
    command = f"python benchmarks/grid.py {grid}"
    with whole(table) as path:
        path.write_text(json.dumps({"command": command, **provenance(), "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
