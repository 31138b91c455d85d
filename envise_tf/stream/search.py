"""The search at the start of an adaptation: for an earlier student that fits, else for the classes of a new one.

1. The class shares are estimated from the first image on, anew with each batch, and the teacher is adapted to them.
2. On the first `recheck` images earlier students are tried, each with its teacher adapted to the shares that it served
   under; one that fits serves at once.
3. In the first `find` images the frequent classes are found, from the shares and their bootstrap intervals. A student
   is made for them: of the generic one and the earlier ones, the one that agrees most with the teacher on these images,
   with a head for the new classes; the logits of classes that stay are kept, shifted as the prior was.

Our choice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from envise_tf.deferral.serving import Build, ServingStudent, Shown
from envise_tf.distillation.learner import agreement_on
from envise_tf.networks.students import with_classes
from envise_tf.prior.adaptation import Adaptation
from envise_tf.prior.estimation import WindowPrior
from envise_tf.prior.frequent import frequent_classes
from envise_tf.stream.journal import Journal
from envise_tf.stream.plan import AdaptPlan, Workshop


class Start(NamedTuple):
    """A network that a new student may start from.

    Attributes:
        name: what it is called in the event.
        network: of the kind that the workshop builds.
        classes: the teacher's class of each of its logits; None for all of them.
        adaptation: of the teacher, under which its logits hold.
    """

    name: str
    network: tf.keras.Model
    classes: list[int] | None
    adaptation: Adaptation


class Beginner(NamedTuple):
    """A new student.

    Attributes:
        network: uint8 images -> logits.
        classes: int64 (classes,), the teacher's class of each of its logits, ascending.
        adaptation: of the teacher, to the shares that they were found from.
        is_complete: whether all of its logits have been trained, for another prior.
    """

    network: tf.keras.Model
    classes: np.ndarray
    adaptation: Adaptation
    is_complete: bool

    def snapshot(self) -> dict[str, Any]:
        """Returns all that `restored` needs as plain values and arrays, without a network's graph."""
        plain = {"weights": self.network.get_weights(), "adaptation": self.adaptation.as_dict()}
        return {**plain, "classes": self.classes, "is_complete": self.is_complete}

    @classmethod
    def restored(cls, snapshot: Mapping[str, Any], build: Build) -> Beginner:
        """Returns the student that `snapshot` was taken of."""
        network = build(len(snapshot["classes"]))
        network.set_weights(snapshot["weights"])
        adaptation = Adaptation.from_dict(snapshot["adaptation"])
        return cls(network, snapshot["classes"], adaptation, snapshot["is_complete"])


