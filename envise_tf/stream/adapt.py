"""ADAPT: the teacher answers, adapted to the class shares seen so far, until a student can promise enough.

1. An earlier student that fits is found, or the classes of a new one, see `search`.
2. A student that has a logit for each of them may serve without training, see `restriction`.
3. Otherwise, or where that is wanted, it trains, see `training`, on new images and on a replay buffer, on classes that
   it has. One image in five is held back: a third of these are for choosing; the others are for the promise and take
   no part in the search either.
4. While no promise can be made, the teacher answers alone, at its own cost, and the promise is tried again whenever the
   images for it have doubled. Where a student may be restricted or trained, training begins once it is expected to pay,
   see `payback`.

All of this is our choice.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from envise_tf.deferral.rules import flawless_images
from envise_tf.deferral.serving import ServingStudent, Shown
from envise_tf.images.halves import promising_share
from envise_tf.networks.macs import macs
from envise_tf.stream.change import ChangeDetector, unlikelihood
from envise_tf.stream.holdout import Holdout, Uses, Usher
from envise_tf.stream.journal import Journal, Replies
from envise_tf.stream.payback import pays_after
from envise_tf.stream.plan import AdaptPlan, Workshop
from envise_tf.stream.reservoir import Reservoir
from envise_tf.stream.restriction import SPARE, Restriction
from envise_tf.stream.search import Beginner, Search
from envise_tf.stream.training import Training
from envise_tf.stream.tries import Tries, spent_on_try


def earliest_service(plan: AdaptPlan, is_restricted: bool) -> int:
    """Returns how many images of a new stream it takes, about, until a student that makes no mistake may serve.

    Args:
        plan: how it is made.
        is_restricted: whether it may serve without training.
    """
    needed = flawless_images(plan.rule, plan.options, spent_on_try(1 - plan.options["confidence"], 1))
    promising = promising_share("shared")
    search = plan.find / (1 - promising)  # looks at all but the promising images
    if is_restricted:
        return math.ceil(search + max(0.0, SPARE * needed - promising * search))
    converged = min(search + 2 * (1 + plan.patience) * plan.window, plan.longest)
    return math.ceil(max(converged, needed / promising))


@dataclass
class _Progress:
    """How far an adaptation has come, in plain values.

    Attributes:
        began: position, in images of the stream.
        avoidable: images of the student's classes that the teacher has answered since they were found.
        is_alone: whether it was said that the teacher answers alone.
    """

    began: int
    avoidable: int = 0
    is_alone: bool = False


class Adapting:
    """One stretch of ADAPT, from a change to a student that serves.

    Responsible for the teacher's answers and for making a student that keeps its promise. Not for what comes after.

    Args:
        plan: how.
        workshop: with what.
        replay: training images of earlier stretches; more are added.
        journal: told of all that happens.
        search: for the student that serves or learns.
        tries: of the promise, none made yet.

    Attributes:
        classes: int64 (student's classes,), the teacher's class of each; empty until they are found.
    """

    def __init__(
        self,
        plan: AdaptPlan,
        workshop: Workshop,
        replay: Reservoir,
        journal: Journal,
        search: Search,
        tries: Tries,
    ) -> None:
        self._plan, self._workshop, self._replay, self._journal, self._search = plan, workshop, replay, journal, search
        self._progress, self._tries = _Progress(journal.position), tries
        self._usher = Usher(plan.block_of_time)
        shape, classes = replay.images.shape[1:], workshop.teacher.classes
        self._holdout = Holdout(plan.held_back, shape, classes, plan.seed + self._progress.began)
        self._detector = ChangeDetector(plan.false_alarms)
        self._beginner: Beginner | None = None
        self._restriction: Restriction | None = None
        self._training: Training | None = None
        self._pays_after: float | None = None

    @property
    def classes(self) -> np.ndarray:
        return np.zeros(0, np.int64) if self._beginner is None else self._beginner.classes

    def answer(self, images: np.ndarray) -> tuple[Replies, ServingStudent | str | None]:
        """Returns the teacher's answers, and how the adaptation ends with them: a student, a change's reason or not.

        Args:
            images: the next ones of the stream, uint8 (n, height, width, 3), n > 0; the journal counts them already.
        """
        teacher, count = self._workshop.teacher, len(images)
        shown, uses = Shown(images, teacher(images)), self._usher.uses(images, self._journal.position - count)
        beginner = self._beginner
        if beginner is None:
            self._search.look(shown.where(~uses.promising))
        adapted = Shown(images, teacher.adapted(shown.logits))
        self._journal.tally.labelled += count
        unknown = np.full(count, np.nan, np.float32)
        label = adapted.teacher_class
        nobody, all_images = np.zeros(count, bool), np.ones(count, bool)
        replies = Replies("adapt", label, nobody, all_images, unknown, label, shown.teacher_class, teacher.adaptation)
        self._holdout.add(shown, uses)
        is_trained_on = ~uses.held_back
        if beginner is not None:
            is_trained_on &= np.isin(label, beginner.classes)
        self._replay.add(images[is_trained_on], label[is_trained_on], label[is_trained_on])
        if beginner is None:
            return replies, self._searched()
        return replies, self._continued(beginner, shown, adapted, uses)

    def _searched(self) -> ServingStudent | None:
        """Returns an earlier student that fits; a new one is restricted or begins to learn."""
        found, waited = self._search.found(), self._journal.position - self._progress.began
        if isinstance(found, ServingStudent):
            return found
        if found is not None:
            self._begin(found)
        elif waited >= self._plan.longest:
            self._stay_alone(
                f"{len(self._search)} images are not held back for the promise, expected {self._search.find} to find "
                "classes in"
            )
        return None

    def _begin(self, beginner: Beginner) -> None:
        """Restricts a new student where it may serve without training, and trains it otherwise."""
        self._beginner, teacher = beginner, self._workshop.teacher
        teacher.assign(beginner.adaptation)
        self._replay.keep(beginner.classes)
        if not beginner.is_complete:
            self._training = self._trained(beginner, self._progress.began)
            return
        shown, promising = self._search.shown, self._holdout.promising
        choosing = Shown(shown.images, teacher.adapted(shown.logits))
        self._restriction = Restriction.begun(self._plan, self._workshop, beginner, choosing, self._tries)
        self._restriction.offer(Shown(promising.images, teacher.adapted(promising.labels)))
        self._journal.tally.validated += self._restriction.seen

    def _trained(self, beginner: Beginner, began: int) -> Training:
        if self._restriction is not None:  # It goes on to be tried as it is.
            network = self._workshop.build(len(beginner.classes))
            network.set_weights(beginner.network.get_weights())
            beginner = beginner._replace(network=network)
        return Training(
            self._plan,
            self._workshop,
            self._replay,
            self._journal,
            "adapt",
            beginner,
            self._holdout,
            self._tries,
            began,
        )

    # --- Until a promise is kept --------------------------------------------------------------------------------------

    def _continued(self, beginner: Beginner, shown: Shown, adapted: Shown, uses: Uses) -> ServingStudent | str | None:
        """Returns a student that keeps its promise, or why the stream has changed.

        Args:
            beginner: the student.
            shown: images with the teacher's logits as it came.
            adapted: the same with those of the adapted teacher.
            uses: of them.
        """
        teacher = self._workshop.teacher
        is_known = np.isin(adapted.teacher_class, beginner.classes)
        surprise = unlikelihood(shown.logits, teacher.adaptation)
        change = self._detector.noticed({"foreign": ~is_known, "unlikelihood": surprise})
        if change is not None:
            return f"while adapting, {change}"
        self._progress.avoidable += int(is_known.sum())
        student = self._restricted(adapted.where(uses.is_new))
        if student is None and self._training is None and self._pays(beginner):
            reason = "the teacher has answered for long enough that training is expected to pay"
            self._journal.note("adapt", "training", reason)
            self._training = self._trained(beginner, self._journal.position)
        if student is None and self._training is not None:
            student = self._training.advanced(shown.images[is_known & ~uses.held_back])
            if self._training.has_ended:
                self._stay_alone(self._training.why)
            else:
                self._progress.is_alone = False
        return student

    def _restricted(self, new: Shown) -> ServingStudent | None:
        """Returns the student that serves without training, once it keeps its promise."""
        restriction = self._restriction
        if restriction is None:
            return None
        before = restriction.seen
        restriction.offer(new)
        made = restriction.tried()
        self._journal.tally.validated += restriction.seen - before
        if isinstance(made, ServingStudent):
            threshold = made.threshold
            self._journal.note(
                "adapt",
                "threshold",
                f"{threshold.promise}; without training",
                coverage=threshold.coverage,
                images=self._journal.position - self._progress.began,
                steps=0,
                tries=self._tries.made,
            )
            return made
        if made is not None and self._training is None and not self._progress.is_alone:
            self._stay_alone(made)
        elif made is not None:
            self._journal.note("adapt", "postponed", made)
        return None

    def _pays(self, beginner: Beginner) -> bool:
        """Returns whether training is wanted and expected to pay, once the student has failed as it is."""
        if self._plan.adapt_by != "both" or not self._tries.made:
            return False
        if self._pays_after is None:
            self._pays_after = pays_after(self._plan.trained, macs(beginner.network), self._workshop.teacher.macs)
        return self._progress.avoidable >= self._pays_after

    def _stay_alone(self, reason: str) -> None:
        """Says once that the teacher answers alone."""
        if self._progress.is_alone:
            return
        self._progress.is_alone = True
        waited = self._journal.position - self._progress.began
        self._journal.note(
            "adapt",
            "alone",
            f"no promise can be made after {waited} images: no student trains, the teacher answers alone, and the "
            f"promise is tried again as images come; {reason}",
        )

    # --- Written down -------------------------------------------------------------------------------------------------

    def snapshot(self) -> dict[str, Any]:
        """Returns all that `restore` needs as plain values and arrays, but for what it was made with."""
        beginner, training = self._beginner, self._training
        return {
            "progress": dataclasses.asdict(self._progress),
            "usher": self._usher.snapshot(),
            "holdout": self._holdout.snapshot(),
            "detector": self._detector.snapshot(),
            "search": self._search.snapshot() if beginner is None else None,
            "beginner": None if beginner is None else beginner.snapshot(),
            "restriction": None if self._restriction is None else self._restriction.snapshot(),
            "training": None if training is None else training.snapshot(),
        }

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Makes this the stretch, of the same arguments, that `snapshot` was taken of."""
        self._progress = _Progress(**snapshot["progress"])
        self._usher.restore(snapshot["usher"])
        self._holdout.restore(snapshot["holdout"])
        self._detector.restore(snapshot["detector"])
        if snapshot["search"] is not None:
            self._search.restore(snapshot["search"])
            return
        self._beginner = Beginner.restored(snapshot["beginner"], self._workshop.build)
        self._workshop.teacher.assign(self._beginner.adaptation)
        if snapshot["restriction"] is not None:
            self._restriction = Restriction.restored(
                snapshot["restriction"], self._plan, self._workshop, self._beginner, self._tries
            )
        if snapshot["training"] is not None:
            self._training = self._trained(self._beginner, snapshot["training"]["began"])
            self._training.restore(snapshot["training"])
