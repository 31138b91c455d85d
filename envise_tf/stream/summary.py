"""What a stream, or a part of it, came to: how right, how cheap, and whether adapting has paid for itself.

Work is counted in FLOPs, as in `measures.gie`. With S images that the student saw while serving, D + A of them
that the teacher was asked about (deferred or audited), L labels while adapting, X images that the teacher saw once more
in training steps, T images in training steps of the student, and V images that measured it, all the work is

    W = S F_S + (D + A + L + X) F_T + (3 T + V) F_S'

where F_S' is the student's forward pass in float. A stream of N images has

    gie       = 1 - (S F_S + (D + A) F_T) / (S F_T)        while serving
    gie_total = 1 - W / (N F_T)                            everything charged

Off the device, training (X, T and V) is somebody else's work and is left out of W. Images between two rows of work.csv
share their work evenly, so that the parts of a stream add up to the whole. All of this is our choice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from envise_tf.measures.gie import FORWARDS_A_TRAINING_STEP, break_even, gie
from envise_tf.stream.record import COUNTS, Record

_ON_ANY_DEVICE = np.array([True, True, True, True, False, False, False])
"""Which of the counts a device pays that does not train."""

WINDOW = 500
"""Images that a rolling figure looks back on."""


@dataclass(frozen=True)
class Flops:
    """FLOPs of one image.

    Attributes:
        student: binary, serving.
        student_as_float: a forward pass in training.
        teacher: a forward pass.
    """

    student: float
    student_as_float: float
    teacher: float

    @classmethod
    def of(cls, result: Mapping[str, Any]) -> Flops:
        """Returns those of a run, from "work" in its result."""
        work = result["work"]
        return cls(work["student_flops"], work["student_flops_as_float"], work["teacher_flops"])

    def spent(self, counts: np.ndarray) -> np.ndarray:
        """Returns the FLOPs behind counts (..., 7), float64 (..., 7)."""
        trained = FORWARDS_A_TRAINING_STEP * self.student_as_float
        return counts * np.array([self.student, *[self.teacher] * 4, trained, self.student_as_float])


@dataclass(frozen=True)
class Summary:
    """What a stretch of the stream came to; shares in 0..1, None for what does not exist.

    Attributes:
        answered: images.
        accuracy: of the cascade, where the true class is known.
        accuracy_teacher: of the teacher on the same images, None unless it is known for all of them.
        accuracy_raw_teacher: likewise, of the teacher as it came.
        agreement: of the answers with the teacher's, None unless the teacher is known for all images: where it is known
            for those alone that it was asked about, every answer is its own.
        serving: share of the images that came while serving.
        deferral_rate: share of these that the teacher answered, audited ones among them.
        unpromised: share of these that the student answered beyond the budget for the teacher; None where none was.
        gie: while serving.
        gie_total: everything charged.
        gie_total_off_device: everything but training charged.
    """

    answered: int
    accuracy: float | None = None
    accuracy_teacher: float | None = None
    accuracy_raw_teacher: float | None = None
    agreement: float | None = None
    serving: float | None = None
    deferral_rate: float | None = None
    unpromised: float | None = None
    gie: float | None = None
    gie_total: float | None = None
    gie_total_off_device: float | None = None


def summary(record: Record, flops: Flops, first: int = 0, stop: int | None = None) -> Summary:
    """Returns what the images at positions first..stop-1 came to; None is the end of the record."""
    rows = record.rows(first, stop)
    answered = rows.stop - rows.start
    if answered <= 0:
        return Summary(0)
    is_serving, label, teacher = record.is_serving[rows], record.label[rows], record.teacher[rows]
    truth, is_labelled, all_asked = record.truth[rows], record.truth[rows] >= 0, bool((teacher >= 0).all())
    has_teacher = is_labelled & bool((teacher[is_labelled] >= 0).all())
    end = int(record.image[-1]) + 1 if stop is None else stop
    spent = flops.spent(record.counts_before(end) - record.counts_before(first))
    return Summary(
        answered,
        accuracy=_share(label == truth, is_labelled),
        accuracy_teacher=_share(teacher == truth, has_teacher),
        accuracy_raw_teacher=_share(record.raw[rows] == truth, has_teacher),
        agreement=_share(label == teacher, teacher >= 0) if all_asked else None,
        serving=float(is_serving.mean()),
        deferral_rate=_share(~record.by_student[rows], is_serving),
        unpromised=_share(~record.promised[rows], is_serving) or None,
        gie=_gie_serving(record, rows, flops),
        gie_total=float(1 - spent.sum() / (answered * flops.teacher)),
        gie_total_off_device=float(1 - spent[_ON_ANY_DEVICE].sum() / (answered * flops.teacher)),
    )


def _gie_serving(record: Record, rows: slice, flops: Flops) -> float | None:
    is_serving = record.is_serving[rows]
    asked = np.sum(record.asked[rows] & is_serving)
    return float(gie(is_serving.sum(), asked, flops.student, flops.teacher)) if is_serving.any() else None


def _share(hits: np.ndarray, counted: np.ndarray) -> float | None:
    """Returns the share of hits among the images that count, None of none."""
    return float(hits[counted].mean()) if counted.any() else None


# --- Adapting, and what it earned ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stretch:
    """A stretch of ADAPT and the stretch of SERVE that followed.

    Attributes:
        first: position of its first image.
        images: that came while adapting.
        training_flops: of training and measuring; the labels are not among them, see `stretches`.
        served: images of the SERVE that followed, 0 where none did.
        gie: there; None where none followed.
        break_even: served images after which training has paid for itself at this GiE: inf where nothing is gained,
            None where nothing was served.
        break_even_off_device: the same where training runs elsewhere: 0 where anything is gained, else inf.
    """

    first: int
    images: int
    training_flops: float
    served: int
    gie: float | None
    break_even: float | None
    break_even_off_device: float | None


def stretches(record: Record, flops: Flops) -> tuple[Stretch, ...]:
    """Returns every stretch of ADAPT, in order.

    A label costs nothing more than the teacher alone would, for it is the answer to its image. So what has to be paid
    back is training, and at the break-even `gie_total`, counted from the stretch's first image on, is 0.
    """
    parts = states(record)
    following = [*parts[1:], None]
    return tuple(
        _stretch(record, flops, rows, serving[1] if serving else None)
        for (is_serving, rows), serving in zip(parts, following, strict=True)
        if not is_serving
    )


def _stretch(record: Record, flops: Flops, adapting: slice, serving: slice | None) -> Stretch:
    first, last = int(record.image[adapting.start]), int(record.image[adapting.stop - 1])
    spent = flops.spent(record.counts_before(last + 1) - record.counts_before(first))
    training = float(spent[~_ON_ANY_DEVICE].sum())
    gained = None if serving is None else _gie_serving(record, serving, flops)
    return Stretch(
        first=first,
        images=adapting.stop - adapting.start,
        training_flops=training,
        served=0 if serving is None else serving.stop - serving.start,
        gie=gained,
        break_even=None if gained is None else float(break_even(gained, flops.teacher, training)),
        break_even_off_device=None if gained is None else float(break_even(gained, flops.teacher, 0.0)),
    )


def states(record: Record) -> list[tuple[bool, slice]]:
    """Returns the stretches of one state: whether it was serving, and the rows."""
    starts = np.flatnonzero(np.diff(record.is_serving)) + 1
    bounds = [0, *starts.tolist(), len(record.image)]
    return [(bool(record.is_serving[start]), slice(start, stop)) for start, stop in pairwise(bounds)]


# --- Parts of a stream -----------------------------------------------------------------------------------------------


def by_phase(record: Record, flops: Flops, phases: Sequence[Mapping[str, Any]]) -> list[tuple[str, Summary]]:
    """Returns each phase that the stream has come to: its name and what it came to.

    Args:
        record: of the run.
        flops: of an image.
        phases: each with "name", "start" and "images", in order.
    """
    found = [(p["name"], summary(record, flops, p["start"], p["start"] + p["images"])) for p in phases]
    return [(name, one) for name, one in found if one.answered]


def rolling_share(hits: np.ndarray, counted: np.ndarray, window: int = WINDOW) -> np.ndarray:
    """Returns the share of hits among those of the last `window` images that count, float64 (n,).

    NaN where fewer than a tenth of the window count: a share of a few images is noise.

    Args:
        hits: bool (n,).
        counted: bool (n,).
        window: images, >= 1; the first images look back on fewer.
    """
    found, total = (_last(values, window) for values in (hits & counted, counted))
    return np.divide(found, total, out=np.full(len(found), np.nan), where=total >= max(1, window / 10))


def _last(values: np.ndarray, window: int) -> np.ndarray:
    """Returns the sums over the last `window` values, int64 (n,)."""
    sums = np.append(0, np.cumsum(values))
    ends = np.arange(1, len(sums))
    return sums[ends] - sums[np.maximum(ends - window, 0)]


def gie_total_so_far(record: Record, flops: Flops, on_device: bool) -> np.ndarray:
    """Returns gie_total from the start of the stream up to the end of each batch, float64 (m,).

    Args:
        record: of n images and m batches.
        flops: of an image.
        on_device: whether training is charged.
    """
    charged = np.ones(len(COUNTS), bool) if on_device else _ON_ANY_DEVICE
    images = np.searchsorted(record.image, record.work_image, side="right")
    spent = flops.spent(record.counts)[:, charged].sum(axis=-1)
    return 1 - spent / (np.maximum(images, 1) * flops.teacher)
