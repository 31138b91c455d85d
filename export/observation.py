"""The stream's prior estimated anew where a bundle runs, from what the teacher says of deferred images and of audits.

Deferred images are no fair sample of the stream: the student defers what it is not sure of, so an estimate from them
alone finds too much of the classes that it does not know well. An audit is an image that the student would answer and
that chance shows to the teacher all the same. With audits at share a, an image comes to the teacher with chance 1 if
the student defers it and with chance a if not. Each counts by the reciprocal of its chance [Horvitz and Thompson 1952],
so the estimate is one of the whole stream, whatever the student defers.

The price is spread: w being the weights, the estimate is about as sure as one from (sum w)^2 / sum w^2 images of a
fair sample [Kish 1965]. Of those that the teacher sees that is at least a share of 4a / (1 + a)^2: 18 % with audits at
5 %, 4 % with audits at 1 %.

What is estimated is the prior, and what follows are the teacher's answers. The student's thresholds and their promise
stay those of the stream that the bundle was made on.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from envise_tf.errors import UserError
from envise_tf.export.bundle import Bundle
from envise_tf.prior.estimation import WindowPrior
from envise_tf.prior.shift import PRIOR_TOLERANCE

FEWEST_IMAGES = 100
"""Smallest window (our choice: fewer images say next to nothing of the shares of some dozens of classes)."""

_STORED = np.dtype("<f4")


class Observation:
    """What a device has seen of its stream.

    Responsible for who is audited, for the estimate of the prior and for keeping both over a restart. Not for running
    a network. It holds a window of the teacher's answers, and beyond it a few numbers per class.

    Args:
        bundle: with an adapted teacher.
        audit_share: chance of an image that the student would answer to be audited, in (0, 1].
        window: number of the latest images before the teacher that count, at least 100.
        seed: of the audits' draw; None draws anew.

    Raises:
        UserError: the bundle's teacher is not adapted, or a number is out of its range.
    """

    def __init__(self, bundle: Bundle, audit_share: float, window: int, seed: int | None = None) -> None:
        adaptation = bundle.adaptation
        if adaptation is None:
            raise UserError(
                f"the bundle {bundle.folder} has a raw teacher, whose answers say nothing sure of the prior: expected "
                "an adaptation in its manifest; train with --adapt true and export again"
            )
        if not 0 < audit_share <= 1:
            raise UserError(
                f"audit_share {audit_share}: expected more than 0 and at most 1; without audits, deferred images alone "
                "would give a wrong prior"
            )
        if window < FEWEST_IMAGES:
            raise UserError(f"a window of {window} images: expected at least {FEWEST_IMAGES}")
        self._adaptation, self._audit_share, self._size = adaptation, audit_share, window
        self._window = WindowPrior(window, adaptation.source_prior)
        self._random = np.random.default_rng(seed)
        self._teacher = _fingerprint(bundle)

    @property
    def images(self) -> int:
        """Number of images in the window."""
        return self._window.images

    @property
    def prior(self) -> np.ndarray:
        """The stream's prior, float64 (classes,): the bundle's until the window is full, then the window's."""
        return self._window.prior if self.images == self._size else self._adaptation.prior

    def audited(self, images: int) -> np.ndarray:
        """Returns which of so many images that the student would answer are audited, bool (images,), by chance."""
        return self._random.random(images) < self._audit_share

    def see_deferred(self, logits: np.ndarray) -> None:
        """Takes in the teacher's raw logits, float (n, classes), of all images that the student has deferred."""
        self._window.update(self._adaptation.calibrated(logits))

    def see_audited(self, logits: np.ndarray) -> None:
        """Takes in the teacher's raw logits, float (n, classes), of all images that `audited` has chosen."""
        self._window.update(self._adaptation.calibrated(logits), 1 / self._audit_share)

    def state(self) -> dict[str, Any]:
        """Returns all that `restore` needs, as JSON takes it: some 5 bytes per image in the window and class."""
        kept = self._window.snapshot()
        arrays = {name: _as_text(kept[name]) for name in ("ratios", "weights")}
        return {"teacher": self._teacher, "prior": kept["prior"].tolist(), **arrays}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continues where `state` was taken, before the first image; a smaller window keeps the newest images.

        Raises:
            UserError: the state is damaged, or is that of another teacher or calibration.
        """
        try:
            teacher, prior = state["teacher"], np.array(state["prior"], np.float64)
            ratios, weights = (_as_array(state[name]) for name in ("ratios", "weights"))
            ratios = ratios.reshape(len(weights), len(self._adaptation.bias))
            is_whole = teacher == self._teacher and _are_answers(ratios, weights) and _is_prior(prior, ratios.shape[1])
        except (KeyError, TypeError, ValueError):
            is_whole = False
        if not is_whole:
            raise UserError(
                "the state of an observation is damaged, or that of another teacher: expected what state() returned "
                "for this bundle; leave it out to begin anew"
            )
        self._window.restore({"prior": prior, "ratios": ratios, "weights": weights})


def _fingerprint(bundle: Bundle) -> str:
    """Returns a name of the teacher and its calibration: what the answers in a window depend on."""
    calibration = [bundle.manifest["adaptation"][key] for key in ("temperature", "bias", "source_prior")]
    parts = json.dumps([bundle.manifest["teacher"]["sha256"], calibration])
    return hashlib.sha256(parts.encode()).hexdigest()


def _are_answers(ratios: np.ndarray, weights: np.ndarray) -> bool:
    is_ratio = (ratios >= 0).all() and (ratios.max(axis=1) == 1).all()
    return bool(is_ratio and (weights >= 1).all() and np.isfinite(weights).all())


def _is_prior(prior: np.ndarray, classes: int) -> bool:
    return prior.shape == (classes,) and bool((prior >= 0).all()) and abs(prior.sum() - 1) <= PRIOR_TOLERANCE


def _as_text(values: np.ndarray) -> str:
    return base64.b64encode(values.astype(_STORED).tobytes()).decode()


def _as_array(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text, validate=True), _STORED).astype(np.float32)
