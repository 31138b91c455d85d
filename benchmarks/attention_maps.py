"""python benchmarks/attention_maps.py RUN ...: where students look and where their teacher does, measured and shown.

Each RUN is a finished run of train on the same scenario with the same teacher, such as two kinds of
grids/attention.yaml. Grad-CAM maps of test images of inliers to which the teacher gives a class that the student has:
the teacher's and the student's of that class (right), and the student's of its most probable other class (wrong). What
the attention triplet asks for is measured as the cosine of the angle between two maps on the smaller of their grids,
1 = they look at the same place, and as the share of images whose right map is nearer to the teacher's than to the wrong
one. Images with a map of zeros, which looks nowhere, are left out and counted.

Writes attention_maps.json beside this file, and docs/attention_maps.png.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from common.scenario_run import opened_on_scenario
from grid import kind_of
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from envise_tf import progress
from envise_tf.errors import UserError, reports_user_errors
from envise_tf.evaluate.attention import right_and_wrong
from envise_tf.evaluate.test_pass import Examiner
from envise_tf.networks.grad_cam import resized_to_smaller, unit_maps
from envise_tf.run import Run, provenance

import tensorflow as tf  # isort: skip  (after envise_tf, which asks for Keras 2)

TARGET = Path(__file__).with_suffix(".json")
PICTURE = Path(__file__).parents[1] / "docs" / "attention_maps.png"
BATCH = 100
SHOWN = 8
"""Images in the picture."""


@dataclass(frozen=True, eq=False)
class Looks:
    """Where a run's networks look, on n images.

    Attributes:
        name: kind of student, see `grid.kind_of`.
        images: uint8 (n, height, width, 3).
        teacher_class: int64 (n,).
        agrees: bool (n,), whether the student gives the teacher's class.
        maps: "teacher", "right" and "wrong", float32 (n, h, w) >= 0, each on the grid of its network.
    """

    name: str
    images: np.ndarray
    teacher_class: np.ndarray
    agrees: np.ndarray
    maps: dict[str, np.ndarray]


def looks_of(folder: Path, most: int) -> Looks:
    """Returns where both networks of a run look, on its first test images of inliers that the student may know.

    Raises:
        UserError: the run is not finished, or has no scenario.
    """
    finished, networks, examiner = opened_on_scenario(folder)
    parts: list[dict[str, np.ndarray]] = []
    found = 0
    for images in progress.track(inliers(examiner).as_numpy_iterator(), folder.name):
        teacher_class = networks.teacher(images).argmax(axis=-1)
        is_known = networks.student_classes[teacher_class] >= 0
        images, teacher_class = images[is_known][: most - found], teacher_class[is_known][: most - found]
        logits = examiner.logits(images)
        own = right_and_wrong(logits, teacher_class, finished.teacher_classes)
        of_student = examiner.attention.maps("student", images, own)
        parts.append(
            {
                "images": images,
                "teacher_class": teacher_class,
                "agrees": logits.argmax(axis=-1) == own[:, 0],
                "teacher": examiner.attention.maps("teacher", images, teacher_class[:, np.newaxis])[:, 0],
                "right": of_student[:, 0],
                "wrong": of_student[:, 1],
            }
        )
        found += len(images)
        if found == most:
            break
    arrays = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    maps = {name: arrays.pop(name) for name in ("teacher", "right", "wrong")}
    return Looks(kind_of(folder), maps=maps, **arrays)


def inliers(examiner: Examiner) -> tf.data.Dataset:
    """Returns the test images of inliers, uint8 (batch, height, width, 3)."""
    outliers = tf.constant(examiner.outliers, tf.int64)
    kept = examiner.examples().filter(lambda example: ~tf.reduce_any(tf.cast(example["label"], tf.int64) == outliers))
    return kept.map(lambda example: example["image"]).batch(BATCH)


def figures(looks: Looks) -> dict[str, Any]:
    """Returns how alike the maps are, of all images and of those where both networks agree or differ."""
    student = np.stack([looks.maps["right"], looks.maps["wrong"]], axis=1)
    student, teacher = resized_to_smaller(tf.constant(student), tf.constant(looks.maps["teacher"][:, np.newaxis]))
    (student, no_student), (teacher, no_teacher) = unit_maps(student), unit_maps(teacher)
    right, wrong, guide = student[:, 0].numpy(), student[:, 1].numpy(), teacher[:, 0].numpy()
    is_seen = ~(no_student.numpy().any(axis=1) | no_teacher.numpy()[:, 0])
    to_teacher, to_wrong = (right * guide).sum(axis=1), (right * wrong).sum(axis=1)
    parts = {"all": is_seen, "agree": is_seen & looks.agrees, "differ": is_seen & ~looks.agrees}
    return {
        "kind": looks.name,
        "images": len(is_seen),
        "without_a_map": int((~is_seen).sum()),
        "agreement": float(looks.agrees.mean()),
        **{
            name: {
                "to_teacher": float(to_teacher[which].mean()),
                "to_wrong": float(to_wrong[which].mean()),
                "nearer_to_teacher": float((to_teacher > to_wrong)[which].mean()),
            }
            for name, which in parts.items()
            if which.any()
        },
    }


@reports_user_errors("start again")
def main() -> None:
    """Measures the runs and draws the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folder of a finished run of train")
    parser.add_argument("--images", type=int, default=1000, help="most test images")
    parser.add_argument("--out", type=Path, default=TARGET, help="the JSON")
    parser.add_argument("--picture", type=Path, default=PICTURE, help="the picture")
    flags = parser.parse_args()
    all_looks = [looks_of(folder, flags.images) for folder in flags.runs]
    if any(not np.array_equal(looks.images, all_looks[0].images) for looks in all_looks):
        raise UserError("the runs were tested on different images: expected runs on one scenario with one teacher")
    rows = [figures(looks) for looks in all_looks]
    content = {
        "command": " ".join(["python benchmarks/attention_maps.py", *map(str, flags.runs)]),
        "rows": rows,
        **provenance(),
    }
    Run(flags.out.parent).write_json(flags.out.name, content)
    picture(all_looks).savefig(flags.picture, dpi=100)
    _show(rows)


