"""Evaluates a finished run: who answers what, how well, and how much work that saves.

1. Held-back stream images, in two parts: on one the outlier scores are fitted, on the other the threshold is chosen.
2. The test images of the scenario's inlier and outlier classes, once through both networks. Labels enter here.
3. Figures for every outlier rate, from what step 2 has kept of each image, and a report.
"""

from __future__ import annotations

import dataclasses
import time

import numpy as np
from rich.console import Console
from rich.table import Table

from envise_tf import progress
from envise_tf.deferral.rules import deferral_rule
from envise_tf.deferral.scores import DEFAULT_SCORES, SCORES, outlier_score
from envise_tf.deferral.scores.outputs import Outputs
from envise_tf.deferral.scores.score import NotApplicable, OutlierScore
from envise_tf.deferral.threshold import Threshold, fitting_part, threshold_on
from envise_tf.distillation import training
from envise_tf.errors import UserError
from envise_tf.evaluate.evaluation import Evaluation, HeldBackImages, Work, figures
from envise_tf.evaluate.page import write_report
from envise_tf.evaluate.test_pass import Examiner
from envise_tf.measures.gie import Adaptation
from envise_tf.measures.latency import measured_milliseconds
from envise_tf.networks.macs import macs
from envise_tf.runs.finished import SCORE_FILE, THRESHOLD_FILE, FinishedRun, Networks, finished_run, networks_of
from envise_tf.settings import EvaluateSettings

_TIMED = 64
"""Images at a time where milliseconds are measured."""

_CONSOLE = Console()


def evaluate(settings: EvaluateSettings) -> Evaluation:
    """Evaluates a finished run; writes score.npz, threshold.json and the key "evaluation" of result.json to it.

    Raises:
        UserError: no such score or rule, the run is not finished, its images are gone, or the chosen score does not
            apply to it.
    """
    began = time.monotonic()
    if settings.score is not None:
        outlier_score(settings.score)
    finished = finished_run(settings.run, settings.data_dir)
    if settings.epsilon is None:
        settings = dataclasses.replace(settings, epsilon=finished.job.settings.epsilon)
    deferral_rule(settings.rule, _rule_options(settings))
    training.prepare(finished.job.settings.seed)
    networks = networks_of(finished)
    held_back = held_back_images(finished, networks, settings.batch_size)
    scores, not_applicable = _fitted_scores(held_back, settings.score)
    examiner = None if finished.job.tested is None else Examiner(finished, networks, scores)
    evaluation = Evaluation(
        finished=finished,
        settings=settings,
        held_back=held_back,
        score=settings.score or next(name for name in DEFAULT_SCORES if name in scores),
        scores=scores,
        not_applicable=not_applicable,
        thresholds={name: _threshold(held_back, score, networks, settings) for name, score in scores.items()},
        work=_work(finished, networks, held_back.outputs.images),
        examiner=examiner,
        examination=None if examiner is None else examiner.examination(settings.batch_size),
    )
    _write(evaluation, began)
    _show(evaluation)
    return evaluation


def held_back_images(finished: FinishedRun, networks: Networks, batch_size: int) -> HeldBackImages:
    """Returns what both networks of a run say of its held-back images.

    Raises:
        UserError: there are none.
    """
    job = finished.job
    batches = job.held_back_images(batch_size).prefetch(2)
    parts, teacher_class = [], []
    for images in progress.track(batches.as_numpy_iterator(), "held-back images"):
        parts.append(networks.student(images))
        teacher_class.append(networks.teacher(images).argmax(axis=-1))
    if not parts:
        raise UserError(f"{job.stream.source.name} has no held-back image: expected some hundreds; give more images")
    outputs = Outputs.concatenated(parts)
    return HeldBackImages(
        outputs=outputs,
        own_class=outputs.logits.argmax(axis=-1),
        pseudo_label=networks.student_classes[np.concatenate(teacher_class)],
        is_fitting=fitting_part(len(outputs.images)),
    )


