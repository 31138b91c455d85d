"""The sections of a report that need no label: what the teacher's probabilities say of held-back stream images."""

from __future__ import annotations

from envise_tf.evaluate import figures, photographs
from envise_tf.evaluate.evaluation import Evaluation
from envise_tf.evaluate.verdict import shown_gie
from envise_tf.prior.adaptation import Adaptation
from envise_tf.report.section import Rows, Section, as_points, percent, picture_of

_LOSSES = (0.005, 0.01, 0.02, 0.05, 0.1)
"""Expected losses of accuracy for which the table names the largest GiE."""

_MOST_RARE = 12


def expected_section(evaluation: Evaluation) -> Section:
    """Returns accuracy against GiE at every threshold, expected by the teacher's probabilities."""
    curves = {name: evaluation.expected_curve(name) for name in evaluation.scores}
    rule, own = evaluation.rule, curves[evaluation.score]
    rows = [["expected accuracy", ""], ["teacher alone", percent(own.accuracy[-1])]]
    rows += [["cascade", percent(evaluation.expected_accuracy)], ["student alone", percent(own.accuracy[0])]]
    gains = [["expected loss, at most", "GiE"]]
    for loss in _LOSSES:
        gains.append([as_points(loss), shown_gie(evaluation, own.best_gie(own.accuracy[-1] - loss))])
    return Section(
        "Accuracy and work, as expected without labels",
        texts=[
            f"On the {len(evaluation.promising):,} images of the promise. An answer counts with the probability that "
            "the teacher gives it, so these figures are as right as the teacher's probabilities are. They are "
            "expectations: only the threshold that was chosen carries the promise, with its confidence.",
        ],
        tables=[rows, gains],
        figures=[
            picture_of(
                figures.accuracy_against_gie(
                    curves,
                    evaluation.score,
                    (evaluation.served_gie, evaluation.expected_accuracy),
                    rule.promised if evaluation.threshold.rule == "accuracy" else None,
                    "expected accuracy",
                ),
                "Expected accuracy against GiE over all thresholds; grey: the other scores",
            )
        ],
    )


def shares_section(evaluation: Evaluation, adaptation: Adaptation) -> Section:
    """Returns the classes of the stream with the intervals of their shares."""
    calibration = "taken as it comes, for want of labelled images"
    if adaptation.calibration_images:
        temperature, images = adaptation.calibration.temperature, adaptation.calibration_images
        calibration = f"divided by a temperature of {temperature:.2f}, from {images:,} labelled images"
    return Section(
        "Which classes the stream shows",
        [
            f"Estimated from {adaptation.images:,} unlabelled images, with 95 % intervals of their draw. The teacher "
            f"is adapted to these shares; {percent(adaptation.outlier_rate, 0)} are kept for classes that the stream "
            f"has not shown. Its confidence is {calibration}.",
        ],
        figures=[
            picture_of(
                figures.class_shares(adaptation, evaluation.class_names, evaluation.finished.teacher_classes),
                "Estimated shares of the most frequent classes",
            )
        ],
    )


def score_section(evaluation: Evaluation) -> Section:
    """Returns the score that decides, by what the teacher says of the student's answers."""
    seen = evaluation.seen[evaluation.score][1]
    groups = {
        "teacher agrees": seen.score[seen.agrees],
        "teacher disagrees": seen.score[~seen.agrees & seen.is_inlier],
        "a class that the student lacks": seen.score[~seen.is_inlier],
    }
    histogram = figures.score_histogram(groups, evaluation.threshold.values, evaluation.score, as_counts=True)
    return Section(
        "The score that decides",
        texts=["To the right of the threshold the student answers, to the left the teacher does."],
        figures=[picture_of(histogram, f"The score {evaluation.score} among the images of the promise")],
    )


def photograph_sections(evaluation: Evaluation) -> list[Section]:
    """Returns the images of the promise that tell most: deferred, just answered, surely answered."""
    shown = (
        (
            "Left to the teacher",
            "The lowest scores first, with the teacher's answer and the probability that it gives it.",
            photographs.deferred(evaluation),
        ),
        (
            "Answered by the student, least sure",
            "The lowest scores above the threshold, with the teacher's answer where it is another.",
            photographs.least_sure(evaluation),
        ),
        (
            "Answered by the student, surest",
            "The highest scores first.",
            photographs.surest(evaluation),
        ),
    )
    return [Section(title, [text], photographs=pictures) for title, text, pictures in shown if pictures]


def rare_section(evaluation: Evaluation) -> Section:
    """Returns the classes that the teacher finds among the held-back images and the student lacks."""
    found = photographs.rare_classes(evaluation)
    images = len(evaluation.choosing) + len(evaluation.promising)
    title = "Rare classes found"
    if not found:
        return Section(
            title, [f"The teacher sees none of the {images:,} held-back images in a class that the student lacks."]
        )
    adaptation, names = evaluation.finished.adaptation, evaluation.class_names
    rows: Rows = [["class", "images", "deferred", *(["share of the stream"] if adaptation is not None else [])]]
    for each in found[:_MOST_RARE]:
        row = [names[each.label], str(each.images), str(each.deferred)]
        if adaptation is not None:
            lower, upper = (percent(side[each.label], 2) for side in (adaptation.lower, adaptation.upper))
            row.append(f"{lower} to {upper}")
        rows.append(row)
    total, left = (sum(getattr(each, name) for each in found) for name in ("images", "deferred"))
    text = (
        f"The teacher puts {total:,} of the {images:,} held-back images in {len(found)} classes that the student has "
        f"not learned; {left:,} of them are deferred."
    )
    if len(found) > _MOST_RARE:
        text += f" The {_MOST_RARE} most frequent are listed."
    shown = photographs.rare(evaluation) if evaluation.shows_photographs else []
    return Section(title, [text], [rows], photographs=shown)


def attention_section(evaluation: Evaluation) -> Section:
    """Returns where both networks look."""
    return Section(
        "Attention",
        texts=[
            "Grad-CAM of images of the promise. From left to right: the image; the teacher for the class that it "
            "predicts; the student for the same class; the student for its most probable other class. Where it lacks "
            "the teacher's class: its two most probable ones."
        ],
        maps=photographs.attention_rows(evaluation),
    )
