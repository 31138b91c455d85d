"""python benchmarks/frontier.py RUN ...: how often pairs of networks are right where each may spend the same work.

Each RUN is a finished run of train on a scenario, such as those of grids/pairs.yaml; the runs may have different
teachers. Their GiE cannot be compared, for it is of the own teacher's work at the own teacher's accuracy; accuracy
at so many FLOPs an image can. The cascade defers, by the score of its run, as many of the test images as the work
allows, 5 % of them outliers: no threshold is chosen by labels.

Writes frontier.json beside this file, and docs/frontier.png. What was measured before stays in both, but for
the same pair on the same scenario.
"""

from __future__ import annotations

import argparse
import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from common.scenario_run import opened_on_scenario, own_score
from grid import kind_of
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from envise_tf import progress
from envise_tf.errors import reports_user_errors
from envise_tf.measures.operating_points import Curve, Predictions, curve
from envise_tf.networks.macs import macs
from envise_tf.report.axes import LEGEND, colours_of
from envise_tf.run import Run, provenance

TARGET = Path(__file__).with_suffix(".json")
PICTURE = Path(__file__).parents[1] / "docs" / "frontier.png"
OUTLIER_RATE = 0.05
WORK = (25, 50, 100, 200)
"""MFLOPs an image."""
BATCH = 256
PANELS_ACROSS = 3


@dataclass(frozen=True, eq=False)
class Pair:
    """Student and teacher of a run, on its n test images.

    Attributes:
        scenario: of the run.
        name: of the pair, see `grid.kind_of`.
        predictions: of both.
        score: float32 (n,), larger = surer.
        student_flops: FLOPs an image.
        teacher_flops: FLOPs an image.
    """

    scenario: str
    name: str
    predictions: Predictions
    score: np.ndarray
    student_flops: float
    teacher_flops: float

    @functools.cached_property
    def curve(self) -> Curve:
        """The cascade from nothing deferred to everything."""
        return curve(self.predictions, self.score, OUTLIER_RATE, self.student_flops, self.teacher_flops)

    def at(self, flops: float) -> dict[str, float]:
        """Returns what the cascade does with so many FLOPs an image: shares in 0..1."""
        affordable = np.clip((flops - self.student_flops) / self.teacher_flops, 0, 1)
        place = np.searchsorted(self.curve.deferral_rate, affordable + 1e-9, side="right") - 1
        return {
            "flops": flops,
            "accuracy": float(self.curve.accuracy[place]),
            "deferred": float(self.curve.deferral_rate[place]),
        }

    def row(self) -> dict[str, Any]:
        """Returns the row of the table: both networks alone, and the cascade at each amount of work."""
        nothing, everything = self.curve.accuracy[[0, -1]].tolist()
        return {
            "scenario": self.scenario,
            "pair": self.name,
            "student": {"flops": self.student_flops, "accuracy": nothing},
            "teacher": {"flops": self.teacher_flops, "accuracy": everything},
            "cascade": [self.at(1e6 * work) for work in WORK],
        }


def pair_of(folder: Path) -> Pair:
    """Returns what an evaluated run's networks say of its test images.

    Raises:
        UserError: it is not evaluated, or has no scenario.
    """
    finished, _, examiner = opened_on_scenario(folder, {"own": own_score(folder)})
    examination = examiner.examination(BATCH, lambda batches, count: progress.track(batches, str(folder), count))
    return Pair(
        scenario=finished.job.scenario.name,
        name=kind_of(folder),
        predictions=examination.predictions,
        score=examination.scores["own"],
        student_flops=macs(finished.student).flops,
        teacher_flops=macs(finished.job.teacher.model).flops,
    )


@reports_user_errors("start again")
def main() -> None:
    """Measures the runs and draws the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folder of an evaluated run of train")
    parser.add_argument("--out", type=Path, default=TARGET, help="the JSON")
    parser.add_argument("--picture", type=Path, default=PICTURE, help="the figure")
    flags = parser.parse_args()
    known = json.loads(flags.out.read_text())["rows"] if flags.out.exists() else []
    new = [pair_of(folder).row() | {"run": str(folder), **provenance()} for folder in flags.runs]
    rows = list({(row["scenario"], row["pair"]): row for row in [*known, *new]}.values())
    content = {"command": "python benchmarks/frontier.py RUN ...", "outlier_rate": OUTLIER_RATE, "rows": rows}
    Run(flags.out.parent).write_json(flags.out.name, content)
    picture(rows).savefig(flags.picture, dpi=100)
    _show(rows)


def picture(rows: list[dict[str, Any]]) -> Figure:
    """Returns accuracy against work, a panel a scenario: from the student alone to everything deferred."""
    scenarios = list(dict.fromkeys(row["scenario"] for row in rows))
    names = list(dict.fromkeys(row["pair"] for row in rows))
    colours = dict(zip(names, colours_of(len(names)), strict=True))
    across = min(len(scenarios), PANELS_ACROSS)
    down = -(-len(scenarios) // across)
    figure = Figure(figsize=(4.2 * across, 3.3 * down), layout="constrained")
    panels = figure.subplots(down, across, squeeze=False).flat
    for axes in panels[len(scenarios) :]:
        axes.set_axis_off()
    for axes, scenario in zip(panels, scenarios, strict=False):
        for row in (row for row in rows if row["scenario"] == scenario):
            student, teacher = row["student"], row["teacher"]
            all_deferred = {"flops": student["flops"] + teacher["flops"], "accuracy": teacher["accuracy"]}
            points = [student, *row["cascade"], all_deferred]
            work, accuracy = (np.array([point[key] for point in points]) for key in ("flops", "accuracy"))
            axes.plot(work / 1e6, 100 * accuracy, "o-", markersize=3, color=colours[row["pair"]], label=row["pair"])
        axes.set(
            title=scenario,
            xlabel="work, MFLOPs an image",
            ylabel=f"accuracy with {100 * OUTLIER_RATE:.0f} % outliers [%]",
        )
        axes.legend(**LEGEND)
    return figure


def _show(rows: list[dict[str, Any]]) -> None:
    table = Table("scenario", "pair", "student", *(f"{work} MFLOPs" for work in WORK), "teacher")
    for row in rows:
        accuracies = [row["student"], *row["cascade"], row["teacher"]]
        table.add_row(row["scenario"], row["pair"], *(f"{100 * each['accuracy']:.1f} %" for each in accuracies))
    Console().print(table)


if __name__ == "__main__":
    main()
