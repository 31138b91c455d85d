"""python benchmarks/competitors.py RUN ...: accuracy against work, of cascades and of what else people would use.

Each RUN is a finished run of train on a scenario, such as those of grids/baselines.yaml: the same images and the same
teacher, with one student or another. On the same test images, 5 % of them outliers:

- the teacher alone, as it came and adapted to the stream;
- each student alone, and before the teacher: by the run's score and by its largest probability;
- the teacher's own second stage: a linear head on its mean features, fitted on the teacher's answers to the student's
  training images, answers what it is sure of, and for the rest the teacher goes on from there [Teerapittayanon et al.
  2016, BranchyNet].

Thresholds are chosen on the same held-back images in three ways: by our promise (the rule accuracy); the same by
Hoeffding and Bentkus' bound, which is MAPIE's learn-then-test, see tests/deferral; and as in Wisdom of Committees
[Wang et al. 2022]: the one that defers least among those that lose no more than epsilon on held-back images, there by
labels, here by the teacher's answers, and without a margin for chance.

Writes competitors.json beside this file, and docs/competitors.png: all thresholds, and the chosen ones.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from common.scenario_run import opened_on_scenario, own_score
from grid import kind_of
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table
from scipy import special
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from envise_tf import progress
from envise_tf.deferral.held_back import HeldBack
from envise_tf.deferral.held_back_images import answers_on
from envise_tf.deferral.regret import regret
from envise_tf.deferral.rules import deferral_rule
from envise_tf.deferral.scores import OutlierScore, outlier_score
from envise_tf.distillation.distiller import student_class_of
from envise_tf.errors import UserError, reports_user_errors
from envise_tf.evaluate.test_pass import Examination, Examiner
from envise_tf.measures.operating_points import OperatingPoint, Predictions, curve, operating_point
from envise_tf.networks.macs import macs
from envise_tf.networks.tracing import traced_function
from envise_tf.report.axes import colours_of
from envise_tf.run import Run, provenance
from envise_tf.runs.finished import FinishedRun, Networks

import tensorflow as tf  # isort: skip  (after envise_tf, which asks for Keras 2)

TARGET = Path(__file__).with_suffix(".json")
PICTURE = Path(__file__).parents[1] / "docs" / "competitors.png"
OUTLIER_RATE = 0.05
DELTA = 0.05
BATCH = 256


@dataclass(frozen=True)
class Contender:
    """Something cheap before the teacher: what it says, how sure it is, and what it costs.

    Attributes:
        name: of the row.
        predictions: of the test images, its classes as the student's.
        score: float (n,), of the test images, larger = surer.
        promising: held-back images as the choice of a threshold sees them.
        flops: of asking it, an image.
        deferred_flops: of asking the teacher after it, an image.
    """

    name: str
    predictions: Predictions
    score: np.ndarray
    promising: HeldBack
    flops: float
    deferred_flops: float

    def point(self, threshold: float) -> OperatingPoint:
        """Returns what the cascade does at a threshold."""
        deferred = ~(self.score >= threshold)
        return operating_point(self.predictions, deferred, OUTLIER_RATE, self.flops, self.deferred_flops)

    def work(self, deferral_rate: np.ndarray | float) -> np.ndarray | float:
        """Returns FLOPs an image where this share is deferred."""
        return self.flops + deferral_rate * self.deferred_flops


# --- How a threshold is chosen ----------------------------------------------------------------------------------------


def promised_by(bound: str) -> Callable[[HeldBack, float], float]:
    """Returns the choice by our rule with one of its bounds."""

    def chosen(promising: HeldBack, epsilon: float) -> float:
        rule = deferral_rule("accuracy", {"epsilon": epsilon, "bound": bound})
        return rule.threshold(promising, promising, DELTA)[0]

    return chosen


def as_in_wisdom_of_committees(promising: HeldBack, epsilon: float) -> float:
    """Returns the smallest threshold at which at most epsilon of the images are answered otherwise than the teacher."""
    order = np.argsort(-promising.score, kind="stable")
    score = promising.score[order]
    lost = np.cumsum(~promising.agrees[order]) / len(order)
    is_last = np.append(score[1:] < score[:-1], True)  # images of equal score go together
    kept = np.flatnonzero(is_last & (lost <= epsilon))
    return float(score[kept[-1]]) if len(kept) else np.inf


CHOICES = {
    "promise": promised_by("betting"),
    "learn then test": promised_by("hoeffding_bentkus"),
    "held-back accuracy": as_in_wisdom_of_committees,
}


# --- Who is compared --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Opened:
    """A run, ready to be asked.

    Attributes:
        name: kind of student, see `grid.kind_of`.
        finished: the run.
        networks: both of the run.
        examiner: of its test images.
        scores: by what they are called here, fitted.
    """

    name: str
    finished: FinishedRun
    networks: Networks
    examiner: Examiner
    scores: dict[str, OutlierScore]

    @functools.cached_property
    def teacher_flops(self) -> float:
        return macs(self.finished.job.teacher.model).flops


def opened(folder: Path) -> Opened:
    """Returns an evaluated run, its scores fitted.

    Raises:
        UserError: it is not evaluated, or has no labelled images.
    """
    scores = {"own score": own_score(folder), "largest probability": outlier_score("msp")}
    return Opened(kind_of(folder), *opened_on_scenario(folder, scores), scores)


def students(run: Opened, examination: Examination) -> list[Contender]:
    """Returns a run's student with each of its scores."""
    job, networks = run.finished.job, run.networks
    images = progress.track(job.promising_images(BATCH).as_numpy_iterator(), "held-back images")
    promising = answers_on(images, networks.student, networks.teacher, run.finished.teacher_classes)
    flops = macs(run.finished.student).flops
    return [
        Contender(
            f"{run.name}, {name}",
            examination.predictions,
            examination.scores[name],
            promising.seen_by(score),
            flops,
            run.teacher_flops,
        )
        for name, score in run.scores.items()
    ]


