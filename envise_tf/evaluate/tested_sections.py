"""The sections of a report that labelled test images fill."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.metrics import confusion_matrix

from envise_tf.evaluate import figures
from envise_tf.evaluate.evaluation import COMPARED_LOSS, REPORTED_RATE, Evaluation
from envise_tf.evaluate.gallery import attention_rows, mistakes
from envise_tf.evaluate.test_pass import Examination
from envise_tf.evaluate.verdict import shown_gie
from envise_tf.measures.equal_accuracy import ALLOWED_LOSSES
from envise_tf.measures.outlier_metrics import roc
from envise_tf.measures.separation import LEAST_PROJECTED, projected
from envise_tf.report.section import Rows, Section, as_points, percent, picture_of


def mistakes_section(evaluation: Evaluation) -> Section:
    """Returns the test images that should have been deferred."""
    shown = mistakes(evaluation)
    text = (
        "Images that the student answered wrongly and the teacher would have answered correctly, highest scores "
        "first, images of outlier classes that passed for inliers among them."
        if shown
        else "The student answered no test image wrongly that the teacher would have answered correctly."
    )
    return Section("Worst mistakes", [text], photographs=shown)


def rates_section(evaluation: Evaluation, examination: Examination) -> Section:
    """Returns accuracy and work at every outlier rate, at the chosen threshold and at equal accuracy."""
    points = [evaluation.point(evaluation.score, rate) for rate in evaluation.rates]
    rows = [["% at outliers of", *(percent(point.outlier_rate, 0) for point in points)]]
    for label, name in (
        ("student alone, accuracy", "accuracy_student"),
        ("teacher alone, accuracy", "accuracy_teacher"),
        ("cascade, accuracy", "accuracy_cascade"),
        ("teacher - cascade", "loss"),
        ("± standard error", "loss_standard_error"),
        ("deferred", "deferral_rate"),
        ("… outliers caught", "outliers_caught"),
        ("… false alarms", "false_alarms"),
    ):
        rows.append([label, *(f"{100 * getattr(point, name):.1f}" for point in points)])
    rows.append(["GiE", *(shown_gie(evaluation, point.gie, "") for point in points)])
    rows.append(["speedup (FLOPs), times", *(f"{point.speedup:.2f}" for point in points)])
    score = evaluation.score
    curves = {name: evaluation.curve(name, evaluation.reported_rate) for name in evaluation.scores}
    point = evaluation.point(score, evaluation.reported_rate)
    about = f"at {percent(evaluation.reported_rate, 0)} outliers"
    return Section(
        "Accuracy and work, by the share of outliers",
        texts=[
            "Test images of the scenario's inlier and outlier classes, weighted to each share of outliers. "
            "The student alone is wrong about every outlier; a false alarm costs work, never accuracy.",
            "GiE at equal accuracy: the most that a threshold of this score saves whose cascade is at most so many "
            "points below a teacher, found with the labels' help; ± is the standard error, by bootstrap over images. "
            "The raw teacher is the one that came, the adapted one knows the stream's class shares and serves.",
        ],
        tables=[rows, *(_equal(evaluation, teacher) for teacher in examination.teachers)],
        figures=[
            picture_of(
                figures.accuracy_against_gie(
                    curves, score, (point.gie, point.accuracy_cascade), COMPARED_LOSS, "accuracy"
                ),
                f"Accuracy against GiE over all thresholds, {about}; grey: the other scores",
            ),
            picture_of(figures.gie_against_outlier_rate(points), "GiE and deferral by outlier rate, chosen threshold"),
        ],
    )


def _equal(evaluation: Evaluation, teacher: str) -> Rows:
    """Returns GiE at equal accuracy against a teacher, a row for each loss and a column for each outlier rate."""
    found = [by_teacher[teacher] for by_teacher in evaluation.equal_accuracy.values()]
    accuracies = (f"{100 * one.accuracy:.1f} ± {100 * one.accuracy_standard_error:.1f}" for one in found)
    rows = [
        [f"% at outliers of, {teacher} teacher", *(percent(rate, 0) for rate in evaluation.equal_accuracy)],
        [f"{teacher} teacher alone, accuracy", *accuracies],
    ]
    for i, loss in enumerate(ALLOWED_LOSSES):
        gains = (shown_gie(evaluation, one.gie[i], f" ± {100 * one.gie_standard_error[i]:.1f}") for one in found)
        rows.append([f"GiE, {as_points(loss)} below it", *gains])
    return rows


def scores_section(evaluation: Evaluation, examination: Examination, values: dict[str, Any]) -> Section:
    """Returns all scores side by side, their tables folded."""
    scores, is_outlier = examination.scores, examination.predictions.is_outlier
    chosen = evaluation.score
    texts = [f"{name} is left out: {reason}." for name, reason in evaluation.not_applicable.items()]
    groups = {"inlier": scores[chosen][~is_outlier], "outlier": scores[chosen][is_outlier]}
    histogram = figures.score_histogram(groups, evaluation.threshold.values, chosen)
    pictures = [picture_of(histogram, f"The score that decides, {chosen}, among test images")]
    if not is_outlier.any():
        texts = ["The scenario has no outliers to tell from the inliers.", *texts]
        return Section("Outlier scores", texts, figures=pictures)
    found = values["scores"]
    order = sorted(found, key=lambda name: -found[name]["auroc"])
    curves = {name: roc(scores[name][~is_outlier], scores[name][is_outlier]) for name in order}
    pictures += [
        picture_of(figures.roc_curves(curves, {name: found[name]["auroc"] for name in order}), "ROC, inliers positive")
    ]
    return Section(
        "Outlier scores",
        texts=[
            f"Larger = more inlier. AUPR is given for {percent(REPORTED_RATE, 0)} outliers, with inliers and "
            "with outliers as the positive class; error is (miss + false alarm) / 2 at the best threshold.",
            "The second table takes each score's own threshold, chosen by the same rule. The third compares the "
            f"scores at equal accuracy: the largest GiE that costs at most {as_points(COMPARED_LOSS)}, over all "
            "thresholds, with the labels' help. No threshold: everything is deferred, which saves nothing.",
            *texts,
        ],
        tables=_score_tables(evaluation, order, found),
        folded=f"Tables of all {len(order)} scores",
        figures=pictures,
    )


def _score_tables(evaluation: Evaluation, order: Sequence[str], found: Mapping[str, Any]) -> list[Rows]:
    """Returns outlier metrics, GiE at each score's own threshold and GiE at equal accuracy, a row for each score."""
    metrics = [["score", "AUROC", "FPR at 95 %", "AUPR in", "AUPR out", "error"]]
    header = [f"at {percent(rate, 0)}" for rate in evaluation.rates]
    own, equal = [["GiE, own threshold", *header]], [["GiE, equal accuracy", *header]]
    for name in order:
        keys = ("auroc", "fpr_at_95_recall", "aupr_inlier", "aupr_outlier", "detection_error")
        metrics.append([name, *(f"{found[name][key]:.3f}" for key in keys)])
        for rows, gain in ((own, "gie"), (equal, "gie_at_equal_accuracy")):
            rows.append([name, *(shown_gie(evaluation, found[name][gain][str(rate)]) for rate in evaluation.rates)])
    return [metrics, own, equal]