def picture(all_looks: list[Looks]) -> Figure:
    """Returns images with the teacher's map and each student's two, a column an image.

    The first images of different classes: half of them such as the first student agrees on, half of them not.
    """
    first = all_looks[0]
    shown: list[int] = []
    for agrees in (True, False):
        rows = np.flatnonzero(first.agrees == agrees)
        _, places = np.unique(first.teacher_class[rows], return_index=True)
        shown += list(rows[np.sort(places)][: SHOWN // 2])
    lines = [("image", None), ("teacher", first.maps["teacher"])]
    for looks in all_looks:
        lines += [(f"{looks.name}: right", looks.maps["right"]), (f"{looks.name}: wrong", looks.maps["wrong"])]
    figure = Figure(figsize=(1.1 * len(shown) + 1.2, 1.1 * len(lines)), layout="constrained")
    grid = figure.subplots(len(lines), len(shown), squeeze=False)
    for axes_of_line, (title, maps) in zip(grid, lines, strict=True):
        axes_of_line[0].set_ylabel(title, rotation=0, ha="right", va="center", fontsize=8)
        for axes, row in zip(axes_of_line, shown, strict=True):
            _draw(axes, first.images[row], None if maps is None else maps[row])
    return figure


def _draw(axes: Axes, image: np.ndarray, attention: np.ndarray | None) -> None:
    extent = (0, image.shape[1], image.shape[0], 0)
    if attention is None:
        axes.imshow(image, extent=extent)
    else:
        axes.imshow(image.mean(axis=-1), cmap="gray", extent=extent)
        axes.imshow(attention, cmap="inferno", alpha=0.6, interpolation="bilinear", extent=extent, vmin=0)
    axes.set(xticks=[], yticks=[])


def _show(rows: list[dict[str, Any]]) -> None:
    table = Table("student", "images", "agreement", "right map to teacher's", "to wrong map", "nearer to teacher's")
    for row in rows:
        of = row["all"]
        shares = (f"{of[name]:.3f}" for name in ("to_teacher", "to_wrong", "nearer_to_teacher"))
        table.add_row(row["kind"], str(row["images"]), f"{row['agreement']:.3f}", *shares)
    Console().print(table)


if __name__ == "__main__":
    main()
