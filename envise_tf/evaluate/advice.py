"""What helps where a promise cannot be made."""

from __future__ import annotations

import math

from envise_tf.evaluate.evaluation import Evaluation
from envise_tf.images.halves import CHOOSING_EVERY, images_for

_WEAKER = {
    "accuracy": "a larger --epsilon promises less",
    "risk": "a larger --epsilon promises less",
    "recall": "a smaller --recall promises less",
    "rate": "a larger --rate promises less",
}


def advice(evaluation: Evaluation) -> str:
    """Returns how a promise can be made that could not: with which flags, and with how many images."""
    weaker = _WEAKER[evaluation.threshold.rule]
    if evaluation.per_class:
        return f"one threshold for all classes (--per_class false) takes far fewer images; {weaker}"
    choosing, promising = evaluation.seen[evaluation.score]
    rule, trained = evaluation.rule, evaluation.finished.job.settings
    needed = rule.images_needed(choosing, promising, 1 - rule.confidence)
    if needed is None:
        return f"a longer training (--windows of train); {weaker}"
    held_back = math.ceil(needed * CHOOSING_EVERY / (CHOOSING_EVERY - 1))
    images = images_for(needed, evaluation.finished.job.held_back.protocol)
    told = f"{needed:,} images of the promise, {len(promising):,} now, take about {images:,} stream images"
    if held_back > trained.held_back:
        told += f" and --held_back {held_back} in training, {trained.held_back} now"
    return f"{told}; {weaker}"
