"""python benchmarks/results.py: writes those pages of docs/ that are made of the JSON in this folder.

The texts stand in pages/*.md.j2; figures come from the files that they name, in the formats that are defined here.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import jinja2
from grid import kind_of

from envise_tf.measures.paired import paired_difference
from envise_tf.networks.shipped import card

FOLDER = Path(__file__).parent
GRIDS = ("students", "pairs", "attention", "tiny_imagenet", "baselines", "objectives")
PAGES = FOLDER / "pages"
DOCS = FOLDER.parent / "docs"


def main() -> None:
    """Writes the pages."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    for name, text in rendered().items():
        (DOCS / name).write_text(text)
        print(f"wrote {DOCS / name}")


def rendered() -> dict[str, str]:
    """Returns the Markdown of each page, by the name of its file."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(PAGES),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # Markdown, of our own files
    )
    formats: dict[str, Callable[..., str]] = {
        "percent": percent,
        "points": points,
        "signed": signed,
        "count": count,
        "minutes": minutes,
        "kind": kind_of,
        "each": each,
    }
    environment.filters.update(formats)
    figures = (read, exists, attacked, struck, fed, card, prior_figures, paired, cells, best_first, pair_at_work)
    figures += (students_of_all_grids, ranked_scores)
    environment.globals.update({function.__name__: function for function in figures})
    pages = environment.list_templates(filter_func=lambda name: name.endswith(".md.j2"))
    templates = {name.removesuffix(".j2"): environment.get_template(name) for name in pages}
    return {name: template.render() for name, template in templates.items()}


def read(name: str) -> Any:
    """Returns what a JSON file beside this one says."""
    return json.loads((FOLDER / f"{name}.json").read_text())


def exists(name: str) -> bool:
    """Returns whether there is such a file yet."""
    return (FOLDER / f"{name}.json").exists()


def struck() -> list[dict[str, Any]]:
    """Returns for each command and fault of faults.json how many cases there were, how many struck, how many bad."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for row in read("faults")["rows"]:
        of = found.setdefault((row["command"], row["fault"]), {"cases": 0, "struck": 0, "problems": 0})
        for name, value in (("cases", 1), ("struck", row["struck"]), ("problems", bool(row["problems"]))):
            of[name] += int(value)
    return [{"command": command, "fault": fault, **of} for (command, fault), of in found.items()]


