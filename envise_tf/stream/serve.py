"""SERVE: the cascade answers, and watches for a change.

The student answers, and for the images that it defers the teacher. Of the images that the student would answer every
n-th is audited: the teacher answers it too, and its answer is given, as it has been paid for. n follows recent
agreement: it doubles after 32 audits that keep the promise and halves after 32 that break it. Our choice.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from envise_tf.deferral.cascade import Teacher
from envise_tf.deferral.serving import ServingStudent
from envise_tf.stream.change import ChangeDetector
from envise_tf.stream.journal import Journal, Replies
from envise_tf.stream.plan import ServePlan

_AUDITS = 32
"""Audits by which the next distance between audits is decided."""


class Service:
    """One stretch of SERVE.

    Responsible for the answers, for which images the teacher is asked about, and for noticing a change. Not for what
    follows from it.

    Args:
        plan: how.
        student: who serves.
        teacher: who answers what it defers.
        journal: told how often both were asked.

    Attributes:
        student: as given.
        began: position at which it began, in images.
    """

    def __init__(self, plan: ServePlan, student: ServingStudent, teacher: Teacher, journal: Journal) -> None:
        self._plan, self.student, self._teacher, self._journal = plan, student, teacher, journal
        self.began = journal.position
        self._detector = ChangeDetector(plan.false_alarms)
        self._every = plan.audit_least
        self._unaudited = 0
        self._disagreed: list[bool] = []

    def answer(self, images: np.ndarray) -> tuple[Replies, str | None]:
        """Returns the answers, and why the stream has changed or None.

        Args:
            images: the next ones of the stream, uint8 (n, height, width, 3), n > 0; the journal counts them already.
        """
        student, tally = self.student, self._journal.tally
        said = student.said(images)
        own_label = student.classes[said.own_class]
        is_audited = self._audited(said.deferred)
        is_asked = said.deferred | is_audited
        teacher_class = np.full(len(images), -1, np.int64)
        if is_asked.any():
            teacher_class[is_asked] = self._teacher(images[is_asked]).argmax(axis=-1)
        tally.student += len(images)
        tally.deferred += int(said.deferred.sum())
        tally.audited += int(is_audited.sum())
        disagreement = teacher_class[is_audited] != own_label[is_audited]
        self._follow(disagreement)
        change = self._change(
            {
                "deferral": said.deferred,
                "score": student.outscored(said.score),
                "foreign": ~np.isin(teacher_class[is_asked], student.classes),
                "disagreement": disagreement,
            }
        )
        label = np.where(is_asked, teacher_class, own_label)
        return Replies("serve", label, ~is_asked, said.score, teacher_class), change

    def _audited(self, deferred: np.ndarray) -> np.ndarray:
        """Returns which images are audited, bool (n,): every n-th of those that the student would answer."""
        number = self._unaudited + np.cumsum(~deferred)
        self._unaudited = int(number[-1] % self._every)
        return ~deferred & (number % self._every == 0)

    def _follow(self, disagreement: np.ndarray) -> None:
        """Audits more often where recent audits break the promise, and less often where they keep it."""
        plan = self._plan
        self._disagreed += disagreement.tolist()
        if len(self._disagreed) < _AUDITS:
            return
        keeps = np.mean(self._disagreed) <= plan.epsilon
        every = self._every * 2 if keeps else self._every // 2
        self._every = min(max(every, plan.audit_least), plan.audit_most)
        self._disagreed = []

    def _change(self, signals: Mapping[str, np.ndarray]) -> str | None:
        """Returns why the service ends, by the policy; None while it does not."""
        plan, served = self._plan, self._journal.position - self.began
        if plan.policy == "never":
            return None
        if plan.policy == "scheduled":
            return f"{served} images have been served" if served >= plan.schedule else None
        return self._detector.noticed(signals)

    def snapshot(self) -> dict[str, Any]:
        """Returns all that `restore` needs as plain values and arrays, but for what it was made with."""
        return {
            "began": self.began,
            "detector": self._detector.snapshot(),
            "every": self._every,
            "unaudited": self._unaudited,
            "disagreed": self._disagreed,
        }

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Makes this the service, of the same arguments, that `snapshot` was taken of."""
        self.began, self._every = snapshot["began"], snapshot["every"]
        self._unaudited, self._disagreed = snapshot["unaudited"], list(snapshot["disagreed"])
        self._detector.restore(snapshot["detector"])
