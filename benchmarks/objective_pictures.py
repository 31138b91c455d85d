"""python benchmarks/objective_pictures.py: draws what each objective asks for, from its own function.

Each curve is the loss of one image as the student moves along one line, all else kept. Writes docs/objectives/NAME.svg,
which docs/objectives.md shows.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes

from envise_tf.distillation.objectives.amc import amc
from envise_tf.distillation.objectives.amd import amd, quadrants
from envise_tf.distillation.objectives.attention_transfer import attention_transfer
from envise_tf.distillation.objectives.attention_triplet import attention_triplet
from envise_tf.distillation.objectives.deep_gambler import deep_gambler
from envise_tf.distillation.objectives.embedding_triplet import embedding_triplet
from envise_tf.distillation.objectives.hard_label import hard_label
from envise_tf.distillation.objectives.hint import hint
from envise_tf.distillation.objectives.mix_kd import mix_kd
from envise_tf.distillation.objectives.mixed_label import mixed_label
from envise_tf.distillation.objectives.orthogonal_sphere import orthogonal_sphere
from envise_tf.distillation.objectives.oskd import oskd
from envise_tf.distillation.objectives.soft_label import soft_label
from envise_tf.report.axes import CASCADE, LEGEND, STUDENT, TEACHER, framed_axes

import tensorflow as tf  # isort: skip  (after envise_tf, which asks for Keras 2)

FOLDER = Path(__file__).parents[1] / "docs" / "objectives"
SHARES = np.linspace(0.02, 0.98, 97)
"""Probability of the teacher's class, of two."""
TEACHER_SHARE = 0.7
STEPS = np.linspace(0.0, 4.0, 81)
"""Cells by which what the student looks at lies beside what the teacher looks at, on a grid of 8 x 8."""
BESIDE = "what is active lies beside the teacher's by [cells]"
ANGLES = np.linspace(0.0, np.pi, 91)
COLOURS = (STUDENT, TEACHER, CASCADE)


