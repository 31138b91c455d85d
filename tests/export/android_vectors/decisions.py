"""Decisions: what the runtime answers when its networks say just this, and how its classes rank."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import special

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


def decisions() -> list[dict]:
    random = np.random.default_rng(2)
    nan, inf = np.nan, np.inf
    thresholds = [0.5, None, -0.25]
    logits = [
        [2, 1, 0],
        [1, 2, 0],
        [0, 1, 2],
        [1, 1, 1],
        [0, 2, 2],
        [nan, 1, 0],
        [0, 1, nan],
        [inf, 0, inf],
        [-inf] * 3,
        [-0.0, 0.0, -1],
    ]
    just_below = float(np.nextafter(np.float32(0.5), np.float32(0)))
    scores = [0.5, just_below, -0.25, nan, inf, -inf]
    teacher = [0, 1, 1, -3, 1]
    cases = [(thresholds, one, score, teacher, None) for one in logits for score in scores]
    for said in ([0, 0, 0, 0, 0], [1, 2, 2, 1, 0], [-inf, -inf, 3, inf, inf], [nan, 0, 0, 0, 0], [0, 0, 0, 0, nan]):
        cases += [(thresholds, [0, 1, 0], 0.0, said, adaptation) for adaptation in (None, adaptation_of(random))]
    for _ in range(30):
        limits = [float(value) for value in random.normal(size=3)]
        said = 5 * random.normal(size=5)
        cases.append((limits, random.normal(size=3), float(random.normal()) - 1, said, adaptation_of(random)))
    decided = [_decision(*case) for case in cases]
    return decided + [case | _filtered(case, options) for case, options in zip(decided[-30:], _options(), strict=True)]


def _decision(thresholds: list, logits: Any, score: float, teacher: Any, adaptation: dict | None) -> dict:
    """Returns a case as export/runtime.py answers it, with networks that say just this."""
    manifest = manifest_of(thresholds, adaptation)
    networks = {"student": Saying(*student_outputs(manifest, logits, score)), "teacher": Saying(teacher)}
    bundle = bundle_of(manifest)
    case = {
        "thresholds": thresholds,
        "student_logits": plain(np.float32(logits)),
        "score": plain(np.float32(score))[0],
        "teacher_logits": plain(np.float32(teacher)),
        "adaptation": adaptation,
    }
    with saying(networks):
        cascade = runtime.Cascade(bundle)
        try:
            answers = cascade.classify_batch(np.zeros((1, SIZE, SIZE, 3), np.uint8))
        except UserError as error:
            return case | {"error": kind(error)}
    case |= {"label": int(answers.label[0]), "by_student": bool(answers.by_student[0])}
    said = np.float32(teacher)
    if adaptation is not None:
        said = bundle.adaptation.adapted(said[np.newaxis])[0]
        case["adapted"] = plain(said)
    return (
        case | _ranked(np.float32(logits), CLASSES) if case["by_student"] else case | _ranked(said, range(len(NAMES)))
    )


def _ranked(logits: np.ndarray, classes: Sequence[int]) -> dict:
    """Returns the classes by falling probability, of equals the first first; nothing where a logit is infinite."""
    if not np.isfinite(logits).all():
        return {}
    probabilities = special.softmax(logits.astype(np.float64))
    return {
        "categories": [[classes[place], float(probabilities[place])] for place in np.argsort(-logits, kind="stable")]
    }


def _options() -> list[dict]:
    """Returns thirty different filters of categories."""
    lists = [
        {},
        {"allowlist": ["ant", "elk"]},
        {"denylist": ["elk", "cat"]},
        {"allowlist": ["dögs"]},
        {"denylist": [*NAMES]},
    ]
    limits = [{}, {"max_results": 1}, {"max_results": 2}, {"score_threshold": 0.1}, {"score_threshold": 0.9}]
    both = {"max_results": 2, "score_threshold": 0.05}
    return [names | most for names in lists for most in (*limits, both)]


def _filtered(case: dict, options: dict) -> dict:
    categories = [
        [label, share]
        for label, share in case["categories"]
        if share >= options.get("score_threshold", 0)
        and NAMES[label] in options.get("allowlist", NAMES)
        and NAMES[label] not in options.get("denylist", ())
    ]
    return {"options": options, "categories": categories[: options.get("max_results")]}
