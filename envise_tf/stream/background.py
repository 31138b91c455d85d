"""Training behind a student that serves without having been trained, where it is expected to pay.

The teacher's answers to what the student defers are kept to train on. Once there have been so many avoidable ones among
them that training pays, see `payback`, a copy of the student trains. One image in five is then held back and audited,
whatever the student says of it, so that the promise is made on a fair sample that has come since. The copy replaces the
student when its promise reaches further. There is one such training in a service. Our choice.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from envise_tf.deferral.serving import ServingStudent, Shown
from envise_tf.networks.macs import macs
from envise_tf.stream.holdout import Holdout, Uses, Usher, uses_of
from envise_tf.stream.journal import Journal
from envise_tf.stream.payback import pays_after
from envise_tf.stream.plan import AdaptPlan, Workshop
from envise_tf.stream.reservoir import Reservoir
from envise_tf.stream.search import Beginner
from envise_tf.stream.training import Training
from envise_tf.stream.tries import Tries


@dataclass
class _Progress:
    """How far it has come, in plain values.

    Attributes:
        avoidable: images of the student's classes that the teacher has answered.
        is_over: whether it has come to nothing.
    """

    avoidable: int = 0
    is_over: bool = False


class Background:
    """What is trained while a student serves.

    Responsible for whether, on which images and for how long. Not for the answers.

    Args:
        plan: how.
        workshop: with what.
        replay: training images; more are added.
        journal: told of all that happens.
        student: who serves.
        tries: of the promise, on this stretch of the stream.
    """

    def __init__(
        self,
        plan: AdaptPlan,
        workshop: Workshop,
        replay: Reservoir,
        journal: Journal,
        student: ServingStudent,
        tries: Tries,
    ) -> None:
        self._plan, self._workshop, self._replay, self._journal = plan, workshop, replay, journal
        self._student, self._tries = student, tries
        self._progress = _Progress(is_over=plan.adapt_by != "both")
        self._pays_after = pays_after(plan.trained, macs(student.network), workshop.teacher.macs)
        self._usher = Usher(plan.block_of_time)
        self._training: Training | None = None

    @property
    def is_training(self) -> bool:
        """Whether all images that are held back have to be shown to the teacher."""
        return self._training is not None

    def uses(self, images: np.ndarray) -> Uses:
        """Returns what the next images of the stream are for.

        Args:
            images: uint8 (n, height, width, 3), n > 0; the journal counts them already.
        """
        first = self._journal.position - len(images)
        return self._usher.uses(images, first) if self.is_training else uses_of(images, first, self._plan.block_of_time)

    def advanced(self, shown: Shown, uses: Uses, avoidable: int) -> ServingStudent | None:
        """Trains where it pays; returns the student that is to replace the one that serves.

        Args:
            shown: images that the teacher was asked about, with its logits as it came.
            uses: of them.
            avoidable: how many of them were deferred though the student has their class.
        """
        progress = self._progress
        if progress.is_over:
            return None
        teacher_class = self._workshop.teacher.adapted(shown.logits).argmax(axis=-1)
        is_trained_on = ~uses.held_back & np.isin(teacher_class, self._student.classes)
        new = shown.images[is_trained_on]
        self._replay.add(new, teacher_class[is_trained_on], teacher_class[is_trained_on])
        progress.avoidable += avoidable
        if self._training is None:
            if progress.avoidable >= self._pays_after:
                reason = f"{progress.avoidable} answers of the teacher were avoidable: training is expected to pay"
                self._journal.note("serve", "training", reason)
                self._training = self._begun(self._journal.position)
            return None
        self._training.holdout.add(shown, uses)
        better = self._training.advanced(new)
        if self._training.has_ended:
            self._journal.note("serve", "training ended", self._training.why)
            self._training, progress.is_over = None, True
        return better

    def _begun(self, position: int) -> Training:
        """Returns the training of a copy of the student from a position on."""
        plan, student = self._plan, self._student
        network = self._workshop.build(len(student.classes))
        network.set_weights(student.network.get_weights())
        shape, classes = self._replay.images.shape[1:], self._workshop.teacher.classes
        holdout = Holdout(plan.held_back, shape, classes, plan.seed + position)
        return Training(
            plan,
            self._workshop,
            self._replay,
            self._journal,
            "serve",
            Beginner(network, student.classes, student.adaptation, is_complete=True),
            holdout,
            self._tries,
            position,
            student.threshold.coverage,
        )

    def snapshot(self) -> dict[str, Any]:
        """Returns all that `restore` needs as plain values and arrays, but for what it was made with."""
        return {
            "progress": dataclasses.asdict(self._progress),
            "usher": self._usher.snapshot(),
            "holdout": None if self._training is None else self._training.holdout.snapshot(),
            "training": None if self._training is None else self._training.snapshot(),
        }

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Makes this the background, of the same arguments, that `snapshot` was taken of."""
        self._progress = _Progress(**snapshot["progress"])
        self._usher.restore(snapshot["usher"])
        if snapshot["training"] is not None:
            self._training = self._begun(snapshot["training"]["began"])
            self._training.holdout.restore(snapshot["holdout"])
            self._training.restore(snapshot["training"])
