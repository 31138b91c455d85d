"""What an evaluation comes to, in a few figures and sentences: the card of a report, and the terminal's first table."""

from __future__ import annotations

from envise_tf.deferral.promise import Kept
from envise_tf.deferral.rules import as_percent
from envise_tf.evaluate.advice import advice
from envise_tf.evaluate.evaluation import Evaluation
from envise_tf.report.card import Card, Fact, Tone
from envise_tf.report.section import percent

_ROUNDING = 1e-9
_TONES: dict[str, Tone] = {"kept": "good", "refuted": "bad", "not decided": "plain"}


def card(evaluation: Evaluation) -> Card:
    """Returns the verdict of an evaluation."""
    return Card(facts(evaluation), sentences(evaluation))


def facts(evaluation: Evaluation) -> list[Fact]:
    """Returns who answers, what that saves, what is promised and what came of it; labels where there are any."""
    threshold, rule = evaluation.threshold, evaluation.rule
    bound, images = f"{'≤' if rule.is_upper_bound else '≥'} {as_percent(rule.promised)}", len(evaluation.promising)
    if threshold.why_all_deferred is not None:
        return [
            Fact("answered by the student", "nothing", f"of the stream, on {images:,} held-back images"),
            Fact("work saved (GiE)", "none", "the teacher answers alone"),
            Fact("promise", "no threshold", f"makes that of {bound} {rule.figure}"),
        ]
    found = [
        Fact("answered by the student", percent(threshold.coverage), f"of the stream, on {images:,} held-back images"),
        Fact("work saved (GiE)", percent(evaluation.served_gie), "of the teacher's multiply-accumulates"),
        Fact("promised", bound, f"{rule.figure}, with confidence {as_percent(rule.confidence)}"),
        Fact("estimated", percent(evaluation.promise_estimated, 2), f"{rule.figure}, by {_estimated_by(evaluation)}"),
    ]
    if (labelled := evaluation.labelled_promise) is not None:
        note = f"accuracy lost, by {labelled.images:,} labelled images"
        found.append(Fact("promised by labels", f"≤ {percent(labelled.most_lost)}", note))
    if evaluation.examination is not None:
        found += _measured(evaluation.promise_kept)
    return found


def sentences(evaluation: Evaluation) -> list[str]:
    """Returns what the promise supposes, or why there is none and what helps; then what labelled test images say."""
    why = evaluation.threshold.why_all_deferred
    if why is not None:
        return [f"The teacher answers everything: {why}.", f"What helps: {advice(evaluation)}."]
    told = [f"The promise supposes that {_supposed(evaluation)}the stream goes on as it was."]
    if evaluation.examination is not None:
        point = evaluation.point(evaluation.score, evaluation.reported_rate)
        direction = "below" if point.loss >= 0 else "above"
        told.append(
            f"With {percent(point.outlier_rate, 0)} outliers among the test images the cascade is "
            f"{100 * abs(point.loss):.1f} points {direction} the teacher's accuracy and saves {percent(point.gie)} "
            "of its work."
        )
    return told


def shown_gie(evaluation: Evaluation, gain: float, after: str = " %") -> str:
    """Returns a GiE in percent, or that no threshold reaches it.

    Args:
        evaluation: whose networks save it.
        gain: NaN, or that of deferring every image, -F_S / F_T, where there is no threshold.
        after: the unit, or what else follows the number.
    """
    student, teacher = evaluation.flops
    return f"{100 * gain:.1f}{after}" if gain > -student / teacher + _ROUNDING else "no threshold"


def _estimated_by(evaluation: Evaluation) -> str:
    return "the teacher's own probabilities" if evaluation.rule.supposition else "the same images"


def _measured(kept: Kept) -> list[Fact]:
    measured = percent(kept.measured, 2)
    interval = f"{percent(kept.lower, 2)} to {percent(kept.upper, 2)}"
    what = "true loss" if kept.figure == "accuracy lost" else kept.figure
    return [
        Fact(f"{what}, by labels", measured, f"{interval}, on {kept.images:,} test images"),
        Fact("the promise is", kept.verdict, "on labelled test images", _TONES[kept.verdict]),
    ]


def _supposed(evaluation: Evaluation) -> str:
    if evaluation.is_by_labels:
        return "images of a class look alike in the labelled folder and on the stream, and that "
    if evaluation.rule.supposition is not None:
        return "the teacher is right as often as its probabilities say, and that "
    return ""