def early_exit(run: Opened, examination: Examination) -> Contender:
    """Returns the teacher's second stage with a linear head of its own.

    Raises:
        UserError: the teacher has no two stages that end in a sum.
    """
    job, classes = run.finished.job, np.array(run.finished.teacher_classes)
    stage = second_stage(job.teacher.model)
    pooled = traced_function(lambda images: tf.reduce_mean(stage(images, training=False), axis=[1, 2]), stage.inputs[0])
    own = student_class_of(classes.tolist(), job.teacher.classes)

    def features(batches: Iterable[np.ndarray]) -> np.ndarray:
        return np.concatenate([pooled(images).numpy() for images in batches])

    def pairs(batches: tf.data.Dataset, about: str) -> tuple[np.ndarray, np.ndarray]:
        """Returns the features of images and the teacher's logits."""
        found = [
            (pooled(batch).numpy(), job.teacher(batch)) for batch in progress.track(batches.as_numpy_iterator(), about)
        ]
        return tuple(np.concatenate(each) for each in zip(*found, strict=True))

    learned, logits = pairs(job.stream.images(), "early exit: the student's images")
    label = own[logits.argmax(axis=-1)]
    head = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(
        learned[label >= 0], label[label >= 0]
    )
    held_back, logits = pairs(job.promising_images(BATCH), "early exit: held-back images")
    tested = features(batch["image"] for batch in run.examiner.examples().batch(BATCH).as_numpy_iterator())
    answer, sure = said(head, held_back)
    lost = regret(special.softmax(logits.astype(np.float64), axis=-1), classes[answer])
    promising = HeldBack.of(sure, answer, own[logits.argmax(axis=-1)], lost)
    answer, sure = said(head, tested)
    predictions = dataclasses.replace(examination.predictions, student_class=classes[answer])
    flops = macs(stage).flops
    return Contender("teacher's second stage", predictions, sure, promising, flops, run.teacher_flops - flops)


