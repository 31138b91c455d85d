"""Streams that a device observes: who answers each image, the prior that it estimates, and the state that it keeps."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from android_vectors.cases import (
    CLASSES,
    NAMES,
    SIZE,
    Saying,
    adaptation_of,
    bundle_of,
    kind,
    manifest_of,
    plain,
    saying,
    student_outputs,
)
from envise_tf.errors import UserError
from envise_tf.export import runtime
from envise_tf.export.observation import Observation

EVERY = 20
"""Of the stream's images one is followed by a look at the prior."""


def observations() -> dict[str, Any]:
    """Returns streams, and states that are taken or refused."""
    return {"streams": [_stream(*case) for case in _streams()], "states": _states(), "refused": _refused()}


def _streams() -> Iterator[tuple[str, int, float, int, int, int, tuple[float, int] | None]]:
    """Yields name, seed, share of audits, window, after how many images the device restarts with what window, limit."""
    yield "audits at 30 %", 1, 0.3, 100, 0, 0, None
    yield "every image", 2, 1.0, 120, 0, 0, None
    yield "few audits", 3, 0.02, 100, 0, 0, None
    yield "a restart", 4, 0.5, 150, 130, 150, None
    yield "a restart with a smaller window", 5, 0.8, 200, 230, 100, None
    yield "a limit of 30 % of 20 images", 6, 0.5, 100, 0, 0, (0.3, 20)
    yield "a limit of one image in seven, and a restart", 7, 1.0, 100, 150, 100, (0.15, 7)
    yield "a limit whose product is rounded down", 8, 0.25, 100, 0, 0, (0.29, 100)


class Draws:
    """A generator of random numbers that gives those of a case."""

    def __init__(self) -> None:
        self.next = 0.0

    def random(self, count: int) -> np.ndarray:
        return np.full(count, self.next)


def _stream(
    name: str,
    seed: int,
    share: float,
    window: int,
    restart: int,
    later_window: int,
    limit: tuple[float, int] | None,
) -> dict:
    random = np.random.default_rng(seed)
    adaptation = adaptation_of(random)
    manifest = manifest_of([0.0, 0.25, None], adaptation)
    images = [
        _image(random, label) for label in random.choice(len(NAMES), 280, p=random.dirichlet(np.ones(len(NAMES))))
    ]
    networks = {"student": Saying(*student_outputs(manifest, np.zeros(3), 0)), "teacher": Saying(np.zeros(5))}
    draws, priors, answers, state = Draws(), [], [], None
    with saying(networks):
        cascade = runtime.Cascade(bundle_of(manifest))
        _observe(cascade, draws, share, window)
        if limit is not None:
            cascade.limit(*limit)
        for index, image in enumerate(images):
            if index == restart > 0:
                state = cascade.observation.state()
                _observe(cascade, draws, share, later_window, json.loads(json.dumps(state)))
            networks["student"].say(*student_outputs(manifest, image["student_logits"], image["score"]))
            networks["teacher"].say(image["teacher_logits"])
            draws.next = image["draw"]
            answer = cascade.classify_batch(np.zeros((1, SIZE, SIZE, 3), np.uint8))
            answers.append([int(answer.label[0]), bool(answer.by_student[0]), bool(answer.promised[0])])
            if (index + 1) % EVERY == 0:
                priors.append(plain(cascade.observation.prior))
    return {
        "name": name,
        "thresholds": manifest["student"]["threshold"]["values"],
        "adaptation": adaptation,
        "audit_share": share,
        "window": window,
        "limit": limit and list(limit),
        "images": [
            [*image["student_logits"], image["score"], *image["teacher_logits"], image["draw"]] for image in images
        ],
        "answers": answers,
        "priors": priors,
        "counts": [getattr(cascade.counters, name) for name in ("answered", "deferred", "audited", "unpromised")],
        "restart": None if state is None else {"after": restart, "window": later_window, "state": state},
    }


def _image(random: np.random.Generator, label: int) -> dict:
    """Returns what both networks say of an image, in eighths, which float32 has exactly, and the draw of its audit."""
    said = 2 * random.normal(size=len(NAMES)) + 5 * (np.arange(len(NAMES)) == label)
    known = said[list(CLASSES)] + random.normal(size=3)
    values = {"student_logits": known, "score": random.normal() + 0.25, "teacher_logits": said}
    return {key: (np.round(8 * value) / 8).tolist() for key, value in values.items()} | {
        "draw": random.integers(64) / 64
    }


def _observe(cascade: runtime.Cascade, draws: Draws, share: float, window: int, state: dict | None = None) -> None:
    cascade.observe(share, window, state)
    cascade.observation._random = draws


def _states() -> list[dict]:
    """Returns states of one stream, most of them damaged, and what Python says of each."""
    adaptation = adaptation_of(np.random.default_rng(6))
    manifest = manifest_of([0.0, 0.0, 0.0], adaptation)
    observation = Observation(bundle_of(manifest), 0.25, 100)
    few = observation.state()
    logits = np.random.default_rng(7).normal(size=(4, 5))
    observation.see_deferred(logits[:2])
    observation.see_audited(logits[2:])
    state = observation.state()
    others = {
        "whole": state,
        "empty window": few,
        "no object": [],
        "empty": {},
        "without weights": {key: value for key, value in state.items() if key != "weights"},
        "weights of none": state | {"weights": few["weights"]},
        "ratios of none": state | {"ratios": few["ratios"]},
        "no base64": state | {"ratios": "?" * 40},
        "ratios cut": state | {"ratios": state["ratios"][:-8]},
        "weights without padding": state | {"weights": state["weights"].rstrip("=")},
        "weights of zero": state | {"weights": "AAAA" * (len(state["weights"]) // 4)},
        "ratios of zero": state | {"ratios": "A" * len(state["ratios"])},
        "no prior": state | {"prior": None},
        "short prior": state | {"prior": [0.5, 0.5]},
        "prior of sum 5": state | {"prior": [1.0] * 5},
        "negative prior": state | {"prior": [-1.0, 2.0, 0.0, 0.0, 0.0]},
        "another teacher": state | {"teacher": "0" * 64},
        "a teacher that is a number": state | {"teacher": 1},
    }
    cases = []
    for name, other in others.items():
        case = {"name": name, "adaptation": adaptation, "state": other, "error": None}
        try:
            Observation(bundle_of(manifest), 0.25, 100).restore(other)
        except UserError as error:
            case["error"] = kind(error)
        cases.append(case)
    return cases


def _refused() -> list[dict]:
    """Returns bundles and teachers that cannot be observed."""
    adaptation = adaptation_of(np.random.default_rng(8))
    infinite = [0.0, np.inf, 0.0, 0.0, 0.0]
    cases = []
    for name, given, said in (("raw teacher", None, [0.0] * 5), ("infinite", adaptation, infinite)):
        manifest = manifest_of([None, None, None], given)
        with saying({"student": Saying(*student_outputs(manifest, np.zeros(3), 0)), "teacher": Saying(said)}):
            cascade = runtime.Cascade(bundle_of(manifest))
            try:
                cascade.observe()
                cascade.classify_batch(np.zeros((1, SIZE, SIZE, 3), np.uint8))
                told = None
            except UserError as error:
                told = kind(error)
        cases.append({"name": name, "adaptation": given, "teacher_logits": plain(said), "error": told})
    return cases
