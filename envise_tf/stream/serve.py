"""SERVE: the cascade answers, and watches for a change.

The student answers, and for the images that it defers the teacher. Of the images that the student would answer every
n-th is audited: the teacher answers it too, and its answer is given, as it has been paid for. n follows recent
agreement: it doubles after 32 audits that keep the promise and halves after 32 that break it. Where another student is
trained meanwhile, see `background`, the images held back for it are audited too. Our choice. While the budget for the
teacher is spent nothing is deferred or audited; the student answers, and its promise does not cover what it would have
deferred.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from envise_tf.deferral.budget import DeferralBudget
from envise_tf.deferral.held_back import HeldBack
from envise_tf.deferral.promise import kept
from envise_tf.deferral.serving import ServingStudent, Shown
from envise_tf.stream.background import Background
from envise_tf.stream.change import ChangeDetector, unlikelihood
from envise_tf.stream.holdout import Uses
from envise_tf.stream.journal import Journal, Replies
from envise_tf.stream.plan import ServePlan
from envise_tf.stream.teacher import StreamTeacher

_AUDITS = 32
"""Audits by which the next distance between audits is decided."""


class _Requests(NamedTuple):
    """What the teacher is asked about n images.

    Attributes:
        deferred: bool (n,), because the student defers it.
        audited: bool (n,), though the student is sure.
        promised: bool (n,), whether the promise covers the answer, whoever gives it.
    """

    deferred: np.ndarray
    audited: np.ndarray
    promised: np.ndarray


class Service:
    """One stretch of SERVE.

    Responsible for the answers, for which images the teacher is asked about, and for noticing a change. Not for what
    follows from it.

    Args:
        plan: how.
        student: who serves.
        teacher: who answers what it defers, adapted as for the student.
        journal: told how often both were asked.
        background: trains a student that may replace this one.
        budget: for the teacher, of all services together.

    Attributes:
        student: as given.
        began: position at which it began, in images.
    """

    def __init__(
        self,
        plan: ServePlan,
        student: ServingStudent,
        teacher: StreamTeacher,
        journal: Journal,
        background: Background,
        budget: DeferralBudget,
    ) -> None:
        self._plan, self.student, self._teacher, self._journal = plan, student, teacher, journal
        self.began, self._background, self._budget = journal.position, background, budget
        self._overdrawn: int | None = None
        self._detector = ChangeDetector(plan.false_alarms)
        self._every = plan.audit_least
        self._unaudited = 0
        self._audits: list[HeldBack] = []

    @property
    def classes(self) -> np.ndarray:
        """The teacher's class of each of the student's, int64 (student's classes,)."""
        return self.student.classes

    def answer(self, images: np.ndarray) -> tuple[Replies, ServingStudent | str | None]:
        """Returns the answers, and how the service ends with them: a better student, a change's reason or not.

        Args:
            images: the next ones of the stream, uint8 (n, height, width, 3), n > 0; the journal counts them already.
        """
        student, tally, adaptation = self.student, self._journal.tally, self._teacher.adaptation
        said = student.said(images)
        uses = self._background.uses(images)
        requests = self._requests(said.deferred, uses)
        self._tell_of_budget(requests.promised)
        is_asked = requests.deferred | requests.audited
        logits = self._asked(images, is_asked)
        shown = Shown(images, self._teacher.adapted(logits))
        label = np.where(is_asked, shown.teacher_class, student.classes[said.own_class])
        tally.student += len(images)
        tally.deferred += int(requests.deferred.sum())
        tally.audited += int(requests.audited.sum())
        audits = student.compared(said, shown.logits[requests.audited], requests.audited)
        self._follow(audits)
        is_foreign = ~np.isin(label[requests.deferred], student.classes)
        change = self._change(
            {
                "deferral": said.deferred,
                "score": student.outscored(said.score),
                "foreign": is_foreign,
                "unlikelihood": unlikelihood(logits[requests.deferred], adaptation),
                "disagreement": ~audits.agrees,
            }
        )
        told, raw = (np.where(is_asked, answers, -1) for answers in (label, logits.argmax(axis=-1)))
        replies = Replies("serve", label, ~is_asked, requests.promised, said.score, told, raw, adaptation)
        if change is not None:
            return replies, change
        asked, avoidable = Shown(images[is_asked], logits[is_asked]), int(np.sum(~is_foreign))
        return replies, self._background.advanced(asked, Uses(*(part[is_asked] for part in uses)), avoidable)

    def _requests(self, deferred: np.ndarray, uses: Uses) -> _Requests:
        """Returns which images the teacher is asked about, of which the student would defer some."""
        is_open = self._budget.open_for(deferred)
        is_audited = self._audited(deferred)
        if self._background.is_training:
            is_audited |= uses.held_back & ~deferred
        return _Requests(deferred & is_open, is_audited & is_open, is_open | ~deferred)

    def _asked(self, images: np.ndarray, is_asked: np.ndarray) -> np.ndarray:
        """Returns the teacher's logits as it came, zeros where it is not asked: float32 (n, teacher's classes)."""
        logits = np.zeros((len(images), self._teacher.classes), np.float32)
        if is_asked.any():
            logits[is_asked] = self._teacher(images[is_asked])
        return logits

    def _audited(self, deferred: np.ndarray) -> np.ndarray:
        """Returns which images are audited, bool (n,): every n-th of those that the student would answer."""
        number = self._unaudited + np.cumsum(~deferred)
        self._unaudited = int(number[-1] % self._every)
        return ~deferred & (number % self._every == 0)

    def _tell_of_budget(self, is_promised: np.ndarray) -> None:
        """Notes that the budget is spent, once for each stretch without a full window of promised answers."""
        if is_promised.all():
            return
        position, window = self._journal.position, self._plan.deferred_window
        if self._overdrawn is None or position - self._overdrawn > window:
            self._journal.note(
                "serve",
                "budget",
                f"more than {self._budget.most} of {window} images would be deferred: the student answers the others, "
                "which its promise does not cover",
            )
        self._overdrawn = position

    def _follow(self, audits: HeldBack) -> None:
        """Audits more often where recent audits break the promise, and less often where they keep it."""
        plan = self._plan
        self._audits.append(audits)
        recent = HeldBack.concatenated(self._audits)
        if len(recent) < _AUDITS:
            return
        every = self._every * 2 if kept(self.student.threshold, recent).holds else self._every // 2
        self._every = min(max(every, plan.audit_least), plan.audit_most)
        self._audits = []

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
            "overdrawn": self._overdrawn,
            "detector": self._detector.snapshot(),
            "every": self._every,
            "unaudited": self._unaudited,
            "audits": [dataclasses.asdict(each) for each in self._audits],
            "background": self._background.snapshot(),
        }

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Makes this the service, of the same arguments, that `snapshot` was taken of."""
        self.began, self._every = snapshot["began"], snapshot["every"]
        self._unaudited, self._overdrawn = snapshot["unaudited"], snapshot["overdrawn"]
        self._audits = [HeldBack(**each) for each in snapshot["audits"]]
        self._detector.restore(snapshot["detector"])
        self._background.restore(snapshot["background"])
