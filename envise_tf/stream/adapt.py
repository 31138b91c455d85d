"""ADAPT: the teacher answers, and a student learns from its answers until a promise can be made.

1. An earlier student that fits is found, or the classes of a new one, see `search`.
2. It trains on new images and on a replay buffer, on classes that it has. One image in five is held back: a third of
   these are for choosing; the others are for the promise and take no part in the search either.
3. Agreement on the choosing images decides when it has converged, first at the full rate and then at a fifth of it. A
   threshold is then chosen on the promising ones, see `holdout`. If no promise can be made, training goes on, and the
   promise is tried again.
4. After `longest` images it trains no more. While no promise can be made, the teacher answers alone, at its own cost,
   and the promise is tried again whenever the images for it have doubled.

All of this is our choice.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from envise_tf.deferral.serving import ServingStudent, Shown, serving_student
from envise_tf.distillation.learner import Learner, agreement_on
from envise_tf.images.holding_back import block_fingerprints, fingerprints, is_held_back, is_promising
from envise_tf.stream.change import ChangeDetector
from envise_tf.stream.convergence import Convergence
from envise_tf.stream.holdout import Holdout, images_needed, spent_on_try
from envise_tf.stream.journal import Journal, Replies
from envise_tf.stream.plan import AdaptPlan, Workshop
from envise_tf.stream.reservoir import Reservoir
from envise_tf.stream.search import Beginner, Search

_SLOWER = 0.2
_SETTLING = 512
"""Images on which batch normalisation is settled before a measurement."""


@dataclass
class _Progress:
    """How far an adaptation has come, in plain values; positions count the images of the stream.

    Attributes:
        began: position.
        deadline: position at which training ends.
        measured: position of the last measurement.
        is_slow: whether the rate has been lowered.
        tries: of the promise.
        tried_on: distinct images that there were for the last try.
        is_alone: whether training has ended without a promise.
    """

    began: int
    deadline: int
    measured: int = 0
    is_slow: bool = False
    tries: int = 0
    tried_on: int = 0
    is_alone: bool = False


class Adaptation:
    """One stretch of ADAPT, from a change to a student that serves.

    Responsible for the teacher's answers and for making a student that keeps its promise. Not for what comes after.

    Args:
        plan: how.
        workshop: with what.
        replay: training images of earlier stretches; more are added.
        journal: told of all that happens.
        search: for the student that learns.

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
    ) -> None:
        self._plan, self._workshop, self._replay, self._journal, self._search = plan, workshop, replay, journal, search
        began = journal.position
        self._progress = _Progress(began, began + plan.longest)
        self._holdout = Holdout(plan.held_back, replay.images.shape[1:], plan.seed + began)
        self._detector = ChangeDetector(plan.false_alarms)
        self._convergence = Convergence(plan.floor, plan.improvement, plan.patience)
        self._learner: Learner | None = None
        self.classes = np.zeros(0, np.int64)

    def answer(self, images: np.ndarray) -> tuple[Replies, ServingStudent | str | None]:
        """Returns the teacher's answers, and how the adaptation ends with them: a student, a change's reason or not.

        Args:
            images: the next ones of the stream, uint8 (n, height, width, 3), n > 0; the journal counts them already.
        """
        logits = self._workshop.answers(images)
        shown = Shown(images, logits.argmax(axis=-1))
        self._journal.tally.labelled += len(images)
        unknown = np.full(len(images), np.nan, np.float32)
        replies = Replies("adapt", shown.teacher_class, np.zeros(len(images), bool), unknown, shown.teacher_class)
        held_back, promising = self._hold_back(shown)
        if self._learner is None:
            self._remember(shown, ~held_back)
            return replies, self._searched(Shown(*(part[~promising] for part in shown)), logits[~promising])
        is_known = np.isin(shown.teacher_class, self.classes)
        self._remember(shown, ~held_back & is_known)
        return replies, self._learned(self._learner, images[~held_back & is_known], ~is_known)

    def _hold_back(self, shown: Shown) -> tuple[np.ndarray, np.ndarray]:
        """Returns which images are held back, and which of these for the promise: bool (n,) each."""
        prints, count, block = fingerprints(shown.images), len(shown.images), self._plan.block
        sides = prints if block is None else block_fingerprints(self._journal.position - count, count, block)
        held_back, promising = is_held_back(sides), is_promising(sides)
        self._holdout.add(*(part[held_back] for part in (*shown, prints, promising)))
        return held_back, promising

    def _remember(self, shown: Shown, chosen: np.ndarray) -> None:
        images, teacher_class = (part[chosen] for part in shown)
        self._replay.add(images, teacher_class, teacher_class)

    def _searched(self, shown: Shown, logits: np.ndarray) -> ServingStudent | None:
        """Returns an earlier student that fits; a new one begins to learn."""
        progress, position = self._progress, self._journal.position
        found = self._search.found(shown, logits)
        if isinstance(found, ServingStudent):
            return found
        if found is not None:
            self._replay.keep(found.classes)
            self._learner, self.classes = self._new_learner(found), found.classes
            progress.measured = position
        elif position >= progress.deadline and not progress.is_alone:
            self._stay_alone(
                f"{len(self._search)} images are not held back for the promise, expected {self._search.find} to find "
                "classes in"
            )
        return None

    def _new_learner(self, beginner: Beginner) -> Learner:
        plan, workshop = self._plan, self._workshop
        return Learner(
            beginner.network,
            workshop.teacher,
            beginner.classes.tolist(),
            workshop.objectives,
            plan.learning_rate,
            plan.augmentation,
            plan.batch_size,
            plan.seed + self._progress.began,
        )

    # --- Until it keeps its promise -----------------------------------------------------------------------------------

    def _learned(self, learner: Learner, new: np.ndarray, is_foreign: np.ndarray) -> ServingStudent | str | None:
        """Trains, and now and then measures and tries the promise.

        Args:
            learner: of the student.
            new: uint8 images to train on, of classes that the student has.
            is_foreign: bool (n,), of all images, whether the student lacks their class.
        """
        change = self._detector.noticed({"foreign": is_foreign})
        if change is not None:
            return f"while adapting, {change}"
        progress = self._progress
        if progress.is_alone and (learner.steps or not len(self._replay)):
            return self._retried(learner)
        if progress.is_alone:  # For want of images to train on, of which there are now.
            progress.is_alone, progress.deadline = False, self._journal.position + self._plan.longest
        self._train(learner, new)
        if self._journal.position - progress.measured >= self._plan.window:
            return self._measured(learner)
        return None

    def _train(self, learner: Learner, new: np.ndarray) -> None:
        plan, tally = self._plan, self._journal.tally
        for step in range(plan.steps if len(self._replay) else 0):
            images = new[: plan.batch_size] if not step else new[:0]
            learner.learn(np.concatenate([images, self._replay.sample(plan.batch_size - len(images))]))
            tally.trained += plan.batch_size
            tally.taught += plan.batch_size

    def _measured(self, learner: Learner) -> ServingStudent | None:
        """Returns the student if it has converged, or the time is up, and it keeps its promise."""
        progress, position = self._progress, self._journal.position
        progress.measured = position
        has_converged, is_last = self._has_converged(learner), position >= progress.deadline
        if has_converged and not progress.is_slow and not is_last:
            learner.rate *= _SLOWER
            progress.is_slow = True
            self._convergence.be_patient_again()
        elif has_converged or is_last:
            made = self._lacking() or self._tried(learner)
            if isinstance(made, ServingStudent):
                return made
            if is_last:
                self._stay_alone(made)
            else:
                self._convergence.be_patient_again()
                self._journal.note("adapt", "postponed", made)
        return None

    def _has_converged(self, learner: Learner) -> bool:
        """Measures agreement, if there are images to measure it on; returns whether it stands still."""
        choosing, journal = self._holdout.choosing, self._journal
        if not len(choosing) or not len(self._replay):
            return False
        learner.settle(self._replay.sample(_SETTLING))
        journal.tally.validated += len(choosing) + _SETTLING
        agreement = agreement_on(learner.student, self.classes.tolist(), choosing.images, choosing.labels)
        journal.agreement = agreement
        reason = f"agreement {agreement:.3f} on {len(choosing)} held-back images"
        journal.note("adapt", "measured", reason, **learner.means())
        return self._convergence.is_reached(agreement)

    # --- The promise --------------------------------------------------------------------------------------------------

    @property
    def _delta(self) -> float:
        """The chance that the next try of the promise may be wrong with."""
        return spent_on_try(1 - self._plan.confidence, self._progress.tries + 1)

    def _lacking(self) -> str | None:
        """Returns why a try would be wasted, whatever the student: which images there are too few of."""
        needed = images_needed(self._plan.epsilon, self._delta)
        for images, least, use in (
            (self._replay, 1, "to train on"),
            (self._holdout.choosing, 1, "held back to choose by"),
            (self._holdout.promising, needed, "held back for the promise"),
        ):
            if len(images) < least:
                return f"there are {len(images)} images {use}, expected at least {least}"
        return None

    def _tried(self, learner: Learner) -> ServingStudent | str:
        """Returns the student with a threshold that keeps the promise, or why there is none."""
        plan, progress, journal = self._plan, self._progress, self._journal
        choosing, promising = self._holdout.choosing, self._holdout.promising
        delta = self._delta
        progress.tries += 1
        progress.tried_on = self._holdout.promised
        journal.tally.validated += len(choosing) + len(promising)
        student = serving_student(
            learner.student,
            self.classes,
            Shown(choosing.images, choosing.labels),
            Shown(promising.images, promising.labels),
            self._workshop.teacher_classes,
            plan.epsilon,
            plan.confidence,
            delta,
        )
        threshold = student.threshold
        if threshold.why_all_deferred is not None:
            return threshold.why_all_deferred
        journal.note(
            "adapt",
            "threshold",
            threshold.promise,
            agreement=journal.agreement,
            coverage=threshold.coverage,
            images=journal.position - progress.began,
            steps=learner.steps,
            tries=progress.tries,
        )
        return student

    def _stay_alone(self, reason: str) -> None:
        self._progress.is_alone = True
        self._progress.tried_on = self._holdout.promised
        waited = self._journal.position - self._progress.began
        self._journal.note(
            "adapt",
            "alone",
            f"no promise can be made after {waited} images: training ends, the teacher answers alone, and the promise "
            f"is tried again as images come; {reason}",
        )

    def _retried(self, learner: Learner) -> ServingStudent | None:
        """Tries the promise again, without training, once the images for it have doubled."""
        if self._holdout.promised < 2 * self._progress.tried_on or self._lacking() is not None:
            return None
        made = self._tried(learner)
        if isinstance(made, ServingStudent):
            return made
        self._journal.note("adapt", "postponed", made)
        return None

    # --- Written down -------------------------------------------------------------------------------------------------

    def snapshot(self) -> dict[str, Any]:
        """Returns all that `restore` needs as plain values and arrays, but for what it was made with."""
        return {
            "progress": dataclasses.asdict(self._progress),
            "convergence": dataclasses.asdict(self._convergence),
            "holdout": self._holdout.snapshot(),
            "detector": self._detector.snapshot(),
            "classes": self.classes,
            "search": self._search.snapshot() if self._learner is None else None,
            "learner": None if self._learner is None else self._learner.snapshot(),
        }

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Makes this the adaptation, of the same arguments, that `snapshot` was taken of."""
        self._progress, self._convergence = _Progress(**snapshot["progress"]), Convergence(**snapshot["convergence"])
        self._holdout.restore(snapshot["holdout"])
        self._detector.restore(snapshot["detector"])
        self.classes = snapshot["classes"]
        if snapshot["search"] is not None:
            self._search.restore(snapshot["search"])
        if snapshot["learner"] is not None:
            self._learner = self._new_learner(Beginner(self._workshop.build(len(self.classes)), self.classes))
            self._learner.restore(snapshot["learner"])
