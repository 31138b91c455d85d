"""The search at the start of an adaptation: for an earlier student that fits, else for the classes of a new one.

1. On the first `recheck` images earlier students are tried; one that fits serves at once.
2. In the first `find` images the frequent classes are found. A student is made for them: of the generic one and the
   earlier ones, the one that agrees most with the teacher on these images, with a head for the new classes; the logits
   of classes that stay are kept.

Our choice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from envise_tf.deferral.serving import ServingStudent, Shown
from envise_tf.distillation.learner import agreement_on
from envise_tf.networks.students import with_classes
from envise_tf.prior.frequent import frequent_predictions
from envise_tf.stream.journal import Journal
from envise_tf.stream.plan import AdaptPlan, Workshop


class Start(NamedTuple):
    """A network that a new student may start from.

    Attributes:
        name: what it is called in the event.
        network: of the kind that the workshop builds.
        classes: the teacher's class of each of its logits; None for all of them.
    """

    name: str
    network: tf.keras.Model
    classes: list[int] | None


class Beginner(NamedTuple):
    """A student that has still to be trained.

    Attributes:
        network: uint8 images -> logits.
        classes: int64 (classes,), the teacher's class of each of its logits, ascending.
    """

    network: tf.keras.Model
    classes: np.ndarray


class Search:
    """Looks at the first images of an adaptation.

    Responsible for who learns or serves next. Must not see an image that is held back for the promise.

    Args:
        plan: how.
        workshop: with what a student is made.
        journal: told of what is found.
        find: images in which the frequent classes are found, in place of the plan's.
        starts: what a new student may start from; none makes it start from scratch.
        reusable: earlier students to be tried first.
    """

    def __init__(
        self,
        plan: AdaptPlan,
        workshop: Workshop,
        journal: Journal,
        find: int,
        starts: Sequence[Start],
        reusable: Sequence[ServingStudent],
    ) -> None:
        self._plan, self._workshop, self._journal, self.find = plan, workshop, journal, find
        self._starts, self._reusable = starts, reusable
        self._has_rechecked = not reusable
        self._shown: list[Shown] = []
        self._probability = np.zeros(workshop.teacher_classes)

    def __len__(self) -> int:
        """Images looked at so far."""
        return sum(len(part.images) for part in self._shown)

    def found(self, shown: Shown, logits: np.ndarray) -> ServingStudent | Beginner | None:
        """Returns an earlier student that fits, a new one, or None while there are too few images.

        Args:
            shown: the next n images.
            logits: float (n, teacher's classes), what the teacher says of them.
        """
        self._shown.append(shown)
        self._probability += tf.nn.softmax(logits).numpy().sum(axis=0)
        if not self._has_rechecked and len(self) >= self._plan.recheck:
            self._has_rechecked = True
            fitting = self._fitting(self._all_shown())
            if fitting is not None:
                return fitting
        return self._beginner(self._all_shown()) if len(self) >= self.find else None

    def _all_shown(self) -> Shown:
        return Shown(*map(np.concatenate, zip(*self._shown, strict=True)))

    def _fitting(self, shown: Shown) -> ServingStudent | None:
        """Returns the earlier student that fits and answers most; None where none fits."""
        self._journal.tally.validated += len(shown.images) * len(self._reusable)
        fitting = [student for student in self._reusable if student.fits(shown)]
        if not fitting:
            return None
        best = max(fitting, key=lambda student: student.threshold.coverage)
        reason = f"an earlier student fits the last {len(shown.images)} images"
        self._journal.note("adapt", "reuse", reason, classes=best.classes.tolist())
        return best

    def _beginner(self, shown: Shown) -> Beginner:
        """Returns a student of the frequent classes with the best weights that are at hand."""
        found = self._frequent(shown.teacher_class)
        classes = found.tolist()
        student, agreement = self._workshop.build(len(classes)), []
        for start in self._starts:
            with_classes(student, start.network, classes, start.classes)
            agreement.append(agreement_on(student, classes, *shown))
        self._journal.tally.validated += len(shown.images) * len(self._starts)
        begins = "scratch"
        if agreement:
            best = self._starts[int(np.argmax(agreement))]
            with_classes(student, best.network, classes, best.classes)
            begins = f"{best.name} ({100 * max(agreement):.0f} % agreement)"
        reason = f"{len(classes)} classes are frequent in {len(shown.images)} images; the student starts from {begins}"
        self._journal.note("adapt", "classes", reason, classes=classes)
        return Beginner(student, found)

    def _frequent(self, teacher_class: np.ndarray) -> np.ndarray:
        """Returns the frequent classes, at least two: a student of one class would have nothing to tell apart."""
        found = frequent_predictions(teacher_class, self._plan.coverage, self._plan.min_share)
        likely = np.argsort(-self._probability, kind="stable")
        missing = likely[~np.isin(likely, found)][: max(0, 2 - len(found))]
        return np.sort(np.concatenate([found, missing]))

    def snapshot(self) -> dict[str, Any]:
        """Returns all that `restore` needs as plain values and arrays, but for what it was made with."""
        return {
            "has_rechecked": self._has_rechecked,
            "shown": list(self._all_shown()) if self._shown else [],
            "probability": self._probability,
        }

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Makes this the search, of the same arguments, that `snapshot` was taken of."""
        self._has_rechecked, self._probability = snapshot["has_rechecked"], snapshot["probability"]
        self._shown = [Shown(*snapshot["shown"])] if snapshot["shown"] else []
