"""What a pair of networks costs and can save at most, and what its promise takes: said before anything is trained."""

from __future__ import annotations

import math
from dataclasses import dataclass

import tensorflow as tf

from envise_tf.deferral.rules import flawless_images
from envise_tf.images.halves import Protocol, images_for, promising_share
from envise_tf.images.holding_back import CHOOSING_EVERY
from envise_tf.measures.gie import gie
from envise_tf.networks.macs import Macs, macs
from envise_tf.networks.students import stored_bytes

DEAR = 0.25
"""A student of more than this share of the teacher's work is warned of (our choice: a cascade that defers half of its
images then saves less than a quarter)."""


@dataclass(frozen=True)
class PairOutlook:
    """What two networks cost, and what serving with them can save.

    Attributes:
        student: work of an image, like the next.
        teacher: likewise.
        student_bytes: of its weights in a bundle, like the next.
        teacher_bytes: likewise.
    """

    student: Macs
    teacher: Macs
    student_bytes: int
    teacher_bytes: int

    @classmethod
    def of(cls, student: tf.keras.Model, teacher: tf.keras.Model) -> PairOutlook:
        """Returns that of two networks."""
        return cls(macs(student), macs(teacher), stored_bytes(student), stored_bytes(teacher))

    @property
    def most_gie(self) -> float:
        """The gain in efficiency where nothing is deferred."""
        return float(gie(1, 0, self.student.flops, self.teacher.flops))

    @property
    def is_dear(self) -> bool:
        """Whether the student takes so much work that the pair can hardly pay."""
        return self.most_gie < 1 - DEAR

    def lines(self) -> list[str]:
        """Returns what a user should know, a sentence a line."""
        told = [
            f"{name}: {_millions(work)} multiply-accumulates an image, {size / 1e3:,.0f} kB of weights"
            for name, work, size in (
                ("student", self.student, self.student_bytes),
                ("teacher", self.teacher, self.teacher_bytes),
            )
        ]
        share = 100 * (1 - self.most_gie)
        told.append(f"this pair saves at most {100 - share:.0f} % of the teacher's work (GiE), if nothing is deferred")
        if self.is_dear:
            told.append(
                f"the student takes {share:.0f} % of the teacher's work, so this pair can hardly pay: give "
                "--widths auto, fewer --blocks or a larger teacher"
            )
        return told


@dataclass(frozen=True)
class PromiseOutlook:
    """Whether there are images enough for a promise.

    Attributes:
        images: distinct ones of the stream, about.
        promising: how many of them test the promise, about.
        needed: how many that takes at least, if the student makes no mistake on them.
        wanted: images of the source that would give as many.
        epsilon: of the promise.
    """

    images: int
    promising: int
    needed: int
    wanted: int
    epsilon: float

    @classmethod
    def of(
        cls, images: int, protocol: Protocol, held_back: int, epsilon: float, confidence: float = 0.95
    ) -> PromiseOutlook:
        """Returns that of the rule `accuracy`.

        Args:
            images: of the training split, of the classes that the stream shows.
            protocol: "disjoint" leaves half of them to the teacher.
            held_back: most images held back.
            epsilon: largest loss promised.
            confidence: with which.

        Raises:
            UserError: no number of images is enough for this epsilon.
        """
        needed = flawless_images("accuracy", {"epsilon": epsilon, "confidence": confidence}, 1 - confidence)
        promising = min(int(images * promising_share(protocol)), held_back - math.ceil(held_back / CHOOSING_EVERY))
        own = images // 2 if protocol == "disjoint" else images
        return cls(own, promising, needed, images_for(needed, protocol), epsilon)

    def lines(self) -> list[str]:
        """Returns what a user should know, a sentence a line."""
        told = [
            f"about {self.promising:,} of some {self.images:,} distinct images test the promise, which takes at least "
            f"{self.needed:,} for a loss of {100 * self.epsilon:g} %"
        ]
        if self.promising < self.needed:
            told.append(
                f"that is too few, and everything will be deferred: give about {self.wanted:,} images, or a larger "
                "--epsilon"
            )
        return told


def _millions(work: Macs) -> str:
    binary = f" ({work.binary_macs / 1e6:,.1f} M of them binary)" if work.binary_macs else ""
    return f"{(work.float_macs + work.binary_macs) / 1e6:,.1f} M{binary}"
