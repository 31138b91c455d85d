"""The report of an evaluation: one HTML file with every figure and picture in it, for phone, screen and print.

It opens with the verdict. With labelled test images the worst mistakes come next, and what the images say in figures;
without any, what the teacher's probabilities say of the stream, and photographs of it. Where no photographs may be
shown, what they would have shown is left out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from envise_tf.evaluate import stream_sections as stream
from envise_tf.evaluate import tested_sections as tested
from envise_tf.evaluate.evaluation import Evaluation
from envise_tf.evaluate.test_pass import Examination
from envise_tf.evaluate.verdict import card
from envise_tf.report.section import Rows, Section, page, percent

_NOT_SHOWN = Section(
    "Photographs",
    ["No photographs are shown, so that nobody sees them who is given this page; --photographs true shows them."],
)


def write_report(evaluation: Evaluation, values: dict[str, Any], settings: str, seed: int, path: Path) -> None:
    """Writes the report.

    Args:
        evaluation: what is shown.
        values: its figures, as `evaluation.figures` returns them.
        settings: of the evaluation, as YAML.
        seed: of the picture of features.
        path: where to write.
    """
    examination = evaluation.examination
    shown = _untested(evaluation, values) if examination is None else _tested(evaluation, examination, values, seed)
    html = page(
        title=f"Student, teacher and cascade: {evaluation.finished.run.folder.name}",
        sections=[*shown, _work(values), _settings(evaluation, settings)],
        chosen=[evaluation.score],
        card=card(evaluation),
    )
    evaluation.finished.run.write(path, html)


def _untested(evaluation: Evaluation, values: dict[str, Any]) -> list[Section]:
    shows = evaluation.shows_photographs
    return [
        stream.expected_section(evaluation),
        *_shares(evaluation),
        stream.score_section(evaluation),
        _promise(evaluation, values),
        *(stream.photograph_sections(evaluation) if shows else [_NOT_SHOWN]),
        stream.rare_section(evaluation),
        *([stream.attention_section(evaluation)] if shows else []),
    ]


def _tested(evaluation: Evaluation, examination: Examination, values: dict[str, Any], seed: int) -> list[Section]:
    return [
        tested.mistakes_section(evaluation) if evaluation.shows_photographs else _NOT_SHOWN,
        tested.rates_section(evaluation, examination),
        _promise(evaluation, values),
        *_shares(evaluation),
        tested.attention_section(evaluation, values),
        stream.rare_section(evaluation),
        tested.scores_section(evaluation, examination, values),
        tested.features_section(evaluation, examination, values, seed),
        tested.reliability_section(evaluation),
        tested.confusion_section(evaluation, examination),
    ]


def _shares(evaluation: Evaluation) -> list[Section]:
    adaptation = evaluation.finished.adaptation
    return [] if adaptation is None else [stream.shares_section(evaluation, adaptation)]


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
    if (labelled := evaluation.labelled_promise) is not None and threshold.why_all_deferred is None:
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