def attention_section(evaluation: Evaluation, values: dict[str, Any]) -> Section:
    """Returns where both networks look, held against bounding boxes where the source has them."""
    rows = []
    if values["localisation"]:
        rows = [[["", "teacher", "student"]]]
        found = [values["localisation"][network] for network in ("teacher", "student")]
        for label, key in (
            ("pointing game", "pointing"),
            ("attention in the box", "share_inside"),
            ("box, share of image", "chance"),
        ):
            rows[0].append([label, *("none" if np.isnan(one[key]) else percent(one[key]) for one in found)])
        rows[0].append(["images (without a map)", *(f"{one['images']} ({one['without_verdict']})" for one in found)])
    if not evaluation.shows_photographs:
        return Section("Attention", ["How well it is inside the test images' boxes, where they have any."], rows)
    return Section(
        "Attention",
        texts=[
            "Grad-CAM of test images. From left to right: the image; the teacher for the class that it predicts; the "
            "student for the same class; the student for its most probable other class. For an outlier, whose class "
            "the student lacks: the student's two most probable classes."
        ],
        tables=rows,
        maps=attention_rows(evaluation),
    )


def features_section(evaluation: Evaluation, examination: Examination, values: dict[str, Any], seed: int) -> Section:
    """Returns the student's features in a picture, and how well the classes separate in them."""
    rows = examination.feature_rows
    predictions, found = examination.predictions, values["separation"]
    names = dict(enumerate(evaluation.class_names))
    pictures = []
    if len(rows) >= LEAST_PROJECTED:
        points = projected(examination.features, seed)
        picture = figures.feature_picture(points, predictions.truth[rows], predictions.is_outlier[rows], names)
        pictures = [
            picture_of(picture, "Penultimate features of test images, laid out by t-SNE: only neighbourhood counts")
        ]
    tables = []
    if found["scatter_ratio"] is not None:
        tables = [
            [
                ["inliers, by true class", ""],
                ["between / within scatter", f"{found['scatter_ratio']:.3f}"],
                ["silhouette", f"{found['silhouette']:.3f}"],
            ]
        ]
    return Section("The student's features", tables=tables, figures=pictures)


