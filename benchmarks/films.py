"""python benchmarks/films.py FILM ...: what ImageNet's classifier says of films, and what becomes of a student.

Each film is answered by `python -m envise_tf.stream`, with the settings below, in runs/films/NAME; a stopped run goes
on from there. Prints a line a film, and writes films.json beside this file and docs/films.png: the answers along each
film, and what happened.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from envise_tf.report.axes import GREY, colours_of
from envise_tf.run import Run, provenance
from envise_tf.settings import StreamSettings
from envise_tf.settings.parsing import settings_of_run
from envise_tf.stream.pipeline import stream
from envise_tf.stream.record import read_record
from envise_tf.stream.summary import rolling_share, states

TARGET = Path(__file__).with_suffix(".json")
PICTURE = Path(__file__).parents[1] / "docs" / "films.png"
KEPT = Path("runs/films")
SETTINGS: dict[str, Any] = {
    "teacher": "imagenet-lite0@224",
    "image_size": 224,
    "every": 2,
    # Films this short end before a student of the usual plan would serve.
    **{"find": 128, "recheck": 64, "window": 64, "epsilon": 0.05, "widths": "auto"},
}
SHOWN = 6
"""Classes with a colour of their own."""
WINDOW = 40
"""Frames that a share looks back on."""


def main() -> None:
    """Answers the films and writes what came out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("films", nargs="+", type=Path, help="video files")
    films = parser.parse_args().films
    runs = {film.name: answered(film) for film in films}
    rows = [{"film": name, **figures(run)} for name, run in runs.items()]
    for row in rows:
        print(json.dumps(row))
    content = {"settings": SETTINGS, "rows": rows, **provenance()}
    TARGET.write_text(json.dumps(content, indent=1) + "\n")
    courses(runs).savefig(PICTURE, dpi=100)


def answered(film: Path) -> Run:
    """Returns the run in which a film was answered, which is resumed where it has begun."""
    folder = KEPT / film.stem
    if (folder / "settings.yaml").exists():
        return stream(settings_of_run(StreamSettings, str(folder)), True)
    return stream(StreamSettings(video=str(film), out=str(folder), **SETTINGS), False)


def figures(run: Run) -> dict[str, Any]:
    """Returns what JSON says of a film."""
    record, result = read_record(run.folder), run.read_json("result.json")
    answers = answers_of(run)
    common = Counter(name for name, _ in answers).most_common(SHOWN)
    return {
        "frames": len(record.image),
        "seconds": answers[-1][1],
        "answers": {name: count / len(record.image) for name, count in common},
        "events": [{name: event[name] for name in ("image", "event", "reason")} for event in record.events],
        "answered_by_student": float(record.by_student.mean()),
        "frames_a_second": result["images_per_second"],
    }


def answers_of(run: Run) -> list[tuple[str, float]]:
    """Returns the class that each frame was answered with, and the frame's second."""
    with (run.folder / "answers.csv").open() as file:
        return [(row["class"], float(row["origin"].split()[2])) for row in csv.DictReader(file)]


def courses(runs: dict[str, Run]) -> Figure:
    """Returns a picture of the shares of the answers along each film."""
    figure = Figure(figsize=(9, 2.6 * len(runs)), layout="constrained")
    for axes, (name, run) in zip(np.atleast_1d(figure.subplots(len(runs), 1)), runs.items(), strict=True):
        draw_course(axes, run)
        axes.set_title(name, loc="left", fontsize=10)
    return figure


def draw_course(axes: Axes, run: Run) -> None:
    """Draws the shares of one film's answers, where classes were found, changes noticed, and a student served."""
    record, answers = read_record(run.folder), answers_of(run)
    names, seconds = np.array([name for name, _ in answers]), np.array([second for _, second in answers])
    common = [name for name, _ in Counter(names).most_common(SHOWN)]
    everywhere = np.ones(len(names), bool)
    drawn = [*(names == name for name in common), ~np.isin(names, common)]
    shares = [100 * rolling_share(hits, everywhere, WINDOW) for hits in drawn]
    axes.stackplot(seconds, shares, labels=[*common, "others"], colors=[*colours_of(len(common)), GREY])
    for is_serving, rows in states(record):
        if is_serving:
            axes.plot(seconds[rows][[0, -1]], [103, 103], color="black", lw=4, clip_on=False)
    marks = {"classes": "|", "change": "v"}
    for event in record.events:
        if event["event"] in marks:
            second = seconds[min(event["image"], len(seconds) - 1)]
            axes.plot(second, 103, marks[event["event"]], color="black", clip_on=False)
    axes.set(xlabel="second", ylabel="answers [%]", xlim=(seconds[0], seconds[-1]), ylim=(0, 100))
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=8)


if __name__ == "__main__":
    main()