class Search:
    """Looks at the first images of an adaptation.

    Responsible for the class shares, and for who learns or serves next. Must not see an image that is held back for the
    promise.

    Args:
        plan: how.
        workshop: with what a student is made; its teacher is adapted to the shares as they are found.
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
        classes = workshop.teacher.classes
        self._parts: list[Shown] = []
        self._none = Shown(np.zeros((0, 0, 0, 3), np.uint8), np.zeros((0, classes), np.float32))
        self._shares = WindowPrior(2 * find, workshop.teacher.adaptation.source_prior)

    def __len__(self) -> int:
        """Images looked at so far."""
        return sum(len(part.images) for part in self._parts)

    @property
    def shown(self) -> Shown:
        """The images looked at so far, with the teacher's logits as it came."""
        return Shown(*map(np.concatenate, zip(*self._parts, strict=True))) if self._parts else self._none

    def look(self, shown: Shown) -> None:
        """Looks at the next images, with the teacher's logits as it came; it is adapted to all so far."""
        if len(shown.images):
            self._parts.append(shown)
        teacher = self._workshop.teacher
        teacher.assign_prior(self._shares.update(teacher.adaptation.calibration.logits(shown.logits)))

    def found(self) -> ServingStudent | Beginner | None:
        """Returns an earlier student that fits, a new one, or None while there are too few images."""
        if not self._has_rechecked and len(self) >= self._plan.recheck:
            self._has_rechecked = True
            fitting = self._fitting(self.shown)
            if fitting is not None:
                return fitting
        return self._beginner(self.shown) if len(self) >= self.find else None

    def _fitting(self, shown: Shown) -> ServingStudent | None:
        """Returns the earlier student that fits and answers most; None where none fits."""
        self._journal.tally.validated += len(shown.images) * len(self._reusable)
        adapted = self._workshop.teacher.adapted
        fitting = [
            each for each in self._reusable if each.fits(Shown(shown.images, adapted(shown.logits, each.adaptation)))
        ]
        if not fitting:
            return None
        best = max(fitting, key=lambda student: student.threshold.coverage)
        reason = f"an earlier student fits the last {len(shown.images)} images"
        self._journal.note("adapt", "reuse", reason, classes=best.classes.tolist(), prior=as_shares(best.adaptation))
        return best

    # --- A new student ------------------------------------------------------------------------------------------------

    def _beginner(self, shown: Shown) -> Beginner:
        """Returns a student of the frequent classes with the best weights that are at hand."""
        teacher = self._workshop.teacher
        adaptation = teacher.adaptation_to(shown.logits)
        found = self._frequent(adaptation)
        classes = found.tolist()
        student, begins = self._workshop.build(len(classes)), "scratch"
        starts = self._fit_to_serve(classes) or self._starts
        if starts:
            adapted = Shown(shown.images, teacher.adapted(shown.logits, adaptation))
            best, begins = self._best_start(starts, student, classes, adaptation, adapted)
            self._begin_from(best, student, classes, adaptation)
        reason = f"{len(classes)} classes are frequent in {len(shown.images)} images; the student starts from {begins}"
        self._journal.note("adapt", "classes", reason, classes=classes, prior=as_shares(adaptation))
        return Beginner(student, found, adaptation, is_complete=bool(self._fit_to_serve(classes)))

    def _best_start(
        self,
        starts: Sequence[Start],
        student: tf.keras.Model,
        classes: list[int],
        adaptation: Adaptation,
        shown: Shown,
    ) -> tuple[Start, str]:
        """Returns the start that agrees most with the adapted teacher, and its name; a single one is not measured."""
        if len(starts) == 1:
            return starts[0], starts[0].name
        self._journal.tally.validated += len(shown.images) * len(starts)
        agreement = []
        for start in starts:
            self._begin_from(start, student, classes, adaptation)
            agreement.append(agreement_on(student, classes, shown.images, shown.teacher_class))
        best = starts[int(np.argmax(agreement))]
        return best, f"{best.name} ({100 * max(agreement):.0f} % agreement)"

    def _fit_to_serve(self, classes: list[int]) -> list[Start]:
        """Returns the starts that may serve without training: those with a logit for every class, if that is wanted."""
        if self._plan.adapt_by == "training":
            return []
        return [each for each in self._starts if each.classes is None or set(classes) <= set(each.classes)]

    def _begin_from(self, start: Start, student: tf.keras.Model, classes: list[int], adaptation: Adaptation) -> None:
        """Gives a student the weights of a start, with its bias moved from the start's prior to the new one."""
        with_classes(student, start.network, classes, start.classes)
        log_ratio = self._workshop.teacher.log_ratio
        *others, bias = student.get_weights()
        student.set_weights([*others, bias + (log_ratio(adaptation) - log_ratio(start.adaptation))[classes]])

    def _frequent(self, adaptation: Adaptation) -> np.ndarray:
        """Returns the frequent classes, at least two: a student of one class would have nothing to tell apart."""
        prior, plan = adaptation.estimate, self._plan
        found = frequent_classes(prior, adaptation.lower, plan.coverage, plan.min_share)
        likely = np.argsort(-prior, kind="stable")
        missing = likely[~np.isin(likely, found)][: max(0, 2 - len(found))]
        return np.sort(np.concatenate([found, missing]))

    def snapshot(self) -> dict[str, Any]:
        """Returns all that `restore` needs as plain values and arrays, but for what it was made with."""
        return {"has_rechecked": self._has_rechecked, "shown": list(self.shown), "shares": self._shares.prior}

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Makes this the search, of the same arguments, that `snapshot` was taken of."""
        self._has_rechecked = snapshot["has_rechecked"]
        self.look(Shown(*snapshot["shown"]))
        self._shares.prior = snapshot["shares"]
        self._workshop.teacher.assign_prior(self._shares.prior)


def as_shares(adaptation: Adaptation) -> list[float]:
    """Returns the class shares as an event holds them."""
    return np.round(adaptation.estimate, 5).tolist()
