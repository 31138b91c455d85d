"""The report of an evaluation: one HTML file with every figure and picture in it, for phone, screen and print."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import confusion_matrix

from envise_tf.evaluate import figures
from envise_tf.evaluate.evaluation import COMPARED_LOSS, REPORTED_RATE, Evaluation
from envise_tf.evaluate.gallery import attention_rows, mistakes
from envise_tf.evaluate.test_pass import Examination
from envise_tf.measures.equal_accuracy import ALLOWED_LOSSES
from envise_tf.measures.outlier_metrics import roc
from envise_tf.measures.separation import LEAST_PROJECTED, projected
from envise_tf.prior.adaptation import Adaptation
from envise_tf.report.section import Rows, Section, page, percent, picture_of


def write_report(evaluation: Evaluation, values: dict[str, Any], settings: str, seed: int, path: Path) -> None:
    """Writes the report.

    Args:
        evaluation: what is shown.
        values: its figures, as `evaluation.figures` returns them.
        settings: of the evaluation, as YAML.
        seed: of the picture of features.
        path: where to write.
    """
    html = page(
        title=f"Student, teacher and cascade: {evaluation.finished.run.folder.name}",
        headline=_headline(evaluation),
        sections=_sections(evaluation, values, settings, seed),
        chosen=[evaluation.score],
    )
    evaluation.finished.run.write(path, html)


def _sections(evaluation: Evaluation, values: dict[str, Any], settings: str, seed: int) -> list[Section]:
    sections = [_promise(evaluation, values)]
    if evaluation.examination is not None:
        sections = [
            _rates(evaluation, evaluation.examination),
            *sections,
            *_tested(evaluation, evaluation.examination, values, seed),
        ]
    if evaluation.finished.adaptation is not None:
        sections.append(_shares(evaluation, evaluation.finished.adaptation))
    return [*sections, _work(values), _settings(evaluation, settings)]


def _tested(evaluation: Evaluation, examination: Examination, values: dict[str, Any], seed: int) -> list[Section]:
    sections = [_scores(evaluation, examination, values), _attention(evaluation, values), _mistakes(evaluation)]
    sections = [*sections, _features(evaluation, examination, values, seed), _confusion(evaluation, examination)]
    return [*sections, _reliability(evaluation)]


def _headline(evaluation: Evaluation) -> str:
    threshold = evaluation.threshold
    if threshold.why_all_deferred is not None:
        return f"The teacher answers everything: {threshold.why_all_deferred}."
    served = f"The student answers {percent(threshold.coverage)} of its stream."
    if evaluation.examination is None:
        return served
    point = evaluation.point(evaluation.score, _reported(evaluation))
    direction = "below" if point.loss >= 0 else "above"
    return (
        f"{served} With {percent(point.outlier_rate, 0)} outliers the cascade is {100 * abs(point.loss):.1f} points "
        f"{direction} the teacher's accuracy and saves {percent(point.gie)} of its work."
    )


def _reported(evaluation: Evaluation) -> float:
    return REPORTED_RATE if REPORTED_RATE in evaluation.rates else evaluation.rates[0]


def _rates(evaluation: Evaluation, examination: Examination) -> Section:
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
        ("GiE", "gie"),
    ):
        rows.append([label, *(f"{100 * getattr(point, name):.1f}" for point in points)])
    rows.append(["speedup (FLOPs), times", *(f"{point.speedup:.2f}" for point in points)])
    score = evaluation.score
    curves = {name: evaluation.curve(name, _reported(evaluation)) for name in evaluation.scores}
    point = evaluation.point(score, _reported(evaluation))
    about = f"at {percent(_reported(evaluation), 0)} outliers"
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
                figures.accuracy_against_gie(curves, score, point, COMPARED_LOSS),
                f"Accuracy against GiE over all thresholds, {about}; grey: the other scores",
            ),
            picture_of(figures.gie_against_outlier_rate(points), "GiE and deferral by outlier rate, chosen threshold"),
        ],
    )


def _equal(evaluation: Evaluation, teacher: str) -> Rows:
    """Returns GiE at equal accuracy against a teacher, a row for each loss and a column for each outlier rate."""
    found = [by_teacher[teacher] for by_teacher in evaluation.equal_accuracy.values()]
    accuracies = (_with_error(one.accuracy, one.accuracy_standard_error) for one in found)
    rows = [
        [f"% at outliers of, {teacher} teacher", *(percent(rate, 0) for rate in evaluation.equal_accuracy)],
        [f"{teacher} teacher alone, accuracy", *accuracies],
    ]
    for i, loss in enumerate(ALLOWED_LOSSES):
        gains = (_with_error(one.gie[i], one.gie_standard_error[i]) for one in found)
        rows.append([f"GiE, {100 * loss:g} points below it", *gains])
    return rows


def _with_error(share: float, standard_error: float) -> str:
    return "none" if np.isnan(share) else f"{100 * share:.1f} ± {100 * standard_error:.1f}"


def _promise(evaluation: Evaluation, values: dict[str, Any]) -> Section:
    threshold, held_back, agreement = evaluation.threshold, values["held_back"], values["agreement"]
    own = agreement["of_its_classes"]
    texts = [
        f"Rule {threshold.rule}, score {evaluation.score}: {threshold.promise}. {_made(evaluation)}; the scores were "
        f"fitted on {held_back['choosing']} others.",
        f"Student and teacher agree on {percent(agreement['all'])} of the images of the promise"
        + (f", and on {percent(own)} of those that the teacher puts in one of the student's classes." if own else "."),
        f"Of the images of the promise the student answers {percent(threshold.coverage)}"
        + (
            f" and disagrees with the teacher on {percent(threshold.disagreement)} of these."
            if threshold.disagreement is not None
            else "."
        ),
    ]
    if (labelled := evaluation.labelled_promise()) is not None and threshold.why_all_deferred is None:
        texts.append(f"Of the same threshold: {labelled.statement}.")
    if threshold.why_all_deferred is not None:
        texts.append(f"Why everything is deferred: {threshold.why_all_deferred}.")
    rows: list[Rows] = []
    if "promise" in values and values["promise"]["promised"] is not None:
        rows = [_kept(values)]
        texts.append(
            "Estimated on the images of the promise, and measured on the inlier test images, for the accuracy lost by "
            "their labels. The promise is kept where what is measured is within it, refuted where chance does not "
            "explain the excess, and else not decided."
        )
    return Section("The threshold and its promise", texts, rows)


def _made(evaluation: Evaluation) -> str:
    if not evaluation.is_by_labels:
        images = len(evaluation.promising)
        return f"Promised without labels, on {images} held-back stream images that nothing else was chosen by"
    return (
        "Promised by the labels, and by nothing that the teacher says of its own certainty; each class counts as the "
        "stream's estimated shares have it. The threshold is one of the score's quantiles on held-back images"
    )


def _kept(values: dict[str, Any]) -> Rows:
    kept = values["promise"]
    bound = "at most" if kept["is_upper_bound"] else "at least"
    figures = (f"{bound} {percent(kept['promised'])}", percent(values["estimated"], 2), percent(kept["measured"], 2))
    return [
        ["", "promised", "estimated", "measured"],
        [kept["figure"], *figures],
        ["not refuted", "", "", f"{percent(kept['lower'], 2)} to {percent(kept['upper'], 2)}"],
        ["images", "", str(values["held_back"]["promising"]), str(kept["images"])],
        ["promise", "", "", kept["verdict"]],
    ]


def _scores(evaluation: Evaluation, examination: Examination, values: dict[str, Any]) -> Section:
    is_outlier = examination.predictions.is_outlier
    chosen = evaluation.score
    texts = [f"{name} is left out: {reason}." for name, reason in evaluation.not_applicable.items()]
    pictures = [
        picture_of(
            figures.score_histogram(examination.scores[chosen], is_outlier, evaluation.threshold.values, chosen),
            f"The score that decides, {chosen}, among test images",
        )
    ]
    if not is_outlier.any():
        texts = ["The scenario has no outliers to tell from the inliers.", *texts]
        return Section("Outlier scores", texts, figures=pictures)
    found = values["scores"]
    rates = [str(rate) for rate in evaluation.rates]
    order = sorted(found, key=lambda name: -found[name]["auroc"])
    metrics = [["score", "AUROC", "FPR at 95 %", "AUPR in", "AUPR out", "error"]]
    for name in order:
        keys = ("auroc", "fpr_at_95_recall", "aupr_inlier", "aupr_outlier", "detection_error")
        metrics.append([name, *(f"{found[name][key]:.3f}" for key in keys)])
    header = [f"at {100 * float(rate):g} %" for rate in rates]
    own, equal = [["GiE, own threshold", *header]], [["GiE, equal accuracy", *header]]
    for name in order:
        own.append([name, *(percent(found[name]["gie"][rate]) for rate in rates)])
        equal.append([name, *(percent(found[name]["gie_at_equal_accuracy"][rate]) for rate in rates)])
    curves = {name: roc(examination.scores[name][~is_outlier], examination.scores[name][is_outlier]) for name in order}
    pictures += [
        picture_of(figures.roc_curves(curves, {name: found[name]["auroc"] for name in order}), "ROC, inliers positive")
    ]
    return Section(
        "Outlier scores",
        texts=[
            f"Larger = more inlier. AUPR is given for {percent(REPORTED_RATE, 0)} outliers, with inliers and "
            "with outliers as the positive class; error is (miss + false alarm) / 2 at the best threshold.",
            "The second table takes each score's own threshold, chosen by the same rule. The third compares the "
            f"scores at equal accuracy: the largest GiE that costs at most {100 * COMPARED_LOSS:g} point, over all "
            "thresholds, with the labels' help.",
            *texts,
        ],
        tables=[metrics, own, equal],
        figures=pictures,
    )


def _attention(evaluation: Evaluation, values: dict[str, Any]) -> Section:
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


def _mistakes(evaluation: Evaluation) -> Section:
    return Section(
        "Worst mistakes",
        texts=[
            "Images that the student answered wrongly and the teacher would have answered correctly, highest scores "
            "first, images of outlier classes that passed for inliers among them."
        ],
        mistakes=mistakes(evaluation),
    )


def _features(evaluation: Evaluation, examination: Examination, values: dict[str, Any], seed: int) -> Section:
    rows = examination.feature_rows
    predictions, found = examination.predictions, values["separation"]
    names = dict(enumerate(evaluation.finished.job.teacher.class_names))
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


def _confusion(evaluation: Evaluation, examination: Examination) -> Section:
    predictions = examination.predictions
    classes = evaluation.finished.teacher_classes
    names = [evaluation.finished.job.teacher.class_names[label] for label in classes]
    inlier = ~predictions.is_outlier
    pictures = []
    for who, answer in (("teacher", predictions.teacher_class), ("student", predictions.student_class)):
        matrix = confusion_counts(predictions.truth[inlier], answer[inlier], classes)
        pictures.append(picture_of(figures.confusion(matrix, names), f"Confusion of the {who} on inlier test images"))
    return Section("Confusion", ["Answers outside the student's classes are left out."], figures=pictures)


def _reliability(evaluation: Evaluation) -> Section:
    found = evaluation.reliability
    rows = [["points", "calibration error", "confidence above accuracy"]]
    for name, each in found.items():
        rows.append([f"{name} teacher", f"{100 * each.calibration_error:.1f}", f"{100 * each.overconfidence:+.1f}"])
    return Section(
        "How sure the teacher is",
        [
            "A promise about accuracy takes the teacher at its word: where it gives a class 80 %, it should be right "
            "in 80 % of the images. One that is surer than that promises less than it could; one that is not sure "
            "enough may promise too much. Inlier test images, in fifteen bins of as many images each.",
        ],
        tables=[rows],
        figures=[
            picture_of(
                figures.reliability_diagram({f"{name} teacher": each for name, each in found.items()}),
                "Accuracy against confidence; on the dotted line a teacher is calibrated",
            )
        ],
    )


def _shares(evaluation: Evaluation, adaptation: Adaptation) -> Section:
    names = evaluation.finished.job.teacher.class_names
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
                figures.class_shares(adaptation, names, evaluation.finished.teacher_classes),
                "Estimated shares of the most frequent classes",
            )
        ],
    )


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


def _work(values: dict[str, Any]) -> Section:
    work = values["work"]
    rows = [["per image", "student", "teacher"]]
    for label, key, scale, unit in (
        ("float MACs", "float_macs", 1e6, "M"),
        ("binary MACs", "binary_macs", 1e6, "M"),
        ("FLOPs", "flops", 1e6, "M"),
        ("measured, Keras on this machine", "milliseconds", 1, "ms"),
    ):
        rows.append([label, *(f"{work[network][key] / scale:.2f} {unit}" for network in ("student", "teacher"))])
    adaptation = work["adaptation"]
    break_even = adaptation["break_even_images"]
    totals = [["images served", "GiE with adaptation"]]
    totals += [[f"{int(n):,}", percent(total)] for n, total in adaptation["gie_total_after"].items()]
    return Section(
        "Work",
        texts=[
            "A float multiply-accumulate counts 2 FLOPs, a binary one 2/64. Keras runs the binary network in float, so "
            "the milliseconds here say nothing of a phone.",
            f"Making the student took {adaptation['flops']:.3g} FLOPs: {adaptation['labelled']:,} images labelled by "
            f"the teacher, {adaptation['trained']:,} trained on at three forward passes each, "
            f"{adaptation['validated']:,} for validation, all in float. "
            + (
                "It never pays for itself, since nothing is gained."
                if break_even is None
                else f"It has paid for itself after {break_even:,.0f} images."
            ),
        ],
        tables=[rows, totals],
    )


def _settings(evaluation: Evaluation, settings: str) -> Section:
    run = evaluation.finished.run
    result = run.read_json("result.json")
    trained = run.settings_file.read_text()
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    return Section(
        "Settings",
        texts=[f"Trained on {result['date']}, commit {result['git_commit']}, {result['machine']}; {versions}."],
        settings=f"# train\n{trained}\n# evaluate\n{settings}",
    )
