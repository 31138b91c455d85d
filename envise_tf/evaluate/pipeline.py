"""Evaluates a finished run: who answers what, how well, and how much work that saves.

1. Held-back stream images, in two parts: the outlier scores are fitted on one, and the promise is tested on the other.
2. The test images of the scenario's inlier and outlier classes, once through both networks. Labels enter here.
3. Figures for every outlier rate, from what step 2 has kept of each image, and a report.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf
from rich.console import Console

from envise_tf import progress
from envise_tf.deferral.held_back import HeldBack
from envise_tf.deferral.held_back_images import HeldBackImages, answers_on
from envise_tf.deferral.labelled import LabelledAnswers
from envise_tf.deferral.rules import RULES, deferral_rule
from envise_tf.deferral.scores import DEFAULT_SCORES, SCORES, outlier_score
from envise_tf.deferral.scores.score import NotApplicable, OutlierScore
from envise_tf.deferral.threshold import Threshold, chosen_threshold, threshold_by_labels
from envise_tf.distillation import training
from envise_tf.errors import UserError
from envise_tf.evaluate.advice import advice
from envise_tf.evaluate.evaluation import Costs, Evaluation, figures
from envise_tf.evaluate.labelled import labelled_answers, weights_on
from envise_tf.evaluate.page import write_report
from envise_tf.evaluate.terminal import equal_table, rates_table, verdict_table
from envise_tf.evaluate.test_pass import Examiner
from envise_tf.images.folder import Folder
from envise_tf.measures.gie import AdaptationWork
from envise_tf.measures.latency import measured_milliseconds
from envise_tf.networks.macs import macs
from envise_tf.report.section import percent
from envise_tf.run import Run
from envise_tf.runs.finished import SCORE_FILE, THRESHOLD_FILE, FinishedRun, Networks, load_run, networks_of
from envise_tf.runs.job import Job
from envise_tf.runs.teacher import labelled_examples
from envise_tf.settings import EvaluateSettings, TrainSettings, as_yaml, settings_of_run

_TIMED = 64
"""Images at a time where milliseconds are measured."""

_CONSOLE = Console()


def evaluate(settings: EvaluateSettings) -> Evaluation:
    """Evaluates a finished run; writes score.npz, threshold.json and the key "evaluation" of result.json to it.

    Raises:
        UserError: no such score or rule, the run is not finished, or held by another process, its images are gone, or
            the chosen score does not apply to it.
    """
    began = time.monotonic()
    if settings.score is not None:
        outlier_score(settings.score)
    finished = load_run(settings.run, settings.data_dir)
    _tell_of_another_rule(finished.run, settings)
    if settings.epsilon is None:
        settings = dataclasses.replace(settings, epsilon=finished.job.settings.epsilon)
    deferral_rule(settings.rule, _rule_options(settings))
    with finished.run.held(resumed=True):
        return _evaluated(settings, finished, began)


def _evaluated(settings: EvaluateSettings, finished: FinishedRun, began: float) -> Evaluation:
    training.prepare(finished.job.settings.seed)
    networks = networks_of(finished)
    labelled = _labelled(finished, settings)
    job, batch_size = finished.job, settings.batch_size
    choosing = _answered(networks, job.choosing_images(batch_size), "held-back images: choosing")
    promising = _answered(networks, job.promising_images(batch_size), "held-back images: promising")
    scores, not_applicable = _fitted_scores(choosing, settings.score)
    examiner = None if finished.job.tested is None else Examiner(finished, networks, scores)
    chosen = settings.score or next(name for name in DEFAULT_SCORES if name in scores)
    answers = None
    if labelled is not None:
        shown = progress.track(labelled.as_numpy_iterator(), "labelled images")
        answers = labelled_answers(shown, networks, scores[chosen])
    seen = {name: (choosing.seen_by(score), promising.seen_by(score)) for name, score in scores.items()}
    thresholds, is_by_labels = _thresholds(settings, finished, seen, chosen, answers)
    evaluation = Evaluation(
        finished=finished,
        choosing=choosing,
        promising=promising,
        score=chosen,
        scores=scores,
        not_applicable=not_applicable,
        seen=seen,
        thresholds=thresholds,
        per_class=settings.per_class,
        labelled=answers,
        is_by_labels=is_by_labels,
        costs=_costs(finished, networks, choosing, promising),
        shows_photographs=_shows_photographs(settings, finished.job),
        examiner=examiner,
        examination=None if examiner is None else examiner.examination(settings.batch_size, _tracked),
    )
    _write(evaluation, settings, began)
    _show(evaluation)
    return evaluation


def _thresholds(
    settings: EvaluateSettings,
    finished: FinishedRun,
    seen: Mapping[str, tuple[HeldBack, HeldBack]],
    chosen: str,
    labelled: LabelledAnswers | None,
) -> tuple[dict[str, Threshold], bool]:
    """Returns the threshold of every score, and whether labelled images have chosen that of the chosen score."""
    classes, delta = len(finished.teacher_classes), 1 - settings.confidence
    by_labels, options = None, _rule_options(settings)
    may_be_by_labels = settings.rule == "accuracy" and not settings.per_class
    if labelled is not None and finished.adaptation is not None and may_be_by_labels:
        delta /= 2  # both promises together are broken as rarely as one says
        weights = weights_on(finished.adaptation, labelled)
        by_labels = threshold_by_labels(*seen[chosen], labelled, weights, classes, delta, **options)
    thresholds = {
        name: chosen_threshold(settings.rule, *parts, classes, settings.per_class, delta, **options)
        for name, parts in seen.items()
    }
    if by_labels is not None:
        thresholds[chosen] = by_labels
    return thresholds, by_labels is not None


def _tell_of_another_rule(run: Run, settings: EvaluateSettings) -> None:
    """Says what changes where the run's threshold was chosen by another rule: epsilon means another thing then."""
    earlier = run.read_json(THRESHOLD_FILE)["rule"] if (run.folder / THRESHOLD_FILE).exists() else settings.rule
    if earlier != settings.rule:
        _CONSOLE.print(
            f"the run's threshold was chosen by the rule {earlier}, now it is by {settings.rule}, to which epsilon "
            f"means another thing; --rule {earlier} keeps that promise",
            soft_wrap=True,
        )


