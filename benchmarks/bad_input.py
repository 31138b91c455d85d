"""python benchmarks/bad_input.py: damaged or hostile images, bundles, settings and teachers, by the thousand.

Each input is made of its number alone, so that what fails can be made again. It is read by the code that the commands
read it with, in a process of its own, and ends in an answer or in one line; all else is a problem: a traceback, a wrong
answer without a word, a crash, more than 10 s for a reading, more than 2 GiB of memory. Crashes are what only that
process saved.

Rows of 100 inputs come into bad_input.json as they are finished. A row without problems is not fed again: kill the
benchmark whenever you like and start it again. `--only KIND NUMBER` feeds one input and says what comes of it.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from trust.bundle import BUNDLE, require_bundle
from trust.feeding import ALLOWED, Fed, fed
from trust.ledger import Ledger, Row

from envise_tf import progress

COMMAND = "python benchmarks/bad_input.py"
CONSOLE = Console(width=160, soft_wrap=True)
ROW = 100
"""Inputs in a row."""

COUNTS = {"images": 10_000, "bundles": 10_000, "settings": 2_000, "teachers": 500}
"""Inputs of each kind in a full run."""


class Part(NamedTuple):
    """Inputs that become one row."""

    kind: str
    seeds: range

    @property
    def name(self) -> str:
        return f"{self.kind} from {self.seeds[0]}"


def main() -> None:
    """Feeds the inputs that have not been read without problems yet; exit code 1 where some have problems."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kinds", nargs="+", choices=COUNTS, default=list(COUNTS))
    parser.add_argument("--count", type=int, help="inputs of each kind; default: a full run")
    parser.add_argument("--only", nargs=2, metavar=("KIND", "NUMBER"), help="feed this one input, and write nothing")
    parser.add_argument("--bundle", type=Path, default=BUNDLE, help="a bundle of digits, made where there is none")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"), help="the JSON")
    flags = parser.parse_args()
    require_bundle(flags.bundle)
    if flags.only:
        CONSOLE.print(*fed(f"trust.{flags.only[0]}", flags.bundle, [int(flags.only[1])]), markup=False)
        return
    ledger = Ledger(flags.out, COMMAND)
    parts = [part for kind in flags.kinds for part in parts_of(kind, flags.count or COUNTS[kind])]
    with progress.bar("inputs, time", CONSOLE) as bar:
        task = bar.add_task("", total=sum(len(part.seeds) for part in parts))
        for part in parts:
            bar.update(task, description=part.name)
            if ledger.has_passed(part.name) and ledger.rows[part.name]["inputs"] >= len(part.seeds):
                bar.advance(task, len(part.seeds))
                continue
            found = []
            for one in fed(f"trust.{part.kind}", flags.bundle, part.seeds):
                found.append(one)
                bar.advance(task)
                if one.outcome not in ALLOWED:
                    CONSOLE.print(line(one), markup=False, highlight=False)
            ledger.add(part.name, {"of": part.kind, **row(found)})
    told(ledger)
    if any(each["problems"] for each in ledger.rows.values()):
        sys.exit(1)


def parts_of(kind: str, count: int) -> list[Part]:
    """Returns the rows of so many inputs."""
    return [Part(kind, range(first, min(first + ROW, count))) for first in range(0, count, ROW)]


def row(found: Sequence[Fed]) -> Row:
    """Returns how often each outcome came of each kind of input, the slowest and largest, and the problems."""
    counts = Counter((one.kind, one.outcome) for one in found)
    return {
        "inputs": len(found),
        "outcomes": {f"{kind}: {outcome}": count for (kind, outcome), count in sorted(counts.items())},
        "crashes": sum(one.outcome == "crash" for one in found),
        "slowest_seconds": round(max(one.seconds for one in found), 2),
        "largest_mebibytes": max(one.memory for one in found) >> 20,
        "problems": [line(one) for one in found if one.outcome not in ALLOWED],
    }


def line(one: Fed) -> str:
    """Returns what went wrong with an input."""
    figures = f"{one.seconds:.1f} s, {one.memory >> 20} MiB"
    return f"{one.seed} ({one.kind}): {one.outcome}, {figures}: {' '.join(one.said.split())}"


def told(ledger: Ledger) -> None:
    """Prints a line for each kind of input."""
    for kind in COUNTS:
        rows = [each for each in ledger.rows.values() if each["of"] == kind]
        if rows:
            problems = sum(len(each["problems"]) for each in rows)
            CONSOLE.print(
                f"{kind}: {sum(each['inputs'] for each in rows):,} inputs, {problems} with a problem; slowest "
                f"{max(each['slowest_seconds'] for each in rows)} s, largest "
                f"{max(each['largest_mebibytes'] for each in rows)} MiB",
                highlight=False,
            )


if __name__ == "__main__":
    main()