def said(head: Pipeline, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the class of each image that a head is surest of, int64 (n,), and how sure, float (n,)."""
    probabilities = head.predict_proba(features)
    return head.classes_[probabilities.argmax(axis=1)], probabilities.max(axis=1)


def second_stage(teacher: tf.keras.Model) -> tf.keras.Model:
    """Returns the teacher up to the last sum of its second largest grid: images -> maps.

    Raises:
        UserError: it has none.
    """
    sums = [layer for layer in teacher.layers if isinstance(layer, tf.keras.layers.Add)]
    sides = sorted({layer.output_shape[1] for layer in sums}, reverse=True)
    if len(sides) < 2:
        raise UserError(
            f"the teacher has sums on the grids {sides} alone: expected a residual network of two or more stages"
        )
    last = [layer for layer in sums if layer.output_shape[1] == sides[1]][-1]
    return tf.keras.Model(teacher.inputs, last.output)


# --- What comes of it -------------------------------------------------------------------------------------------------


@reports_user_errors("start again")
def main() -> None:
    """Compares the runs and writes what came out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folder of an evaluated run of train")
    parser.add_argument("--epsilon", type=float, default=0.02, help="accuracy that may be lost")
    parser.add_argument("--out", type=Path, default=TARGET, help="the JSON")
    parser.add_argument("--picture", type=Path, default=PICTURE, help="the figure")
    flags = parser.parse_args()
    contenders: list[Contender] = []
    for number, folder in enumerate(flags.runs):
        run = opened(folder)
        examination = run.examiner.examination(BATCH, lambda batches, count: progress.track(batches, "testing", count))
        if not number:
            contenders.append(early_exit(run, examination))
            teachers = teacher_rows(run, examination)
        contenders += students(run, examination)
    rows = [*teachers, *(row for contender in contenders for row in rows_of(contender, flags.epsilon))]
    content = {
        "command": " ".join(["python benchmarks/competitors.py", *map(str, flags.runs)]),
        "epsilon": flags.epsilon,
        "outlier_rate": OUTLIER_RATE,
        "rows": rows,
        **provenance(),
    }
    Run(flags.out.parent).write_json(flags.out.name, content)
    picture(contenders, rows).savefig(flags.picture, dpi=100)
    _show(rows)


def teacher_rows(run: Opened, examination: Examination) -> list[dict[str, Any]]:
    """Returns a row for each teacher alone: as it came, and adapted to the stream."""
    weights, truth = examination.predictions.weights(OUTLIER_RATE), examination.predictions.truth
    return [
        {
            "name": f"teacher, {name}",
            "choice": "alone",
            "accuracy": float(weights @ (answer == truth)),
            "deferred": 1.0,
            "flops": run.teacher_flops,
        }
        for name, answer in examination.teachers.items()
    ]


def rows_of(contender: Contender, epsilon: float) -> list[dict[str, Any]]:
    """Returns a row for the contender alone, and one for the cascade at each choice of a threshold."""
    thresholds = {"alone": -np.inf, **{name: choice(contender.promising, epsilon) for name, choice in CHOICES.items()}}
    points = {name: contender.point(threshold) for name, threshold in thresholds.items()}
    return [
        {
            "name": contender.name,
            "choice": name,
            "accuracy": point.accuracy_cascade,
            "lost": point.loss,
            "lost_standard_error": point.loss_standard_error,
            "deferred": point.deferral_rate,
            "flops": contender.work(point.deferral_rate),
        }
        for name, point in points.items()
    ]


def picture(contenders: Sequence[Contender], rows: Sequence[dict[str, Any]]) -> Figure:
    """Returns accuracy against work, of all thresholds of each contender and of those that were chosen."""
    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.subplots()
    marks = {"alone": "s", "promise": "o", "learn then test": "^", "held-back accuracy": "v"}
    colours = dict(zip([each.name for each in contenders], colours_of(len(contenders)), strict=True))
    for contender in contenders:
        whole_curve = curve(
            contender.predictions, contender.score, OUTLIER_RATE, contender.flops, contender.deferred_flops
        )
        work = np.asarray(contender.work(whole_curve.deferral_rate)) / 1e6
        axes.plot(work, 100 * whole_curve.accuracy, color=colours[contender.name], label=contender.name, lw=1)
    for row in rows:
        colour = colours.get(row["name"], "black")
        axes.plot(row["flops"] / 1e6, 100 * row["accuracy"], marks[row["choice"]], color=colour, ms=5)
    for name, mark in marks.items():
        axes.plot([], [], mark, color="black", label=name, ms=5)
    axes.set(xlabel="work, MFLOPs an image", ylabel=f"accuracy with {100 * OUTLIER_RATE:.0f} % outliers [%]")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=8)
    return figure


def _show(rows: Sequence[dict[str, Any]]) -> None:
    table = Table("who", "threshold by", "accuracy", "deferred", "MFLOPs")
    for row in rows:
        shares = (f"{100 * row[name]:.1f} %" for name in ("accuracy", "deferred"))
        table.add_row(row["name"], row["choice"], *shares, f"{row['flops'] / 1e6:.1f}")
    Console().print(table)


if __name__ == "__main__":
    main()