def confusion_section(evaluation: Evaluation, examination: Examination) -> Section:
    """Returns which classes either network takes for which."""
    predictions = examination.predictions
    classes = evaluation.finished.teacher_classes
    names = [evaluation.class_names[label] for label in classes]
    inlier = ~predictions.is_outlier
    pictures = []
    for who, answer in (("teacher", predictions.teacher_class), ("student", predictions.student_class)):
        matrix = confusion_counts(predictions.truth[inlier], answer[inlier], classes)
        pictures.append(picture_of(figures.confusion(matrix, names), f"Confusion of the {who} on inlier test images"))
    return Section("Confusion", ["Answers outside the student's classes are left out."], figures=pictures)


def confusion_counts(truth: np.ndarray, answer: np.ndarray, classes: Sequence[int]) -> np.ndarray:
    """Returns how many images of each true class got each answer, int64 (k, k); those of other classes are left out.

    Args:
        truth: int64 (n,), -1 where the teacher has no such class.
        answer: int64 (n,).
        classes: the k classes of rows and columns.
    """
    known = np.isin(truth, classes)
    if not known.any():
        return np.zeros((len(classes), len(classes)), np.int64)
    return confusion_matrix(truth[known], answer[known], labels=classes)


def reliability_section(evaluation: Evaluation) -> Section:
    """Returns how often each teacher and the student are right where they are so sure."""
    found = {name if name == "student" else f"{name} teacher": each for name, each in evaluation.reliability.items()}
    rows = [["points", "calibration error", "confidence above accuracy"]]
    for name, each in found.items():
        rows.append([name, f"{100 * each.calibration_error:.1f}", f"{100 * each.overconfidence:+.1f}"])
    return Section(
        "How sure the networks are",
        [
            "A promise about accuracy takes the teacher at its word: where it gives a class 80 %, it should be right "
            "in 80 % of the images. One that is surer than that promises less than it could; one that is not sure "
            "enough may promise too much. Nothing is promised of the student's own probabilities, which share out all "
            "among its classes. Inlier test images, in fifteen bins of as many images each.",
        ],
        tables=[rows],
        figures=[
            picture_of(
                figures.reliability_diagram(found),
                "Accuracy against confidence; on the dotted line a network is calibrated",
            )
        ],
    )
