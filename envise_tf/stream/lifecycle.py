"""The life of a student on an endless stream: adapt, serve, notice the change, adapt again.

    ADAPT  The teacher answers every image, and its answers are the pseudo-labels.
           1. On the first `recheck` images earlier students are tried; one that fits serves at once.
           2. On the first `find` images the frequent classes are found. A student is made for them: of the generic one
              and the earlier ones, that which agrees most with the teacher on these images, with a head for the new
              classes; the logits of classes that stay are kept.
           3. It trains on new images and on a replay buffer. One image in five, chosen by its pixels so that a
              repeated image never changes sides, is held back.
           4. Converged: agreement on held-back images is above `floor` and has not risen by more than `improvement`
              for `patience` measurements, first at the full rate and then at a fifth of it. A threshold is chosen.
    SERVE  The cascade answers: the student, and for the deferred images the teacher. Of the images that the student
           would answer every n-th is audited: the teacher answers it too, and its answer is given, as it has been paid
           for. n is 8 to 64 and follows recent agreement.

SERVE -> ADAPT when `ChangeDetector` notices a change; ADAPT starts again when the teacher sees ever more classes that
the student in training lacks. The two states are the paper's; all that is written here about them is our choice.

A prior that flickers must not make it thrash. A student that has served for less than 4 `find` images has shown that
the stream changes faster than that, and so has a change while it was in training: earlier students are then not tried,
and the next classes are found on twice as many images (four times at most), so that they are those of all priors
together.

Labels never come here. Everything depends on settings, seed and images, so that a killed run can be played again.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import tensorflow as tf

from envise_tf.deferral.cascade import Teacher
from envise_tf.deferral.rules import deferral_rule
from envise_tf.deferral.serving import ServingStudent, serving_student
from envise_tf.distillation.distiller import student_class_of
from envise_tf.distillation.learner import Learner
from envise_tf.distillation.objectives import Objective
from envise_tf.errors import UserError
from envise_tf.images.windows import Augmentation
from envise_tf.networks.students import residual_student, with_classes
from envise_tf.networks.tracing import traced
from envise_tf.prior.frequent import frequent_predictions
from envise_tf.settings import StreamSettings
from envise_tf.stream.change import ChangeDetector
from envise_tf.stream.reservoir import Reservoir

State = Literal["adapt", "serve"]

HELD_BACK_EVERY = 5
_SLOWER = 0.2
_SETTLING = 512
"""Images on which batch normalisation is settled before a measurement."""
_AUDITS = 32
"""Audits by which the next distance between audits is decided."""
_SHORT_SERVICE = 4
"""In multiples of `find`: a service that was no longer says that the stream flickers."""
_MOST_PATIENT = 4
_MEGABYTE = 2**20
_COUNTS = (
    *("batch_size", "steps", "find", "recheck", "window", "patience", "longest", "schedule", "audit_least"),
    *("memory", "held_back", "students", "checkpoint", "every"),
)
"""Settings that count something there must be one of."""


@dataclass
class Work:
    """How often the networks have run, in images.

    Attributes:
        student: images that the student answered while serving, deferred ones too.
        deferred: of these, images that the teacher answered instead.
        audited: of these, images that the teacher was asked about though the student was sure.
        labelled: images that the teacher answered while adapting.
        taught: images that the teacher saw once more, inside training steps.
        trained: images in the student's training steps.
        validated: images that a student saw to be measured, started from, or given a threshold.
    """

    student: int = 0
    deferred: int = 0
    audited: int = 0
    labelled: int = 0
    taught: int = 0
    trained: int = 0
    validated: int = 0


@dataclass(frozen=True)
class Answered:
    """What a lifecycle says of n images.

    Attributes:
        state: in which it was.
        label: int64 (n,), the teacher's class that is answered.
        by_student: bool (n,).
        score: float32 (n,), NaN while adapting.
        teacher_class: int64 (n,), what the teacher said, -1 where it was not asked.
    """

    state: State
    label: np.ndarray
    by_student: np.ndarray
    score: np.ndarray
    teacher_class: np.ndarray


@dataclass
class _Adaptation:
    """How far the present adaptation has come.

    Attributes:
        began: at which position.
        detector: of classes that the student in training lacks.
        may_reuse: whether earlier students are still to be tried.
        held_back: checksums of the images held back.
        images, classes: of the fresh images, in which classes are found; what the teacher says of them.
        probability: float64 (teacher's classes,), summed over these.
        best: agreement so far.
        stood_still: measurements without improvement.
        is_slow: whether the rate has been lowered.
        measured: position of the last measurement.
    """

    began: int
    detector: ChangeDetector
    may_reuse: bool
    probability: np.ndarray
    held_back: set[int] = field(default_factory=set)
    images: list[np.ndarray] = field(default_factory=list)
    classes: list[np.ndarray] = field(default_factory=list)
    best: float = 0.0
    stood_still: int = 0
    is_slow: bool = False
    measured: int = 0


@dataclass
class _Service:
    """How the present service goes.

    Attributes:
        began: at which position.
        detector: of a change.
        audit_every: every so many-th sure image is audited.
        unaudited: sure images since the last audit.
        audits: since the distance was last decided, whether each disagreed.
    """

    began: int
    detector: ChangeDetector
    audit_every: int
    unaudited: int = 0
    audits: list[bool] = field(default_factory=list)


class Lifecycle:
    """Answers a stream batch by batch and keeps its student fit for it.

    Responsible for the two states, and for which images the teacher is asked about. Not for where images come from, nor
    for what is written down.

    Args:
        settings: see there.
        teacher: uint8 images -> logits or probabilities; frozen.
        size: side of the images in pixels.
        objectives: by name.
        generic: a student of all the teacher's classes to start from; None starts from scratch.

    Raises:
        UserError: a setting is out of its range, or the generic student is another network than the one asked for.

    Attributes:
        state: "adapt" or "serve".
        position: images taken so far.
        work: done so far.
        agreement: last measured, None before.
        student: the one that serves, None while adapting.
        teacher: uint8 images (n, size, size, 3) -> logits or probabilities; asking it here is no part of `work`.
    """

    def __init__(
        self,
        settings: StreamSettings,
        teacher: tf.keras.Model,
        size: int,
        objectives: Mapping[str, Objective],
        generic: tf.keras.Model | None,
    ) -> None:
        _check(settings)
        self.settings, self._teacher_model, self._objectives, self._generic = settings, teacher, objectives, generic
        self.teacher: Teacher = traced(teacher)
        self._teacher_classes = int(teacher.output_shape[-1])
        self._shape = (size, size, 3)
        self._replay = Reservoir(settings.memory * _MEGABYTE, self._shape, settings.seed)
        self.position, self.work = 0, Work()
        self.agreement: float | None = None
        self._events: list[dict[str, Any]] = []
        self._past: list[ServingStudent] = []
        self._find = settings.find
        if generic is not None:
            with_classes(self._built(1), generic, [0])  # if it does not fit, that is said before the first image
        self._begin_adapting(may_reuse=False)
        self._note("begin", "the teacher answers until a student has learned")

    @property
    def state(self) -> State:
        return "adapt" if self.student is None else "serve"

    def answer(self, images: np.ndarray) -> Answered:
        """Returns the answers for the next images of the stream, uint8 (n, size, size, 3), n > 0; learns from them."""
        self.position += len(images)
        return self._adapt(images) if self.student is None else self._serve(self.student, images)

    def network(self) -> tf.keras.Model:
        """Returns a network like the present student, for counting its work; of all classes before there is one."""
        return self._built(len(self._classes) or self._teacher_classes)

    def taken_events(self) -> list[dict[str, Any]]:
        """Returns what has happened since the last call, each with "state", "event", "reason" and figures."""
        events, self._events = self._events, []
        return events

    def _note(self, event: str, reason: str, **figures: Any) -> None:
        self._events.append({"state": self.state, "event": event, "reason": reason, **figures})

    # --- ADAPT -------------------------------------------------------------------------------------------------------

    def _begin_adapting(self, may_reuse: bool) -> None:
        settings = self.settings
        self.student: ServingStudent | None = None
        self._learner: Learner | None = None
        self._classes = np.zeros(0, np.int64)
        self._held_back = Reservoir(
            settings.held_back * int(np.prod(self._shape)), self._shape, settings.seed + self.position
        )
        self._adaptation = _Adaptation(
            self.position, ChangeDetector(settings.false_alarms), may_reuse, np.zeros(self._teacher_classes)
        )
        self._service: _Service | None = None

    def _adapt(self, images: np.ndarray) -> Answered:
        logits = self.teacher(images)
        teacher_class = logits.argmax(axis=-1)
        self.work.labelled += len(images)
        checksums = _checksums(images)
        is_held_back = checksums % HELD_BACK_EVERY == 0
        self._replay.add(images[~is_held_back], teacher_class[~is_held_back], teacher_class[~is_held_back])
        # Once each: the promise of a threshold counts independent images. All under one key: it wants the stream as it
        # is, not every class alike.
        is_new = np.zeros(len(images), bool)
        is_new[is_held_back] = _is_first(checksums[is_held_back], self._adaptation.held_back)
        self._held_back.add(images[is_new], teacher_class[is_new], np.zeros(is_new.sum(), np.int64))
        if self._learner is None:
            self._look(images, teacher_class, logits)
        else:
            self._learn(self._learner, images[~is_held_back], teacher_class)
        unknown = np.full(len(images), np.nan, np.float32)
        return Answered("adapt", teacher_class, np.zeros(len(images), bool), unknown, teacher_class)

    def _look(self, images: np.ndarray, teacher_class: np.ndarray, logits: np.ndarray) -> None:
        """Tries earlier students, then finds the frequent classes, once there are images enough."""
        adaptation = self._adaptation
        adaptation.images.append(images)
        adaptation.classes.append(teacher_class)
        adaptation.probability += tf.nn.softmax(logits).numpy().sum(axis=0)
        count = sum(map(len, adaptation.classes))
        if adaptation.may_reuse and count >= self.settings.recheck:
            adaptation.may_reuse = False
            self._try_earlier_students(np.concatenate(adaptation.images), np.concatenate(adaptation.classes))
        if self.student is None and count >= self._find:
            self._begin_learning(np.concatenate(adaptation.images), np.concatenate(adaptation.classes))

    def _try_earlier_students(self, images: np.ndarray, teacher_class: np.ndarray) -> None:
        self.work.validated += len(images) * len(self._past)
        fitting = [student for student in self._past if student.fits(images, teacher_class)]
        if fitting:
            best = max(fitting, key=lambda student: student.threshold.coverage)
            self._past = [*(student for student in self._past if student is not best), best]  # the oldest goes first
            self._begin_serving(best)
            self._note("reuse", f"an earlier student fits the last {len(images)} images", classes=best.classes.tolist())

    def _begin_learning(self, images: np.ndarray, teacher_class: np.ndarray) -> None:
        self._classes = self._frequent(teacher_class)
        student, start = self._new_student(images, teacher_class)
        self._replay.keep(self._classes)
        self._learner = self._new_learner(student)
        self._adaptation.images, self._adaptation.classes = [], []
        self._adaptation.measured = self.position
        self._note(
            "classes",
            f"{len(self._classes)} classes are frequent in {len(images)} images; the student starts from {start}",
            classes=self._classes.tolist(),
        )

    def _new_learner(self, student: tf.keras.Model) -> Learner:
        settings = self.settings
        return Learner(
            student,
            self._teacher_model,
            self._classes.tolist(),
            self._objectives,
            settings.learning_rate,
            Augmentation(settings.flip, settings.shift, 0.0, settings.mixup),
            settings.batch_size,
            settings.seed + self._adaptation.began,
        )

    def _frequent(self, teacher_class: np.ndarray) -> np.ndarray:
        """Returns the frequent classes, at least two: a student of one class would have nothing to tell apart."""
        settings = self.settings
        found = frequent_predictions(teacher_class, settings.coverage, settings.min_share)
        likely = np.argsort(-self._adaptation.probability, kind="stable")
        missing = likely[~np.isin(likely, found)][: max(0, 2 - len(found))]
        return np.sort(np.concatenate([found, missing]))

    def _new_student(self, images: np.ndarray, teacher_class: np.ndarray) -> tuple[tf.keras.Model, str]:
        """Returns a student of the classes with the best weights that are at hand, and whose these were."""
        starts: dict[str, tuple[tf.keras.Model, list[int] | None]] = {}
        if self._generic is not None:
            starts["the generic student"] = (self._generic, None)
        for i, past in enumerate(self._past if self.settings.policy != "scratch" else []):
            starts[f"earlier student {i}"] = (past.network, past.classes.tolist())
        student = self._built(len(self._classes))
        agreement = {}
        for name, (network, known) in starts.items():
            with_classes(student, network, self._classes.tolist(), known)
            agreement[name] = self._agreement(student, images, teacher_class)
        self.work.validated += len(images) * len(starts)
        if not starts:
            return student, "scratch"
        best = max(agreement, key=lambda name: agreement[name])
        with_classes(student, starts[best][0], self._classes.tolist(), starts[best][1])
        return student, f"{best} ({100 * agreement[best]:.0f} % agreement)"

    def _built(self, classes: int) -> tf.keras.Model:
        settings = self.settings
        return residual_student(self._shape[0], classes, settings.widths, settings.blocks, binary=not settings.twin)

    def _learn(self, learner: Learner, new: np.ndarray, teacher_class: np.ndarray) -> None:
        settings = self.settings
        for step in range(settings.steps if len(self._replay) else 0):
            images = new[: settings.batch_size] if not step else new[:0]
            replayed = self._replay.sample(settings.batch_size - len(images))
            learner.learn(np.concatenate([images, replayed]))
            self.work.trained += settings.batch_size
            self.work.taught += settings.batch_size
        change = self._adaptation.detector.noticed({"foreign": ~np.isin(teacher_class, self._classes)})
        if change is not None:
            self._change(f"while adapting, {change}", is_flickering=True)
        elif self.position - self._adaptation.measured >= settings.window:
            self._adaptation.measured = self.position
            self._measure(learner, self._adaptation)

    def _measure(self, learner: Learner, adaptation: _Adaptation) -> None:
        """Measures agreement; goes on, lowers the rate, or begins to serve."""
        settings = self.settings
        images, labels = self._held_back.images, self._held_back.labels
        if not len(images) or not len(self._replay):
            return
        learner.settle(self._replay.sample(_SETTLING))
        self.work.validated += len(images) + _SETTLING
        self.agreement = self._agreement(learner.student, images, labels)
        self._note("measured", f"agreement {self.agreement:.3f} on {len(images)} held-back images", **learner.means())
        if self.agreement > adaptation.best + settings.improvement:
            adaptation.best, adaptation.stood_still = self.agreement, 0
        else:
            adaptation.stood_still += 1
        is_last = self.position - adaptation.began >= settings.longest
        has_converged = adaptation.stood_still >= settings.patience and adaptation.best >= settings.floor
        if has_converged and not adaptation.is_slow and not is_last:
            learner.lower_rate(_SLOWER)
            adaptation.is_slow, adaptation.stood_still = True, 0
        elif has_converged or is_last:
            self._finish(learner, is_last)

    def _finish(self, learner: Learner, is_last: bool) -> None:
        """Chooses a threshold and begins to serve, unless everything would be deferred and there is time to learn."""
        settings = self.settings
        images, labels = self._held_back.images.copy(), self._held_back.labels.copy()
        self.work.validated += len(images)
        student = serving_student(
            learner.student, self._classes, images, labels, self._teacher_classes, settings.epsilon, settings.confidence
        )
        threshold = student.threshold
        if threshold.why_all_deferred is not None and not is_last:
            self._adaptation.stood_still = 0
            self._note("postponed", threshold.why_all_deferred)
            return
        self._past = [*self._past, student][-settings.students :]
        began = self._adaptation.began
        self._begin_serving(student)
        self._note(
            "threshold",
            threshold.why_all_deferred or threshold.promise,
            agreement=self.agreement,
            coverage=threshold.coverage,
            images=self.position - began,
            steps=learner.steps,
        )

    def _agreement(self, student: tf.keras.Model, images: np.ndarray, teacher_class: np.ndarray) -> float:
        """Returns the share of images on which a student agrees, among those whose class it has; 0 of none."""
        own = student_class_of(self._classes.tolist(), self._teacher_classes)[teacher_class]
        is_known = own >= 0
        if not is_known.any():
            return 0.0
        # Batches of one size: another would be traced again.
        logits = student.predict(images[is_known], batch_size=256, verbose=0)
        return float((logits.argmax(axis=-1) == own[is_known]).mean())

    # --- SERVE -------------------------------------------------------------------------------------------------------

    def _begin_serving(self, student: ServingStudent) -> None:
        self.student, self._learner = student, None
        self._classes = student.classes
        self._service = _Service(self.position, ChangeDetector(self.settings.false_alarms), self.settings.audit_least)

    def _serve(self, student: ServingStudent, images: np.ndarray) -> Answered:
        assert self._service is not None, "a student that serves has a service"
        said = student.said(images)
        own_label = student.classes[said.own_class]
        is_audited = _audited(self._service, said.deferred)
        is_asked = said.deferred | is_audited
        teacher_class = np.full(len(images), -1, np.int64)
        if is_asked.any():
            teacher_class[is_asked] = self.teacher(images[is_asked]).argmax(axis=-1)
        self.work.student += len(images)
        self.work.deferred += int(said.deferred.sum())
        self.work.audited += int(is_audited.sum())
        disagreement = teacher_class[is_audited] != own_label[is_audited]
        self._follow(self._service, disagreement)
        signals = {
            "deferral": said.deferred,
            "score": student.outscored(said.score),
            "foreign": ~np.isin(teacher_class[is_asked], student.classes),
            "disagreement": disagreement,
        }
        self._watch(self._service, signals)
        return Answered("serve", np.where(is_asked, teacher_class, own_label), ~is_asked, said.score, teacher_class)

    def _follow(self, service: _Service, disagreement: np.ndarray) -> None:
        """Audits more often where recent audits break the promise, and less often where they keep it."""
        settings = self.settings
        service.audits += disagreement.tolist()
        if len(service.audits) < _AUDITS:
            return
        keeps = np.mean(service.audits) <= settings.epsilon
        every = service.audit_every * 2 if keeps else service.audit_every // 2
        service.audit_every = min(max(every, settings.audit_least), settings.audit_most)
        service.audits = []

    def _watch(self, service: _Service, signals: Mapping[str, np.ndarray]) -> None:
        """Notices a change, or under a policy for comparison what stands in for one."""
        settings, served = self.settings, self.position - service.began
        if settings.policy == "never":
            return
        if settings.policy == "scheduled":
            reason = f"{served} images have been served" if served >= settings.schedule else None
        else:
            reason = service.detector.noticed(signals)
        if reason is None:
            return
        self._change(reason, is_flickering=served < _SHORT_SERVICE * settings.find)

    def _change(self, reason: str, is_flickering: bool) -> None:
        settings = self.settings
        self._find = min(2 * self._find, _MOST_PATIENT * settings.find) if is_flickering else settings.find
        self._note("change", reason)
        self._begin_adapting(may_reuse=settings.policy == "lifecycle" and not is_flickering)

    # --- Written down ------------------------------------------------------------------------------------------------

    def snapshot(self) -> dict[str, Any]:
        """Returns all that `restore` needs: plain values, arrays, and river's detectors."""
        return {
            "plain": {name: getattr(self, name) for name in _PLAIN},
            "replay": self._replay.snapshot(),
            "held_back": self._held_back.snapshot(),
            "past": [student.snapshot() for student in self._past],
            "serving": None if self.student is None else self._past.index(self.student),
            "learner": None if self._learner is None else self._learner.snapshot(),
        }

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Makes this the lifecycle, of the same arguments, that `snapshot` was taken of."""
        for name, value in snapshot["plain"].items():
            setattr(self, name, value)
        self._events = []
        self._replay.restore(snapshot["replay"])
        self._held_back.restore(snapshot["held_back"])
        self._past = [ServingStudent.restored(past, self._built) for past in snapshot["past"]]
        if snapshot["serving"] is not None:
            self.student = self._past[snapshot["serving"]]
        if snapshot["learner"] is not None:
            self._learner = self._new_learner(self._built(len(self._classes)))
            self._learner.restore(snapshot["learner"])


_PLAIN = ("position", "work", "agreement", "_classes", "_find", "_adaptation", "_service")
"""Attributes of a lifecycle that are plain values."""


def _check(settings: StreamSettings) -> None:
    """Finds settings out of their range before the first image."""
    for name in _COUNTS:
        if getattr(settings, name) < 1:
            raise UserError(f"--{name} {getattr(settings, name)} given: expected at least 1")
    for name in ("learning_rate", "false_alarms"):
        if not getattr(settings, name) > 0:
            raise UserError(f"--{name} {getattr(settings, name)} given: expected more than 0")
    if settings.audit_least > settings.audit_most:
        raise UserError(
            f"--audit_least {settings.audit_least} and --audit_most {settings.audit_most} given: expected the first to "
            "be no larger"
        )
    deferral_rule("risk", {"epsilon": settings.epsilon, "confidence": settings.confidence})


def _checksums(images: np.ndarray) -> np.ndarray:
    """Returns a checksum of each image's pixels, int64 (n,)."""
    return np.array([zlib.crc32(image.tobytes()) for image in images], np.int64)


def _is_first(checksums: np.ndarray, known: set[int]) -> np.ndarray:
    """Returns which checksums are not known yet, bool (n,), and adds them to the known ones."""
    _, first = np.unique(checksums, return_index=True)
    is_first = np.isin(np.arange(len(checksums)), first) & ~np.isin(checksums, list(known))
    known.update(checksums[is_first].tolist())
    return is_first


def _audited(service: _Service, deferred: np.ndarray) -> np.ndarray:
    """Returns which images are audited, bool (n,): every n-th of those that the student would answer."""
    number = service.unaudited + np.cumsum(~deferred)
    service.unaudited = int(number[-1] % service.audit_every)
    return ~deferred & (number % service.audit_every == 0)
