"""python benchmarks/attacks.py RUN: what somebody who can change the images does to the cascade of an evaluated run.

Whoever attacks knows the student, its score and its threshold, as in a bundle on a phone, and asks nobody's teacher.
Three attacks on test images, by projected gradient steps through the student [Madry et al. 2018]; what counts is what
the cascade says of the changed images, rounded to pixels again:

- flooding: inliers that the student answers are changed so that it defers them, which costs the teacher's work;
- evasion: outliers that it defers are changed so that it answers them;
- a patch: a square of a ninth of the image, the same on all images and at a place drawn anew for each, which makes the
  student name one class and be sure of it [Brown et al. 2017].

Flooding and evasion for each score that takes nothing but logits and for the run's own, at thresholds that answer as
many inliers, and for random changes of the same size beside. Writes attacks.json to the run.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

import numpy as np
import rich.progress
from rich.console import Console
from rich.table import Table

from envise_tf.deferral.scores import load_score, outlier_score
from envise_tf.deferral.scores.outputs import with_float_input
from envise_tf.deferral.threshold import Threshold
from envise_tf.errors import UserError, reports_user_errors
from envise_tf.export.conversion import answering_model
from envise_tf.run import provenance
from envise_tf.runs.finished import SCORE_FILE, THRESHOLD_FILE, FinishedRun, load_run

import tensorflow as tf  # isort: skip  (after envise_tf, which asks for Keras 2)

LOGIT_SCORES = ("msp", "margin", "max_logit", "energy", "gen")
BATCH = 64
PATCH_SHARE = 1 / 3
"""Of the image's side: a ninth of the area, as in the literature on printed patches."""
PATCHED_CLASSES = 3
"""The student's first ones, for each of which a patch is made."""


