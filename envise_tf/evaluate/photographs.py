"""Which held-back images of the stream a report shows, and what it says of them. No label is needed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from envise_tf.deferral.cascade import is_deferred
from envise_tf.deferral.held_back_images import HeldBackImages
from envise_tf.evaluate.evaluation import Evaluation
from envise_tf.report.pictures import Picture, photograph_uri

_SHOWN = 24
_ROWS_A_KIND = 3


@dataclass(frozen=True)
class RareClass:
    """A class that the teacher sees on the stream and the student lacks.

    Attributes:
        label: in the teacher's numbering.
        images: how many held-back ones the teacher puts in it.
        deferred: how many of these are left to the teacher.
    """

    label: int
    images: int
    deferred: int


def rare_classes(evaluation: Evaluation) -> list[RareClass]:
    """Returns the rare classes among all held-back images, the most frequent first."""
    images, left = Counter[int](), Counter[int]()
    parts = evaluation.choosing, evaluation.promising
    for part, seen in zip(parts, evaluation.seen[evaluation.score], strict=True):
        is_rare = part.pseudo_label < 0
        deferred = is_deferred(seen.score, seen.student_class, evaluation.threshold.values)
        images.update(part.teacher_class[is_rare].tolist())
        left.update(part.teacher_class[is_rare & deferred].tolist())
    ordered = sorted(images, key=lambda label: (-images[label], label))
    return [RareClass(label, images[label], left[label]) for label in ordered]


def surest(evaluation: Evaluation) -> list[Picture]:
    """Returns the images of the promise that the student answers with the highest scores, the highest first."""
    return _answered(evaluation, answered_rows(evaluation)[:_SHOWN])


def least_sure(evaluation: Evaluation) -> list[Picture]:
    """Returns the images of the promise that the student answers with the lowest scores, the lowest first.

    Those that are among the surest too, where it answers few, are left out.
    """
    return _answered(evaluation, answered_rows(evaluation)[_SHOWN:][::-1][:_SHOWN])


def deferred(evaluation: Evaluation) -> list[Picture]:
    """Returns the images of the promise that the student leaves to the teacher, the lowest scores first."""
    return _pictures(
        evaluation,
        deferred_rows(evaluation)[:_SHOWN],
        lambda student, teacher, _: f"teacher: {teacher}; student: {student}",
    )


def rare(evaluation: Evaluation) -> list[Picture]:
    """Returns held-back images that the teacher puts in a class that the student lacks, the surest first."""
    parts = (evaluation.choosing, evaluation.promising)
    found = [(part.confidence[row], part, row) for part in parts for row in np.flatnonzero(part.pseudo_label < 0)]
    found.sort(key=lambda each: -each[0])
    return [
        Picture(
            photograph_uri(part.outputs.images[row]),
            f"{evaluation.class_names[part.teacher_class[row]]} ({_sure(part, row)})",
        )
        for _, part, row in found[:_SHOWN]
    ]


def attention_rows(evaluation: Evaluation) -> list[list[Picture]]:
    """Returns rows of attention maps, see `Attention.rows`.

    Of the promise's images the surest answers, the least sure answers, and those that are furthest from being answered.
    """
    promising, answered = evaluation.promising, answered_rows(evaluation)
    kinds = {
        "surely answered": answered[:_ROWS_A_KIND],
        "just answered": answered[_ROWS_A_KIND:][-_ROWS_A_KIND:],
        "deferred": deferred_rows(evaluation)[:_ROWS_A_KIND],
    }
    rows = np.concatenate(list(kinds.values()))
    captions = [kind for kind, some in kinds.items() for _ in some]
    outputs = promising.outputs.chosen(rows)
    return evaluation.attention.rows(outputs.images, captions, promising.teacher_class[rows], outputs.logits)


def answered_rows(evaluation: Evaluation) -> np.ndarray:
    """Returns which images of the promise the student answers, int64 (m,), the highest scores first."""
    rows = np.flatnonzero(~evaluation.promising_deferred)
    return rows[np.argsort(-evaluation.seen[evaluation.score][1].score[rows], kind="stable")]


def deferred_rows(evaluation: Evaluation) -> np.ndarray:
    """Returns which images of the promise the student leaves to the teacher, int64 (m,), the lowest scores first."""
    rows = np.flatnonzero(evaluation.promising_deferred)
    return rows[np.argsort(evaluation.seen[evaluation.score][1].score[rows], kind="stable")]


def _answered(evaluation: Evaluation, rows: np.ndarray) -> list[Picture]:
    return _pictures(
        evaluation,
        rows,
        lambda student, teacher, agrees: student if agrees else f"{student}; teacher: {teacher}",
    )


def _pictures(evaluation: Evaluation, rows: np.ndarray, told: Callable[[str, str, bool], str]) -> list[Picture]:
    """Returns images of the promise; `told` is given what student and teacher say, and whether they agree."""
    names, promising = evaluation.class_names, evaluation.promising
    own = np.take(evaluation.finished.teacher_classes, promising.own_class)
    score = evaluation.seen[evaluation.score][1].score
    return [
        Picture(
            photograph_uri(promising.outputs.images[row]),
            told(
                f"{names[own[row]]}, score {score[row]:.3g}",
                f"{names[promising.teacher_class[row]]} ({_sure(promising, row)})",
                own[row] == promising.teacher_class[row],
            ),
        )
        for row in rows
    ]


def _sure(images: HeldBackImages, row: int) -> str:
    return f"{100 * images.confidence[row]:.0f}\N{NO-BREAK SPACE}%"