def fed() -> list[dict[str, Any]]:
    """Returns for each kind of input in bad_input.json how many there were, and what came of them."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in read("bad_input")["rows"]:
        found.setdefault(row["of"], []).append(row)
    return [
        {
            "kind": kind,
            "inputs": sum(row["inputs"] for row in rows),
            **{
                said: sum(n for row in rows for name, n in row["outcomes"].items() if name.endswith(f": {outcome}"))
                for said, outcome in (("answered", "answer"), ("refused", "refused"))
            },
            "problems": sum(len(row["problems"]) for row in rows),
            "crashes": sum(row["crashes"] for row in rows),
            "slowest": max(row["slowest_seconds"] for row in rows),
            "largest": max(row["largest_mebibytes"] for row in rows),
        }
        for kind, rows in found.items()
    ]


def attacked() -> list[Any]:
    """Returns what each run that was attacked came to, in the order of their files."""
    return [read(file.stem) for file in sorted(FOLDER.glob("*-attacks.json"))]


# --- Formats ----------------------------------------------------------------------------------------------------------


def percent(share: float, digits: int = 1) -> str:
    """Returns a share as 12.3 %."""
    return f"{100 * share:.{digits}f} %"


def points(share: float, digits: int = 1) -> str:
    """Returns a share as 12.3, where the unit stands elsewhere."""
    return f"{100 * share:.{digits}f}"


def signed(share: float, digits: int = 1) -> str:
    """Returns a difference of shares as +1.2 or -1.2."""
    return f"{round(100 * share, digits) + 0.0:+.{digits}f}"  # no -0.0


def count(number: float) -> str:
    """Returns a whole number as 1,234."""
    return f"{number:,.0f}"


def minutes(seconds: float) -> str:
    """Returns a time as 12 min."""
    return f"{seconds / 60:.0f} min"


def each(values: Iterable[float], digits: int = 1) -> str:
    """Returns several shares as 12.3, 45.6 %."""
    return ", ".join(points(value, digits) for value in values) + " %"


# --- Figures of several rows ------------------------------------------------------------------------------------------


def prior_figures(teacher: str, kind: str) -> dict[str, float]:
    """Returns what adapting to one kind of prior does to a teacher, over all scenarios and streams.

    Args:
        teacher: as prior.json names it.
        kind: "even" or "zipf".

    Returns:
        Means of the accuracies `raw` and `adapted`, mean and least `gain`, mean, least and largest `gap` of the own
        estimate over the accuracy, and how many classes were `missed` and `false`, of the `frequent` ones.
    """
    entry = next(found for found in read("prior") if found["teacher"] == teacher)
    rows = [row for row in entry["rows"] if row["prior"] == kind]
    gains = [row["adapted"] - row["raw"] for row in rows]
    gaps = [row["own_estimate"] - row["adapted"] for row in rows]
    return {
        **{name: statistics.mean(row[name] for row in rows) for name in ("raw", "adapted")},
        "gain": statistics.mean(gains),
        "least_gain": min(gains),
        "gap": statistics.mean(gaps),
        "least_gap": min(gaps),
        "largest_gap": max(gaps),
        **{name: sum(row[name] for row in rows) for name in ("missed", "false", "frequent")},
        "streams": len(rows),
    }


def best_first(scores: dict[str, Any]) -> list[tuple[str, Any]]:
    """Returns scores with their figures, by the GiE of their own threshold at 5 % outliers."""
    return sorted(scores.items(), key=lambda score: -score[1]["gie"]["0.05"])


def cells(grid: str, **wanted: Any) -> list[dict[str, Any]]:
    """Returns the finished cells of a grid that have these values, such as scenario="cifar100-zoo"."""
    return [row for row in read(grid)["rows"] if all(row[key] == value for key, value in wanted.items())]


def students_of_all_grids() -> list[dict[str, Any]]:
    """Returns the rows of all grids, each student once: some stand in two of them."""
    rows = [row for grid in GRIDS if exists(grid) for row in read(grid)["rows"]]
    return list({json.dumps(row["scores"]): row for row in rows}.values())


def ranked_scores(base: str) -> list[dict[str, Any]]:
    """Returns what each score saves one point below the cascade's teacher, at 5 % outliers, over all students.

    Args:
        base: the score that each one is paired with, student by student.

    Returns:
        Of each score its `name`, the number of `students` that have it, its mean `gie`, and the mean `difference` to
        the base with its `interval`, by Student's paired t at 95 %; the one that saves most first.
    """
    gies = [
        {name: of["gie_at_equal_accuracy"]["0.05"] for name, of in row["scores"].items()}
        for row in students_of_all_grids()
    ]
    ranked = []
    for name in {name for of in gies for name in of}:
        ours, theirs = zip(*[(of[name], of[base]) for of in gies if name in of], strict=True)
        found = {"name": name, "students": len(ours), "gie": statistics.mean(ours)}
        ranked.append(found | paired_difference(ours, theirs))
    return sorted(ranked, key=lambda of: -of["difference"])


def pair_at_work(pair: str, flops: float) -> float:
    """Returns how often a pair is right in the first scenario of frontier.json, with so many FLOPs an image."""
    row = next(row for row in read("frontier")["rows"] if row["pair"] == pair)
    return next(point["accuracy"] for point in row["cascade"] if point["flops"] == flops)


def at(row: Any, place: str) -> Any:
    """Returns the value at keys and indices such as "rates/1/gie"."""
    for key in place.split("/"):
        row = row[int(key)] if isinstance(row, list) else row[key]
    return row


def paired(grid: str, kind: str, base: str, figure: str) -> dict[str, Any] | None:
    """Returns by how much a kind of cell is ahead of another, cell by cell of the same scenario and seed.

    Args:
        grid: name of the table.
        kind: the one.
        base: the other.
        figure: of a cell's row, by its keys: "scores/energy/auroc".

    Returns:
        The `pairs`, the mean `difference` and, of two pairs or more, its `interval` by Student's paired t at 95 %;
        None where no pair is finished.
    """
    figures = {(row["kind"], row["scenario"], row["seed"]): at(row, figure) for row in read(grid)["rows"]}
    both = [
        (value, figures[base, scenario, seed])
        for (name, scenario, seed), value in figures.items()
        if name == kind and (base, scenario, seed) in figures
    ]
    if not both:
        return None
    found = paired_difference(*zip(*both, strict=True))
    return {"pairs": len(both), "difference": found["difference"], "interval": found.get("interval")}


if __name__ == "__main__":
    main()
