"""A student in training on the stream, until it keeps its promise or its time is up.

Agreement on the choosing images decides when it has converged, first at the full rate and then at a fifth of it. A
threshold is then chosen on the promising ones. If no promise can be made, training goes on, and the promise is tried
again. After `longest` images it ends. Our choice.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from envise_tf.deferral.rules import flawless_images
from envise_tf.deferral.serving import ScoredStudent, ServingStudent, Shown
from envise_tf.distillation.learner import Learner, agreement_on
from envise_tf.stream.convergence import Convergence
from envise_tf.stream.holdout import Holdout
from envise_tf.stream.journal import Journal, State
from envise_tf.stream.plan import AdaptPlan, Workshop
from envise_tf.stream.reservoir import Reservoir
from envise_tf.stream.search import Beginner
from envise_tf.stream.tries import Tries

_SLOWER = 0.2
_SETTLING = 512
"""Images on which batch normalisation is settled before a measurement."""


@dataclass
class _Course:
    """How far a training has come, in plain values; positions count the images of the stream.

    Attributes:
        deadline: position at which training ends.
        measured: position of the last measurement.
        is_slow: whether the rate has been lowered.
        tried_on: distinct promising images that there were for the last try.
        has_ended: whether training has ended without a promise.
        why: there is none.
    """

    deadline: int
    measured: int
    is_slow: bool = False
    tried_on: int = 0
    has_ended: bool = False
    why: str = ""


class Training:
    """Trains a student a batch at a time, and tries its promise.

    Responsible for the student. Not for what the stream is answered meanwhile, nor for which images are held back.

    Args:
        plan: how.
        workshop: with what.
        replay: training images of earlier batches; the caller adds new ones.
        journal: told of all that happens.
        state: in which it happens.
        beginner: the student.
        holdout: images that it is measured and promised on, with the teacher's logits as it came; the caller adds them.
        tries: shared with whatever else is tried on this stretch of the stream.
        began: position at which the time until the deadline begins.
        further_than: coverage that a promise must exceed to be worth anything, in 0..1.

    Attributes:
        holdout: as given.
    """

    def __init__(
        self,
        plan: AdaptPlan,
        workshop: Workshop,
        replay: Reservoir,
        journal: Journal,
        state: State,
        beginner: Beginner,
        holdout: Holdout,
        tries: Tries,
        began: int,
        further_than: float = -1.0,
    ) -> None:
        self._plan, self._workshop, self._replay, self._journal = plan, workshop, replay, journal
        self._state, self._beginner, self.holdout, self._tries = state, beginner, holdout, tries
        self._began, self._further_than = began, further_than
        deadline = began + plan.longest
        is_late = deadline <= journal.position
        self._course = _Course(journal.position + plan.longest if is_late else deadline, journal.position)
        self._convergence = Convergence(plan.floor, plan.improvement, plan.patience)
        self._learner = Learner(
            beginner.network,
            workshop.teacher.network,
            beginner.classes.tolist(),
            workshop.objectives,
            plan.learning_rate,
            plan.augmentation,
            plan.batch_size,
            plan.seed + began,
        )

    @property
    def has_ended(self) -> bool:
        """Whether its time is up without a promise."""
        return self._course.has_ended

    @property
    def why(self) -> str:
        """Why there is no promise, once it has ended."""
        return self._course.why

    def advanced(self, new: np.ndarray) -> ServingStudent | None:
        """Trains, and now and then measures and tries the promise; returns the student once it keeps it.

        Args:
            new: uint8 (n, height, width, 3), further training images of its classes.

        Raises:
            DivergenceError: the loss is no longer finite.
        """
        course = self._course
        if course.has_ended and (self._learner.steps or not len(self._replay)):
            return self._retried()
        if course.has_ended:  # For want of images to train on, of which there are now.
            course.has_ended, course.deadline = False, self._journal.position + self._plan.longest
        self._train(new)
        if self._journal.position - course.measured >= self._plan.window:
            return self._measured()
        return None

    def _train(self, new: np.ndarray) -> None:
        plan, tally = self._plan, self._journal.tally
        for step in range(plan.steps if len(self._replay) else 0):
            images = new[: plan.batch_size] if not step else new[:0]
            self._learner.learn(np.concatenate([images, self._replay.sample(plan.batch_size - len(images))]))
            tally.trained += plan.batch_size
            tally.taught += plan.batch_size

    def _measured(self) -> ServingStudent | None:
        """Returns the student if it has converged, or the time is up, and it keeps its promise."""
        course, position = self._course, self._journal.position
        course.measured = position
        has_converged, is_last = self._has_converged(), position >= course.deadline
        if has_converged and not course.is_slow and not is_last:
            self._learner.rate *= _SLOWER
            course.is_slow = True
            self._convergence.be_patient_again()
        elif has_converged or is_last:
            made = self._lacking() or self._tried()
            if isinstance(made, ServingStudent):
                return made
            if is_last:
                course.has_ended, course.tried_on, course.why = True, self.holdout.promised, made
            else:
                self._convergence.be_patient_again()
                self._journal.note(self._state, "postponed", made)
        return None

    def _has_converged(self) -> bool:
        """Measures agreement, if there are images to measure it on; returns whether it stands still."""
        journal = self._journal
        if not len(self.holdout.choosing) or not len(self._replay):
            return False
        choosing = self._adapted(self.holdout.choosing)
        self._learner.settle(self._replay.sample(_SETTLING))
        journal.tally.validated += len(choosing.images) + _SETTLING
        classes = self._beginner.classes.tolist()
        agreement = agreement_on(self._learner.student, classes, choosing.images, choosing.teacher_class)
        journal.agreement = agreement
        reason = f"agreement {agreement:.3f} on {len(choosing.images)} held-back images"
        journal.note(self._state, "measured", reason, **self._learner.means())
        return self._convergence.is_reached(agreement)

    def _adapted(self, held_back: Reservoir) -> Shown:
        return Shown(held_back.images, self._workshop.teacher.adapted(held_back.labels))

    # --- The promise --------------------------------------------------------------------------------------------------

    def _lacking(self) -> str | None:
        """Returns why a try would be wasted, whatever the student: which images there are too few of."""
        needed = flawless_images(self._plan.rule, self._plan.options, self._tries.next_delta)
        for images, least, use in (
            (self._replay, 1, "to train on"),
            (self.holdout.choosing, 1, "held back to choose by"),
            (self.holdout.promising, needed, "held back for the promise"),
        ):
            if len(images) < least:
                return f"there are {len(images)} images {use}, expected at least {least}"
        return None

    def _tried(self) -> ServingStudent | str:
        """Returns the student with a threshold that keeps the promise, or why there is none."""
        plan, course, journal, beginner = self._plan, self._course, self._journal, self._beginner
        choosing, promising = self._adapted(self.holdout.choosing), self._adapted(self.holdout.promising)
        course.tried_on = self.holdout.promised
        journal.tally.validated += len(choosing.images) + len(promising.images)
        scored = ScoredStudent.fitted(self._learner.student, beginner.classes, choosing)
        labelled = self._workshop.labelled_answers(scored, beginner.adaptation)
        journal.tally.validated += 0 if labelled is None else len(labelled)
        student = scored.serving(
            plan.rule,
            plan.options,
            scored.seen(choosing),
            scored.seen(promising),
            self._tries.spent(),
            beginner.adaptation,
            labelled,
        )
        threshold = student.threshold
        if threshold.why_all_deferred is not None:
            return threshold.why_all_deferred
        if threshold.coverage <= self._further_than:
            return (
                f"the promise reaches {100 * threshold.coverage:.0f} % of the images, no further than that of the "
                f"student that serves, {100 * self._further_than:.0f} %"
            )
        journal.note(
            self._state,
            "threshold" if self._state == "adapt" else "replaced",
            threshold.promise,
            agreement=journal.agreement,
            coverage=threshold.coverage,
            images=journal.position - self._began,
            steps=self._learner.steps,
            tries=self._tries.made,
        )
        return student

    def _retried(self) -> ServingStudent | None:
        """Tries the promise again, without training, once the images for it have doubled."""
        if self.holdout.promised < 2 * self._course.tried_on or self._lacking() is not None:
            return None
        made = self._tried()
        if isinstance(made, ServingStudent):
            return made
        self._journal.note(self._state, "postponed", made)
        return None

    # --- Written down -------------------------------------------------------------------------------------------------

    def snapshot(self) -> dict[str, Any]:
        """Returns all that `restore` needs as plain values and arrays, but for what it was made with."""
        return {
            "began": self._began,
            "course": dataclasses.asdict(self._course),
            "convergence": dataclasses.asdict(self._convergence),
            "learner": self._learner.snapshot(),
        }

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Makes this the training, of the same arguments, that `snapshot` was taken of."""
        self._course, self._convergence = _Course(**snapshot["course"]), Convergence(**snapshot["convergence"])
        self._learner.restore(snapshot["learner"])