def main() -> None:
    """Draws all pictures."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    FOLDER.mkdir(exist_ok=True)
    # Text stays text, and the same picture is the same file.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "objectives"}):
        for name, draw in PICTURES.items():
            figure, axes = framed_axes((4.2, 2.6), ylabel="loss of the image")
            draw(axes)
            if axes.get_legend_handles_labels()[0]:
                axes.legend(**LEGEND)
            figure.savefig(FOLDER / f"{name}.svg", metadata={"Date": None})
    print(f"wrote {len(PICTURES)} pictures to {FOLDER}")


def logits_of(shares: np.ndarray) -> tf.Tensor:
    """Returns logits of two classes whose first has these probabilities, float32 (n, 2)."""
    return tf.constant(np.stack([np.log(shares), np.log(1 - shares)], axis=1), tf.float32)


def blobs(steps: np.ndarray) -> tf.Tensor:
    """Returns maps with one bright spot, so many cells right of the third column: float32 (n, 8, 8)."""
    rows, columns = np.mgrid[:8, :8]
    distance = (rows - 3.5) ** 2 + (columns - 2.0 - steps[:, np.newaxis, np.newaxis]) ** 2
    return tf.constant(np.exp(-distance / 2), tf.float32)


def unit(maps: tf.Tensor) -> tf.Tensor:
    """Returns the maps flattened and of unit length."""
    return tf.math.l2_normalize(tf.reshape(maps, [len(maps), -1]), axis=1)


def directions(angles: np.ndarray) -> tf.Tensor:
    """Returns unit vectors in the plane, float32 (n, 2)."""
    return tf.constant(np.stack([np.cos(angles), np.sin(angles)], axis=1), tf.float32)


def repeated(row: tf.Tensor, count: int) -> tf.Tensor:
    """Returns the one row of a tensor so many times."""
    return tf.repeat(row, count, axis=0)


TARGETS = repeated(logits_of(np.array([TEACHER_SHARE])), len(SHARES))
FIRST = tf.zeros(len(SHARES), tf.int64)


def over_shares(axes: Axes, curves: dict[str, tf.Tensor]) -> None:
    """Draws losses over the student's probability of the teacher's class."""
    over(axes, 100 * SHARES, curves, "student's probability of the teacher's class [%]")


def over(axes: Axes, values: np.ndarray, curves: dict[str, tf.Tensor], about: str) -> None:
    """Draws losses over values, by the labels of their curves."""
    for (label, losses), colour in zip(curves.items(), COLOURS, strict=False):
        axes.plot(values, losses, label=label, color=colour)
    axes.set(xlabel=about, ylim=(min(0, *(float(tf.reduce_min(each)) for each in curves.values())), None))


def _hard_labels(axes: Axes) -> None:
    over_shares(axes, {"": hard_label(logits_of(SHARES), FIRST)})


def _soft_labels(axes: Axes) -> None:
    curves = {f"T = {t}": soft_label(logits_of(SHARES), TARGETS, temperature=float(t)) for t in (1, 2, 4)}
    over_shares(axes, curves)
    axes.axvline(100 * TEACHER_SHARE, color="grey", linestyle=":")


def _mixed_labels(axes: Axes) -> None:
    shares = {"the hard label": 0.0, "half of each": 0.5, "the soft label": 1.0}
    curves = {name: mixed_label(logits_of(SHARES), TARGETS, FIRST, 1.0, share) for name, share in shares.items()}
    over_shares(axes, curves)
    axes.axvline(100 * TEACHER_SHARE, color="grey", linestyle=":")


def _mix_kds(axes: Axes) -> None:
    scales = np.geomspace(0.1, 10, 61)
    teacher = tf.constant([[2.0, 1.0, -3.0]])
    count, label = len(scales), tf.zeros(len(scales), tf.int64)
    students = tf.constant(scales[:, np.newaxis], tf.float32) * tf.constant([[1.5, 1.2, -2.7]])
    curves = {
        "mix_kd, soft part": mix_kd(students, repeated(teacher, count), label, soft_share=1.0),
        "soft_label, T = 1": soft_label(students, repeated(teacher, count), temperature=1.0),
    }
    over(axes, scales, curves, "size of the student's logits over the teacher's")
    axes.set_xscale("log")


def _deep_gamblers(axes: Axes) -> None:
    abstentions = np.linspace(-8, 8, 161)
    target = tf.one_hot(FIRST, 4)
    logits = tf.math.log(tf.constant(np.stack([SHARES, *[(1 - SHARES) / 3] * 3], axis=1), tf.float32))
    curves = {}
    for reward in (1.2, 2.0, 4.0):
        losses = [deep_gambler(logits, tf.fill((len(SHARES), 1), float(a)), target, reward) for a in abstentions]
        curves[f"reward {reward:g}"] = tf.reduce_min(tf.stack(losses), axis=0)
    over_shares(axes, curves)
    axes.set_ylabel("loss at the best abstention")


def _attention_triplets(axes: Axes) -> None:
    teacher, wrong = (repeated(unit(blobs(np.array([step]))), len(STEPS)) for step in (0.0, 4.0))
    curves = {f"margin {m:g}": attention_triplet(unit(blobs(STEPS)), wrong, teacher, m) for m in (0.0, 0.5, 1.0)}
    over(
        axes, STEPS, curves, "from the teacher's map of the right class\nto the student's map of the wrong one [cells]"
    )


def _attention_transfers(axes: Axes) -> None:
    losses = attention_transfer(blobs(STEPS), repeated(blobs(np.array([0.0])), len(STEPS)))
    over(axes, STEPS, {"": losses}, BESIDE)


def _amds(axes: Axes) -> None:
    teacher = repeated(blobs(np.array([0.0])), len(STEPS))
    parts = zip(quadrants(blobs(STEPS)), quadrants(teacher), strict=True)
    local = tf.add_n([amd(*part) for part in parts]) / 4
    whole = amd(blobs(STEPS), teacher)
    curves = {"whole maps": whole, "with quadrants, local_share 0.2": 0.8 * whole + 0.2 * local}
    over(axes, STEPS, curves, BESIDE)


def _hints(axes: Axes) -> None:
    values = np.linspace(-2, 2, 81)
    maps = tf.constant(values.reshape(-1, 1, 1, 1), tf.float32)
    curves = {norm: hint(maps, tf.zeros_like(maps), norm) for norm in ("l2", "l1")}
    over(axes, values, curves, "student's mapped feature less the teacher's")


def _embedding_triplets(axes: Axes) -> None:
    other = directions(np.array([np.pi / 3]))
    label, known = tf.constant([0, 1]), tf.constant([True, True])
    curves = {}
    for margin in (0.0, 0.5):
        losses = []
        for angle in ANGLES[: len(ANGLES) // 2]:
            student = tf.concat([directions(np.array([angle])), other], axis=0)
            teacher = tf.concat([directions(np.array([0.0])), other], axis=0)
            losses.append(embedding_triplet(student, teacher, label, known, margin)[0])
        curves[f"margin {margin:g}"] = tf.stack(losses)
    over(axes, np.degrees(ANGLES[: len(ANGLES) // 2]), curves, "angle to the teacher's embedding [degrees]")
    axes.axvline(60, color="grey", linestyle=":")
    axes.text(59, axes.get_ylim()[1] * 0.95, "another class", ha="right", va="top", fontsize=8.5)


def _amcs(axes: Axes) -> None:
    angles = ANGLES / 4
    first = repeated(directions(np.array([0.0])), len(angles))
    kinds = {"two images of one class": True, "of two classes, margin 0.5": False}
    curves = {name: amc(first, directions(angles), tf.fill(len(angles), same)) for name, same in kinds.items()}
    over(axes, np.degrees(angles), curves, "angle between their embeddings [degrees]")


def _orthogonal_spheres(axes: Axes) -> None:
    both = tf.concat([repeated(directions(np.array([0.0])), len(ANGLES)), directions(ANGLES)], axis=1)
    over(axes, np.degrees(ANGLES), {"": orthogonal_sphere(both, 2)}, "angle between two blocks [degrees]")


def _oskds(axes: Axes) -> None:
    found = (0.25, 0.85)
    others = tf.constant([[share, 1 - share] for share in found])
    outputs = tf.constant(np.stack([SHARES, 1 - SHARES], axis=1), tf.float32)
    candidates = tf.fill((len(SHARES), len(found)), value=True)
    curves = {f"push {push:g}": oskd(outputs, others, candidates, 1, push) for push in (0.0, 0.2)}
    over(axes, 100 * SHARES, curves, "student's probability of a class [%]")
    for share in found:
        axes.axvline(100 * share, color="grey", linestyle=":")


PICTURES: dict[str, Callable[[Axes], None]] = {
    "hard_label": _hard_labels,
    "soft_label": _soft_labels,
    "mixed_label": _mixed_labels,
    "mix_kd": _mix_kds,
    "deep_gambler": _deep_gamblers,
    "attention_triplet": _attention_triplets,
    "attention_transfer": _attention_transfers,
    "amd": _amds,
    "hint": _hints,
    "embedding_triplet": _embedding_triplets,
    "amc": _amcs,
    "orthogonal_sphere": _orthogonal_spheres,
    "oskd": _oskds,
}


if __name__ == "__main__":
    main()
