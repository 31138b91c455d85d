"""The life of a student on an endless stream: adapt, serve, notice the change, adapt again.

The two states are the paper's: ADAPT (`adapt`), in which the teacher answers and a student is made, and SERVE
(`serve`), in which the cascade answers. SERVE -> ADAPT when a change is noticed, SERVE -> SERVE when a student that was
trained meanwhile promises more; ADAPT starts again when the teacher sees ever more classes that the student lacks. What
happens in them is our choice.

A prior that flickers must not make it thrash. A student that has served for less than 4 `find` images has shown that
the stream changes faster than that, and so has a change while it was in training: earlier students are then not tried,
and the next classes are found in twice as many images (four times at most), so that they are those of all priors
together.

No label of the stream comes here; those of labelled images of elsewhere bound what a student loses, and train nothing.
Everything depends on plans, seed and images, so that a killed run can be played again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from envise_tf.deferral.budget import DeferralBudget
from envise_tf.deferral.serving import ServingStudent
from envise_tf.networks.loading import Generic
from envise_tf.networks.students import with_classes
from envise_tf.networks.tracing import custom_gradients, forget_networks
from envise_tf.stream.adapt import Adapting
from envise_tf.stream.background import Background
from envise_tf.stream.journal import Journal, Replies, State
from envise_tf.stream.plan import AdaptPlan, ServePlan, Workshop
from envise_tf.stream.reservoir import Reservoir
from envise_tf.stream.search import Search, Start
from envise_tf.stream.serve import Service
from envise_tf.stream.tries import Tries

_SHORT_SERVICE = 4
"""In multiples of `find`: a service that was no longer says that the stream flickers."""
_MOST_PATIENT = 4


class Lifecycle:
    """Answers a stream batch by batch and keeps its student fit for it.

    Responsible for which state follows, and for the earlier students. Not for what happens in a state, where images
    come from, or what is written down.

    Args:
        adapting: how students are made.
        serving: how they serve, and by which policy: scratch forgets all of them at a change.
        workshop: with what they are made.
        generic: a student of many classes to start from; None starts from scratch.
        memory: bytes of images kept for training.
        image_shape: (height, width, 3) of every image.
        students: most earlier students kept, >= 1.

    Raises:
        UserError: the generic student is another network than the workshop builds, or a budget of no image.

    Attributes:
        journal: how far the stream has come, what was done and what happened.
        workshop: as given; asking its teacher here is no part of the journal's tally.
    """

    def __init__(
        self,
        adapting: AdaptPlan,
        serving: ServePlan,
        workshop: Workshop,
        generic: Generic | None,
        memory: int,
        image_shape: tuple[int, ...],
        students: int,
    ) -> None:
        self._adapting, self._serving, self.workshop = adapting, serving, workshop
        self._generic, self._students = generic, students
        self._replay = Reservoir(memory, image_shape, adapting.seed)
        self.journal = Journal()
        self._past: list[ServingStudent] = []
        self._find = adapting.find
        self._may_reuse = False
        self._gradients = custom_gradients()
        if generic is not None:  # if it does not fit, that is said before the first image
            with_classes(workshop.build(1), generic.network, [0], generic.classes)
        self._tries = self._new_tries()
        self._budget = DeferralBudget(serving.most_deferred, serving.deferred_window)
        self._phase: Adapting | Service = self._adaptation()
        self.journal.note("adapt", "begin", "the teacher answers until a student has learned")

    @property
    def state(self) -> State:
        """The state in which the next image is answered."""
        return "serve" if isinstance(self._phase, Service) else "adapt"

    @property
    def student(self) -> ServingStudent | None:
        """The one that serves, None while adapting."""
        return self._phase.student if isinstance(self._phase, Service) else None

    def network(self) -> tf.keras.Model:
        """Returns a network like the present student, for counting its work; of all classes before there is one."""
        return self.workshop.build(len(self._phase.classes) or self.workshop.teacher.classes)

    def answer(self, images: np.ndarray) -> Replies:
        """Returns the answers for the next images of the stream, uint8 (n, height, width, 3), n > 0; learns from them.

        Raises:
            DivergenceError: the loss of a student in training is no longer finite.
        """
        phase = self._phase
        self.journal.position += len(images)
        replies, end = phase.answer(images)
        if isinstance(end, ServingStudent):
            self._serve(end, began=phase.began if isinstance(phase, Service) else self.journal.position)
        elif end is not None:
            served = self.journal.position - phase.began if isinstance(phase, Service) else 0
            self._adapt(end, is_flickering=served < _SHORT_SERVICE * self._adapting.find)
        return replies

    def _serve(self, student: ServingStudent, began: int) -> None:
        """Has a student serve since a position; of too many, the one that served least lately goes."""
        self._past = [*(past for past in self._past if past is not student), student][-self._students :]
        self._phase = self._service(student)
        self._phase.began = began

    def _adapt(self, reason: str, is_flickering: bool) -> None:
        """Begins to adapt."""
        find = self._adapting.find
        self._find = min(2 * self._find, _MOST_PATIENT * find) if is_flickering else find
        self.journal.note(self.state, "change", reason)
        self._may_reuse = not is_flickering
        self._tries = self._new_tries()
        forget_networks(self._gradients)  # those of the adaptation before, of which a stream has no last one
        self._phase = self._adaptation()

    def _new_tries(self) -> Tries:
        return Tries(1 - self._adapting.options["confidence"])

    def _service(self, student: ServingStudent) -> Service:
        teacher = self.workshop.teacher
        teacher.assign(student.adaptation)
        background = Background(self._adapting, self.workshop, self._replay, self.journal, student, self._tries)
        return Service(self._serving, student, teacher, self.journal, background, self._budget)

    def _adaptation(self) -> Adapting:
        past = [] if self._serving.policy == "scratch" else self._past
        self.workshop.teacher.forget()
        trained_on = self.workshop.teacher.adaptation
        starts = []
        if self._generic is not None:
            starts.append(Start("the generic student", self._generic.network, self._generic.classes, trained_on))
        for number, student in enumerate(past):
            starts.append(
                Start(f"earlier student {number}", student.network, student.classes.tolist(), student.adaptation)
            )
        reusable = self._past if self._may_reuse and self._serving.policy == "lifecycle" else []
        search = Search(self._adapting, self.workshop, self.journal, self._find, starts, reusable)
        return Adapting(self._adapting, self.workshop, self._replay, self.journal, search, self._tries)

    def snapshot(self) -> dict[str, Any]:
        """Returns all that `restore` needs as plain values and arrays, see `store`."""
        student = self.student
        return {
            "journal": self.journal.snapshot(),
            "find": self._find,
            "may_reuse": self._may_reuse,
            "tries": self._tries.made,
            "budget": self._budget.snapshot(),
            "replay": self._replay.snapshot(),
            "past": [past.snapshot() for past in self._past],
            "serves": None if student is None else self._past.index(student),
            "phase": self._phase.snapshot(),
        }

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Makes this the lifecycle, of the same arguments, that `snapshot` was taken of."""
        self.journal.restore(snapshot["journal"])
        self._find, self._may_reuse = snapshot["find"], snapshot["may_reuse"]
        self._tries.made = snapshot["tries"]
        self._budget.restore(snapshot["budget"])
        self._replay.restore(snapshot["replay"])
        self._past = [ServingStudent.restored(past, self.workshop.build) for past in snapshot["past"]]
        serves = snapshot["serves"]
        self._phase = self._adaptation() if serves is None else self._service(self._past[serves])
        self._phase.restore(snapshot["phase"])
