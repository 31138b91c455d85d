"""python benchmarks/picture.py RUN: README's picture, of which images the student answers, and what that saves.

Shows test images of an evaluated run of train in the shares of a stream with 5 % outliers, and the work of the pair
beside the teacher's. Writes docs/cascade.png.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from envise_tf.evaluate.evaluation import Evaluation
from envise_tf.evaluate.gallery import images_at
from envise_tf.evaluate.pipeline import evaluate
from envise_tf.measures.operating_points import OperatingPoint
from envise_tf.report.axes import OUTLIER, STUDENT, TEACHER
from envise_tf.settings import EvaluateSettings

PICTURE = Path(__file__).parents[1] / "docs" / "cascade.png"
OUTLIER_RATE = 0.05
ROWS, COLUMNS = 4, (12, 4)
SEED = 0


def main() -> None:
    """Evaluates the run and draws the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", help="folder of a run of train with labelled test images")
    parser.add_argument("--data_dir")
    flags = parser.parse_args()
    evaluation = evaluate(EvaluateSettings(flags.run, flags.data_dir))
    picture(evaluation).savefig(PICTURE, dpi=110)


def picture(evaluation: Evaluation) -> Figure:
    """Returns the images that either network answers, and the work of both beside the teacher's alone."""
    assert evaluation.examination is not None
    assert evaluation.examiner is not None
    predictions, deferred = evaluation.examination.predictions, evaluation.deferred(evaluation.score)
    weights = predictions.weights(OUTLIER_RATE)
    point = evaluation.point(evaluation.score, OUTLIER_RATE)
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=(3, 1))
    left, right = top.subfigures(1, 2, width_ratios=COLUMNS, wspace=0.03)
    shares = 100 * (1 - point.deferral_rate), 100 * point.deferral_rate
    left.suptitle(f"the small network answers {shares[0]:.0f} % of the images", color=STUDENT, fontweight="bold")
    right.suptitle(f"the classifier {shares[1]:.0f} %", color=OUTLIER, fontweight="bold")
    draw = np.random.default_rng(SEED)
    for panel, columns, weight in zip((left, right), COLUMNS, (weights * ~deferred, weights * deferred), strict=True):
        rows = draw.choice(len(weight), ROWS * columns, replace=False, p=weight / weight.sum())
        images = images_at(evaluation.examiner, rows)
        draw_images(panel, [images[row] for row in rows], columns)
    draw_work(bottom.subplots(), point, evaluation.costs.student.flops / evaluation.costs.teacher.flops)
    return figure


def draw_images(panel: SubFigure, images: Sequence[np.ndarray], columns: int) -> None:
    """Draws images in a grid."""
    for axes, image in zip(panel.subplots(ROWS, columns).flat, images, strict=True):
        axes.imshow(image)
        axes.set_axis_off()


def draw_work(axes: Axes, point: OperatingPoint, students_share: float) -> None:
    """Draws the work of the pair beside that of the classifier alone."""
    axes.barh("classifier alone", 100, color=TEACHER)
    axes.barh("the pair", 100 * students_share, color=STUDENT)
    axes.barh("the pair", 100 * point.deferral_rate, left=100 * students_share, color=OUTLIER)
    told = f"  {100 * point.gie:.0f} % less work; right on {100 * point.accuracy_cascade:.1f} %"
    axes.text(100 * (1 - point.gie), "the pair", told, va="center")
    axes.text(
        99, "classifier alone", f"right on {100 * point.accuracy_teacher:.1f} %", ha="right", va="center", color="w"
    )
    axes.set(xlim=(0, 100), xlabel="work, classifier alone = 100 %")
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    main()