@dataclass(frozen=True, eq=False)
class Target:
    """What is attacked: a student with one of its scores.

    Attributes:
        model: float32 pixels (n, height, width, 3), 0..255 -> logits, probabilities and score (n, 1).
        thresholds: float (classes,), below which an image is deferred.
    """

    model: tf.keras.Model
    thresholds: np.ndarray

    def answers(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns the student's class, its score, and whether it answers, of uint8 images."""
        logits, _, score = self.model.predict(images.astype(np.float32), batch_size=BATCH, verbose=0)
        own = logits.argmax(axis=1)
        return own, score[:, 0], score[:, 0] >= self.thresholds[own]


@dataclass(frozen=True)
class Images:
    """Test images of a run.

    Attributes:
        inliers: uint8 (n, height, width, 3).
        inlier_classes: int64 (n,), the teacher's class that is true.
        outliers: uint8 (m, height, width, 3).
    """

    inliers: np.ndarray
    inlier_classes: np.ndarray
    outliers: np.ndarray


@reports_user_errors("start again")
def main() -> None:
    """Attacks a run and writes what came out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", help="folder of an evaluated run")
    parser.add_argument("--images", type=int, default=300, help="of each side, at most")
    parser.add_argument("--changes", type=int, nargs="+", default=[2, 4, 8], help="largest change of a pixel, of 255")
    parser.add_argument("--steps", type=int, default=20, help="of each attack")
    parser.add_argument("--patch_steps", type=int, default=200, help="of the patch of each class; 0 for no patch")
    flags = parser.parse_args()
    finished = load_run(flags.run)
    if not (finished.run.folder / THRESHOLD_FILE).exists():
        raise UserError(f"{flags.run} has no threshold yet: choose one by python -m envise_tf.evaluate {flags.run}")
    images = test_images(finished, flags.images)
    targets = targets_of(finished, images)
    rows = []
    for name, target in rich.progress.track(list(targets.items()), "scores", transient=True):
        for change in flags.changes:
            row = changed_figures(target, images, change, flags.steps)
            rows.append({"score": name, "change": change, **row})
    patches = patch_figures(targets["own"], finished, images, flags.patch_steps) if flags.patch_steps else None
    result = {
        "run": str(flags.run),
        "own_score": load_score(finished.run.folder / SCORE_FILE).name,
        "inliers": len(images.inliers),
        "outliers": len(images.outliers),
        "rows": rows,
        "patch": patches,
        "settings": vars(flags),
        **provenance(),
    }
    finished.run.write_json("attacks.json", result)
    _show(result)


def test_images(finished: FinishedRun, most: int) -> Images:
    """Returns up to `most` test images of the run's inlier classes, and of its scenario's outlier classes.

    Raises:
        UserError: the run has no labelled images of both kinds.
    """
    source, scenario = finished.job.tested, finished.job.scenario
    if source is None or scenario is None:
        raise UserError(f"{finished.run.folder} has no labelled inliers and outliers: expected a run of a scenario")
    names = {name: index for index, name in enumerate(finished.job.teacher.class_names)}
    found = []
    for side in ("inlier", "outlier"):
        examples = source.examples("test", scenario.labels(side, source.class_names)).shuffle(10_000, seed=1).take(most)
        pairs = [(each["image"], names[source.class_names[each["label"]]]) for each in examples.as_numpy_iterator()]
        found.append(tuple(np.stack(each) for each in zip(*pairs, strict=True)))
    (inliers, classes), (outliers, _) = found
    return Images(inliers, classes, outliers)


def targets_of(finished: FinishedRun, images: Images) -> dict[str, Target]:
    """Returns the student with each score, "own" being the run's; all answer as large a share of the inliers."""
    threshold = Threshold.from_dict(finished.run.read_json(THRESHOLD_FILE))
    student = with_float_input(finished.student)
    own = Target(answering_model(student, load_score(finished.run.folder / SCORE_FILE)), np.array(threshold.values))
    answered = own.answers(images.inliers)[2].mean()
    if not answered:
        raise UserError(f"the student of {finished.run.folder} answers no inlier: there is nothing to attack")
    targets = {"own": own}
    for name in LOGIT_SCORES:
        target = Target(answering_model(student, outlier_score(name)), np.zeros(len(threshold.values)))
        limit = np.quantile(target.answers(images.inliers)[1], 1 - answered)
        targets[name] = Target(target.model, np.full(len(threshold.values), limit))
    return targets


def changed_figures(target: Target, images: Images, change: int, steps: int) -> dict[str, float]:
    """Returns which shares of images flooding, evasion and random changes of this size turn over."""
    sides = {}
    for name, shown, was_answered, sign in (
        ("flooded", images.inliers, True, -1.0),
        ("evaded", images.outliers, False, 1.0),
    ):
        chosen = shown[target.answers(shown)[2] == was_answered]
        sides[f"{name}_of"] = len(chosen)
        sides[name] = turned_share(target, attacked(target, chosen, change, steps, sign), was_answered)
        sides[f"{name}_by_chance"] = turned_share(target, noisy(chosen, change), was_answered)
    sides["answered"] = float(target.answers(images.inliers)[2].mean())
    return sides


def turned_share(target: Target, changed: np.ndarray, was_answered: bool) -> float:
    """Returns the share of changed images that the student no longer answers, or defers, as it did; 0 of none."""
    return float((target.answers(changed)[2] != was_answered).mean()) if len(changed) else 0.0


def attacked(target: Target, images: np.ndarray, change: int, steps: int, sign: float) -> np.ndarray:
    """Returns images whose score was raised (sign 1) or lowered (-1) by changes of at most `change` of 255 a pixel.

    Of each image the best of its steps counts: long ones go too far, and signs give no exact gradient.
    """

    @tf.function
    def stepped(moved: tf.Tensor, start: tf.Tensor, best: tf.Tensor, reached: tf.Tensor) -> tuple[tf.Tensor, ...]:
        pixels = tf.round(moved)
        with tf.GradientTape() as tape:
            tape.watch(pixels)
            score = sign * target.model(pixels, training=False)[2][:, 0]
        moved += 2.5 * change / steps * tf.sign(tape.gradient(score, pixels))
        moved = tf.clip_by_value(tf.clip_by_value(moved, start - change, start + change), 0.0, 255.0)
        best = tf.where((score > reached)[:, tf.newaxis, tf.newaxis, tf.newaxis], pixels, best)
        return moved, best, tf.maximum(score, reached)

    found = []
    for batch in batches(images):
        start = tf.constant(batch, tf.float32)
        moved = start + tf.random.stateless_uniform(start.shape, (1, change), -change, change)
        best, reached = start, tf.fill([len(batch)], -np.inf)
        for _ in range(steps + 1):
            moved, best, reached = stepped(moved, start, best, reached)
        found.append(best.numpy().astype(np.uint8))
    return np.concatenate(found) if found else images


def noisy(images: np.ndarray, change: int) -> np.ndarray:
    """Returns images each of whose pixels was changed by `change` up or down, at random."""
    signs = np.random.default_rng(0).choice([-change, change], images.shape)
    return np.clip(images.astype(int) + signs, 0, 255).astype(np.uint8)


def patch_figures(target: Target, finished: FinishedRun, images: Images, steps: int) -> list[dict[str, Any]]:
    """Returns what a patch of each of the first classes, made on half of the inliers, does on the other half."""
    half = len(images.inliers) // 2
    shown, truth = images.inliers[half:], images.inlier_classes[half:]
    classes = np.array(finished.teacher_classes)
    rows = []
    for wanted in range(min(PATCHED_CLASSES, len(classes))):
        others = truth != classes[wanted]
        square = patch(target, images.inliers[:half], wanted, steps)
        grey = np.full_like(square, 127)
        for name, pasted_square in (("patch", square), ("grey square", grey)):
            covered = pasted(shown[others], pasted_square, np.random.default_rng(1))
            own, _, is_answered = target.answers(covered)
            teacher = finished.job.teacher(covered).argmax(axis=1)
            cascade = np.where(is_answered, classes[own], teacher)
            rows.append(
                {
                    "class": finished.job.teacher.class_names[classes[wanted]],
                    "square": name,
                    "images": int(others.sum()),
                    "answered": float(is_answered.mean()),
                    "cascade_wrong": float((cascade != truth[others]).mean()),
                    "teacher_wrong": float((teacher != truth[others]).mean()),
                    "cascade_says_the_class": float((cascade == classes[wanted]).mean()),
                    "teacher_says_the_class": float((teacher == classes[wanted]).mean()),
                }
            )
    return rows


def patch(target: Target, images: np.ndarray, wanted: int, steps: int) -> np.ndarray:
    """Returns a square, uint8 (side, side, 3), that makes the student sure of a class wherever it lies."""
    size = images.shape[1]
    side = round(size * PATCH_SHARE)
    random = np.random.default_rng(wanted)

    @tf.function
    def stepped(square: tf.Tensor, batch: tf.Tensor, rows: tf.Tensor, columns: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(square)
            masks, placed = tf.map_fn(
                lambda place: (
                    tf.pad(tf.ones((side, side, 1)), padding(place, size, side)),
                    tf.pad(square, padding(place, size, side)),
                ),
                tf.stack([rows, columns], axis=1),
                fn_output_signature=(tf.float32, tf.float32),
            )
            logits, _, score = target.model(batch * (1 - masks) + placed, training=False)
            sure = tf.nn.log_softmax(logits)[:, wanted]
            goal = tf.reduce_mean(sure) + 0.1 * tf.reduce_mean(score)
        return tf.clip_by_value(square + 4.0 * tf.sign(tape.gradient(goal, square)), 0.0, 255.0)

    square = tf.constant(random.uniform(0, 255, (side, side, 3)), tf.float32)
    for _ in rich.progress.track(range(steps), "patch", transient=True):
        batch = images[random.integers(0, len(images), BATCH)]
        rows, columns = random.integers(0, size - side + 1, (2, BATCH))
        square = stepped(square, tf.constant(batch, tf.float32), tf.constant(rows), tf.constant(columns))
    return np.round(square.numpy()).astype(np.uint8)


def padding(place: tf.Tensor, size: int, side: int) -> tf.Tensor:
    """Returns what `tf.pad` adds around a square so that it lies at (row, column) of an image."""
    before = tf.cast(place, tf.int32)
    return tf.concat([tf.stack([before, size - side - before], axis=1), [[0, 0]]], axis=0)


def pasted(images: np.ndarray, square: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Returns the images with the square at a place drawn for each."""
    covered, side = images.copy(), len(square)
    for image, (row, column) in zip(
        covered, random.integers(0, images.shape[1] - side + 1, (len(images), 2)), strict=True
    ):
        image[row : row + side, column : column + side] = square
    return covered


def batches(images: np.ndarray) -> list[np.ndarray]:
    """Returns the images in parts."""
    return [images[i : i + BATCH] for i in range(0, len(images), BATCH)]


def _show(result: dict[str, Any]) -> None:
    shown = Console()
    table = Table("score", "change of 255", "flooded", "by chance", "evaded", "by chance", title=result["run"])
    for row in result["rows"]:
        shares = (row[name] for name in ("flooded", "flooded_by_chance", "evaded", "evaded_by_chance"))
        table.add_row(row["score"], str(row["change"]), *(f"{100 * share:.1f} %" for share in shares))
    shown.print(table)
    table = Table(
        "class", "square", "answered", "cascade wrong", "teacher wrong", "cascade says the class", title="patches"
    )
    for row in result["patch"] or []:
        shares = (row[name] for name in ("answered", "cascade_wrong", "teacher_wrong", "cascade_says_the_class"))
        table.add_row(row["class"], row["square"], *(f"{100 * share:.1f} %" for share in shares))
    shown.print(table)


if __name__ == "__main__":
    main()
