"""A student that serves without any training: another one's logits for the frequent classes, as soon as it can promise.

Nothing is learned, so no image has to be kept for training: the score is fitted on the images that the classes were
found in, and all that come after them are for the promise. It is tried first when there are a quarter more of them than
it takes without any error, and again whenever they have doubled. Our choice.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from envise_tf.deferral.held_back import HeldBack
from envise_tf.deferral.rules import flawless_images
from envise_tf.deferral.serving import ScoredStudent, ServingStudent, Shown, restored_score, score_snapshot
from envise_tf.stream.plan import AdaptPlan, Workshop
from envise_tf.stream.search import Beginner
from envise_tf.stream.tries import Tries

SPARE = 1.25
"""How many more images than it takes without any mistake the first try waits for."""


class Restriction:
    """Tries the promise for a student as it is.

    Args:
        plan: which promise, and how many images are kept for it.
        workshop: may have labelled images.
        beginner: the student.
        scored: the same, with its score.
        choosing: the images that the score was fitted on.
        tries: shared with whatever else is tried on this stretch of the stream.

    Attributes:
        seen: images that the student has looked at so far, labelled ones as often as it was tried on them.
    """

    def __init__(
        self,
        plan: AdaptPlan,
        workshop: Workshop,
        beginner: Beginner,
        scored: ScoredStudent,
        choosing: HeldBack,
        tries: Tries,
    ) -> None:
        self._plan, self._workshop, self._beginner = plan, workshop, beginner
        self._scored, self._choosing, self._tries = scored, choosing, tries
        self._promising = choosing.where(np.zeros(0, np.int64))
        self._promised = 0
        self._next_try = round(SPARE * flawless_images(plan.rule, plan.options, tries.next_delta))
        self.seen = len(choosing)

    @classmethod
    def begun(
        cls, plan: AdaptPlan, workshop: Workshop, beginner: Beginner, choosing: Shown, tries: Tries
    ) -> Restriction:
        """Returns one whose score is fitted on these images, at least one, with the adapted teacher's logits."""
        scored = ScoredStudent.fitted(beginner.network, beginner.classes, choosing)
        return cls(plan, workshop, beginner, scored, scored.seen(choosing), tries)

    def offer(self, shown: Shown) -> None:
        """Takes images for the promise, each seen for the first time, with the adapted teacher's logits."""
        if not len(shown.images):
            return
        parts = HeldBack.concatenated([self._promising, self._scored.seen(shown)])
        self._promising = parts.where(np.arange(len(parts))[-self._plan.held_back :])
        self._promised += len(shown.images)
        self.seen += len(shown.images)

    def tried(self) -> ServingStudent | str | None:
        """Returns the student if it keeps its promise, why it does not, or None where it is too early for a try."""
        if self._promised < self._next_try:
            return None
        self._next_try = 2 * self._promised
        plan, workshop, adaptation = self._plan, self._workshop, self._beginner.adaptation
        labelled = workshop.labelled_answers(self._scored, adaptation)
        self.seen += 0 if labelled is None else len(labelled)
        student = self._scored.serving(
            plan.rule,
            plan.options,
            self._choosing,
            self._promising,
            self._tries.spent(),
            adaptation,
            labelled,
        )
        return student.threshold.why_all_deferred or student

    def snapshot(self) -> dict[str, Any]:
        """Returns all that `restored` needs as plain values and arrays, but for what it was made with."""
        return {
            "score": score_snapshot(self._scored.score),
            "choosing": dataclasses.asdict(self._choosing),
            "promising": dataclasses.asdict(self._promising),
            "promised": self._promised,
            "next_try": self._next_try,
            "seen": self.seen,
        }

    @classmethod
    def restored(
        cls, snapshot: Mapping[str, Any], plan: AdaptPlan, workshop: Workshop, beginner: Beginner, tries: Tries
    ) -> Restriction:
        """Returns the one that `snapshot` was taken of."""
        scored = ScoredStudent(beginner.network, beginner.classes, restored_score(snapshot["score"]))
        made = cls(plan, workshop, beginner, scored, HeldBack(**snapshot["choosing"]), tries)
        made._promising, made._promised = HeldBack(**snapshot["promising"]), snapshot["promised"]
        made._next_try, made.seen = snapshot["next_try"], snapshot["seen"]
        return made
