"""python benchmarks/archive.py BUNDLE IMAGES: what Apache Beam makes of an archive, against the plain loop.

Three commands answer the same photographs in turns: `export.classify` into a CSV file, which is one loop in one
process, and into a folder of Parquet files with one worker and with two. Each is also timed on a single photograph,
which is what it takes to start; the images a second are those of the rest. Beside the clock stands the processor time
of all processes, which other work on the machine changes less.

Writes archive.json beside this file: medians over the rounds, of which each has its own ratio to the plain loop beside
it, and the load of the machine when it began.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from rich.progress import track

from envise_tf.export.classify import image_paths
from envise_tf.run import provenance

TARGET = Path(__file__).with_suffix(".json")
WAYS = {
    "plain loop": ("answers.csv",),
    "1 worker": ("answers.parquet", "--workers", "1"),
    "2 workers": ("answers.parquet", "--workers", "2"),
}
"""The words behind --out."""


def main() -> None:
    """Measures all ways and writes them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle")
    parser.add_argument("images", help="pattern of the photographs")
    parser.add_argument("--rounds", type=int, default=3, help="how often all take turns")
    flags = parser.parse_args()
    load = os.getloadavg()[0]
    paths = image_paths([flags.images])
    turns = [(way, count) for _ in range(flags.rounds) for way in WAYS for count in (1, len(paths))]
    spent: dict[tuple[str, int], list[tuple[float, float]]] = {turn: [] for turn in turns}
    for way, count in track(turns, "turns"):
        spent[way, count].append(seconds(flags.bundle, flags.images if count > 1 else paths[0], WAYS[way]))
    figures = {way: rounds(spent[way, 1], spent[way, len(paths)], len(paths) - 1) for way in WAYS}
    plain = figures["plain loop"]["images_a_second"]
    for found in figures.values():
        found["ratio"] = found["images_a_second"] / plain
    result = {
        "images": len(paths),
        "ways": {
            way: {name: float(np.median(values)) for name, values in found.items()} for way, found in figures.items()
        },
        "ratio_of_each_round": {way: found["ratio"].tolist() for way, found in figures.items()},
        "load_at_start": load,
        "rounds": flags.rounds,
        "command": "python benchmarks/archive.py BUNDLE IMAGES",
        **provenance(),
    }
    TARGET.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result["ways"], indent=2))


def seconds(bundle: str, images: str, out: tuple[str, ...]) -> tuple[float, float]:
    """Returns what a command takes, by the clock and of processor time."""
    with tempfile.TemporaryDirectory() as folder:
        place, *flags = out
        words = [bundle, "--images", images, "--out", str(Path(folder, place)), *flags]
        begun, used = time.perf_counter(), processor_seconds()
        subprocess.run([sys.executable, "-m", "envise_tf.export.classify", *words], check=True, capture_output=True)
        return time.perf_counter() - begun, processor_seconds() - used


def processor_seconds() -> float:
    """Returns the processor time of all processes that have been started and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def rounds(one: list[tuple[float, float]], whole: list[tuple[float, float]], images: int) -> dict[str, np.ndarray]:
    """Returns the figures of a way in each round, of its turns with one image and with so many more."""
    (start, start_processor), (clock, processor) = np.array(one).T, np.array(whole).T
    return {
        "start_seconds": start,
        "images_a_second": images / (clock - start),
        "processor_milliseconds_an_image": 1000 * (processor - start_processor) / images,
    }


if __name__ == "__main__":
    main()