def _fitted_scores(held_back: HeldBackImages, needed: str | None) -> tuple[dict[str, OutlierScore], dict[str, str]]:
    """Returns the scores that apply, fitted on the fitting part, and why the others do not."""
    part = held_back.is_fitting
    outputs, pseudo_label = held_back.outputs.chosen(part), held_back.pseudo_label[part]
    scores, not_applicable = {}, {}
    for name in progress.track(SCORES, "fitting scores"):
        score = outlier_score(name)
        try:
            score.fit(outputs, pseudo_label)
            scores[name] = score
        except NotApplicable as reason:
            if name == needed:
                raise
            not_applicable[name] = str(reason)
    return scores, not_applicable


def _threshold(
    held_back: HeldBackImages, score: OutlierScore, networks: Networks, settings: EvaluateSettings
) -> Threshold:
    seen, classes = held_back.seen_by(score), len(networks.teacher_classes)
    return threshold_on(seen, settings.rule, classes, settings.per_class, **_rule_options(settings))


def _rule_options(settings: EvaluateSettings) -> dict[str, float]:
    own = {"risk": "epsilon", "recall": "recall", "rate": "rate"}[settings.rule]
    return {own: getattr(settings, own), "confidence": settings.confidence}


def _work(finished: FinishedRun, networks: Networks, held_back: np.ndarray) -> Work:
    settings = finished.job.settings
    trained = settings.windows * (settings.window // settings.batch_size) * settings.batch_size
    return Work(
        student=macs(finished.student),
        teacher=macs(finished.job.teacher.model),
        adaptation=Adaptation(
            labelled=trained + len(held_back), trained=trained, validated=settings.windows * len(held_back)
        ),
        milliseconds={
            name: measured_milliseconds(network, held_back[:_TIMED], repeats=9)
            for name, network in (("student", networks.student), ("teacher", networks.teacher))
        },
    )


def _write(evaluation: Evaluation, began: float) -> None:
    """Writes score, threshold, report and figures to the run; the figures last, for they say that all is there."""
    run, score = evaluation.finished.run, evaluation.scores[evaluation.score]
    run.save(SCORE_FILE, score.save)
    run.write_json(THRESHOLD_FILE, evaluation.threshold.as_dict())
    values = figures(evaluation)
    write_report(evaluation, values, run.folder / "report.html")
    values["seconds"] = time.monotonic() - began
    run.write_json("result.json", {**run.read_json("result.json"), **_accuracies(evaluation), "evaluation": values})


def _accuracies(evaluation: Evaluation) -> dict[str, float]:
    """Returns the accuracy of each network on the inlier test images; nothing where there are no labels."""
    if evaluation.examination is None:
        return {}
    point = evaluation.point(evaluation.score, outlier_rate=0.0)
    return {"accuracy_student": point.accuracy_student, "accuracy_teacher": point.accuracy_teacher}


def _show(evaluation: Evaluation) -> None:
    folder = evaluation.finished.run.folder
    threshold = evaluation.threshold
    _CONSOLE.print(f"promise: {threshold.promise}", soft_wrap=True)
    if threshold.why_all_deferred is not None:
        _CONSOLE.print(f"everything is deferred: {threshold.why_all_deferred}", soft_wrap=True)
    if evaluation.examination is not None:
        _CONSOLE.print(_table(evaluation))
    _CONSOLE.print(f"report: {folder / 'report.html'}", soft_wrap=True)


def _table(evaluation: Evaluation) -> Table:
    table = Table(
        "outliers", "student", "teacher", "cascade", "deferred", "GiE", title=str(evaluation.finished.run.folder)
    )
    for rate in evaluation.rates:
        point = evaluation.point(evaluation.score, rate)
        accuracies = (point.accuracy_student, point.accuracy_teacher, point.accuracy_cascade)
        shares = (rate, *accuracies, point.deferral_rate, point.gie)
        table.add_row(*(f"{100 * share:.1f} %" for share in shares))
    return table