def _labelled(finished: FinishedRun, settings: EvaluateSettings) -> tf.data.Dataset | None:
    """Returns labelled images, those of the run where the settings name none; None without any, or without a prior.

    Raises:
        UserError: the folder does not hold what is expected, or is given for a run whose stream's prior is unknown.
    """
    folder = settings.calibrate
    if folder is None:
        folder = settings_of_run(TrainSettings, settings.run).calibrate
        if folder is None or finished.adaptation is None or not Path(folder).is_dir():
            return None
    elif finished.adaptation is None:
        raise UserError(
            f"--calibrate {folder} given, but {finished.run.folder} does not know the class shares of its stream: "
            "expected a run of train --adapt true"
        )
    return labelled_examples(folder, finished.job.teacher, finished.job.size)


def _answered(networks: Networks, batches: tf.data.Dataset, about: str) -> HeldBackImages:
    shown = progress.track(batches.as_numpy_iterator(), about)
    return answers_on(shown, networks.student, networks.teacher, networks.teacher_classes.tolist())


def _tracked(batches: Iterable[Any], count: int) -> Iterable[Any]:
    return progress.track(batches, "testing", count)


def _fitted_scores(choosing: HeldBackImages, needed: str | None) -> tuple[dict[str, OutlierScore], dict[str, str]]:
    """Returns the scores that apply, fitted, and why the others do not."""
    scores, not_applicable = {}, {}
    for name in progress.track(SCORES, "fitting scores"):
        try:
            scores[name] = choosing.fitted(outlier_score(name))
        except NotApplicable as reason:
            if name == needed:
                raise
            not_applicable[name] = str(reason)
    return scores, not_applicable


def _shows_photographs(settings: EvaluateSettings, job: Job) -> bool:
    """Returns whether images are shown: as the evaluation says, as the run says, or those of a data set alone."""
    for asked in (settings.photographs, job.settings.photographs):
        if asked is not None:
            return asked
    return not isinstance(job.stream.source, Folder)


def _rule_options(settings: EvaluateSettings) -> dict[str, Any]:
    names = [field.name for field in dataclasses.fields(RULES[settings.rule])]
    return {name: getattr(settings, name) for name in names}


def _costs(finished: FinishedRun, networks: Networks, choosing: HeldBackImages, promising: HeldBackImages) -> Costs:
    settings = finished.job.settings
    trained = settings.windows * (settings.window // settings.batch_size) * settings.batch_size
    images = choosing.outputs.images[:_TIMED]
    return Costs(
        student=macs(finished.student),
        teacher=macs(finished.job.teacher.model),
        adaptation=AdaptationWork(
            labelled=trained + len(choosing) + len(promising),
            trained=trained,
            validated=settings.windows * len(choosing) + len(promising),
        ),
        milliseconds={
            name: measured_milliseconds(network, images, repeats=9)
            for name, network in (("student", networks.student), ("teacher", networks.teacher))
        },
    )


def _write(evaluation: Evaluation, settings: EvaluateSettings, began: float) -> None:
    """Writes score, threshold, report and figures to the run; the figures last, for they say that all is there."""
    run, score = evaluation.finished.run, evaluation.scores[evaluation.score]
    run.save(SCORE_FILE, score.save)
    run.write_json(THRESHOLD_FILE, evaluation.threshold.as_dict())
    values = {"settings": dataclasses.asdict(settings), **figures(evaluation)}
    write_report(evaluation, values, as_yaml(settings), settings.seed, run.folder / "report.html")
    values["seconds"] = time.monotonic() - began
    run.write_json("result.json", {**run.read_json("result.json"), **_accuracies(evaluation), "evaluation": values})


def _accuracies(evaluation: Evaluation) -> dict[str, float]:
    """Returns the accuracy of each network on the inlier test images; nothing where there are no labels."""
    if evaluation.examination is None:
        return {}
    point = evaluation.point(evaluation.score, outlier_rate=0.0)
    return {"accuracy_student": point.accuracy_student, "accuracy_teacher": point.accuracy_teacher}


def _show(evaluation: Evaluation) -> None:
    threshold, promising = evaluation.threshold, evaluation.promising
    _CONSOLE.print(f"promise: {threshold.promise}", soft_wrap=True)
    _CONSOLE.print(f"agreement on the {len(promising)} images of the promise: {percent(promising.agreement)}")
    if threshold.why_all_deferred is not None:
        _CONSOLE.print(f"everything is deferred: {threshold.why_all_deferred}", soft_wrap=True)
        _CONSOLE.print(f"what helps: {advice(evaluation)}", soft_wrap=True)
    elif (labelled := evaluation.labelled_promise) is not None and not evaluation.is_by_labels:
        _CONSOLE.print(f"promise: {labelled.statement}", soft_wrap=True)
    _CONSOLE.print(verdict_table(evaluation))
    if evaluation.examination is not None:
        _CONSOLE.print(rates_table(evaluation))
        _CONSOLE.print(equal_table(evaluation))
    _CONSOLE.print(f"report: {evaluation.finished.run.folder / 'report.html'}", soft_wrap=True)
