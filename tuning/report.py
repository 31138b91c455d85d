"""The report of a sweep: a table of its trials, a page with pictures, the best settings, and TensorBoard's page."""

from __future__ import annotations

import csv
import io
import math
import time
from collections.abc import Sequence
from typing import Any

from envise_tf.report.pictures import svg_uri
from envise_tf.report.section import Section, WidePicture, page, percent, picture_of
from envise_tf.run import Run
from envise_tf.settings import SweepSettings, TrainSettings, as_yaml
from envise_tf.tuning import figures
from envise_tf.tuning.hparams import write_hparams
from envise_tf.tuning.importance import LEAST_STUDENTS, WINDOWS, importance
from envise_tf.tuning.ranking import FIGURES, IN_PERCENT, baseline_of, best_trial, ranked, students
from envise_tf.tuning.space import Choices, Dimension, Space, setting_text
from envise_tf.tuning.trials import BASELINE, TrialRecord, by_number, training_settings

BEST_FILE = "best.yaml"

_NONE = "-"
"""In tables: a figure or a value that does not exist."""

_HIGH_INCHES = 0.75
"""Of parallel coordinates on a phone, for each setting."""


def write_sweep_report(sweep: Run, settings: SweepSettings, space: Space, records: Sequence[TrialRecord]) -> None:
    """Writes sweep.csv, sweep.html, best.yaml once a trial has completed, and tensorboard/ to the sweep's folder.

    Each file is written whole or not at all, and anew each time, but for the event files of trials that have theirs.

    Args:
        sweep: its folder.
        settings: of the sweep.
        space: what it varies.
        records: of all trials that have ended, in any order; there may be none.
    """
    best = best_trial(records, settings.objective)
    sweep.write(sweep.folder / "sweep.csv", _table(space, records, settings.objective))
    if best is not None and _is_kept(best):
        sweep.write(sweep.folder / BEST_FILE, _best_yaml(sweep, settings, space, records, best))
    write_hparams(sweep.folder, space, records)
    html = page(
        title=f"Sweep: {sweep.folder.name}",
        headline=_headline(settings, records, best),
        sections=_sections(sweep, settings, space, records, best),
        chosen=[] if best is None else [best.trial],
    )
    sweep.write(sweep.folder / "sweep.html", html)


# --- Files -----------------------------------------------------------------------------------------------------------


def _table(space: Space, records: Sequence[TrialRecord], objective: str) -> str:
    """Returns sweep.csv: a row a trial, by number, the baseline first."""
    names = _figure_names(objective)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["trial", "status", *names, "windows", "seconds", *space.dimensions, "reason"])
    for record in by_number(records):
        shares = ["" if math.isnan(value := record.figures.get(name, math.nan)) else value for name in names]
        values = [setting_text(record.values[key]) for key in space.dimensions]
        seconds = f"{record.seconds:.1f}"
        writer.writerow([record.trial, record.status, *shares, record.windows, seconds, *values, record.reason])
    return text.getvalue()


def _best_yaml(
    sweep: Run, settings: SweepSettings, space: Space, records: Sequence[TrialRecord], best: TrialRecord
) -> str:
    """Returns the settings of the best trial, as --config of a training reads them, and how they were found."""
    name, folder = settings.objective, sweep.folder
    baseline = baseline_of(records)
    against = "no figure" if baseline is None else f"{name} {baseline.figures[name]:.4f}"
    lines = [
        f"The best of {_count(_tried(records), 'trial')} of the sweep {folder}: trial {best.trial}.",
        f"{name} {best.figures[name]:.4f} on held-back stream images, seed {settings.seed}; the preset has {against}.",
        f"Searched by the tuner {settings.tuner}, {time.strftime('%Y-%m-%d')}.",
        f"The sweep again: python -m envise_tf.tuning --config {folder / 'settings.yaml'} --out FOLDER",
        f"Train with these: python -m envise_tf.train --config {folder / BEST_FILE}",
    ]
    return "".join(f"# {line}\n" for line in lines) + as_yaml(settings_of(best, space, training_settings(settings)))


def _is_kept(best: TrialRecord) -> bool:
    """Returns whether the best trial's settings are worth a file: not those of one that was given up."""
    return best.status == "completed"


def settings_of(record: TrialRecord, space: Space, base: TrainSettings) -> TrainSettings:
    """Returns the settings of a trial; the space takes its choices as texts."""
    given = {
        key: setting_text(record.values[key]) if isinstance(dimension, Choices) else record.values[key]
        for key, dimension in space.dimensions.items()
    }
    return space.settings(given, base)


# --- What the page says ----------------------------------------------------------------------------------------------


def _headline(settings: SweepSettings, records: Sequence[TrialRecord], best: TrialRecord | None) -> str:
    tried = _tried(records)
    if tried == 0:
        return "No trial has ended yet."
    ended = [
        f"{count} {status}"
        for status in ("completed", "stopped", "failed")
        if (count := sum(record.status == status for record in records if record.trial != BASELINE))
    ]
    found = f"{tried} of {_count(settings.trials, 'trial')} ended: {', '.join(ended)}."
    if best is None:
        return f"{found} None of them has a figure."
    return f"{found} {_verdict(settings.objective, best, baseline_of(records))}"


def _verdict(objective: str, best: TrialRecord, baseline: TrialRecord | None) -> str:
    """Says how the best trial compares with the baseline."""
    name, own = FIGURES[objective], shown(objective, best.figures[objective])
    if baseline is None:
        return f"Trial {best.trial} is best, with {name} {own}. The preset has no figure to compare with."
    other = shown(objective, baseline.figures[objective])
    gain = best.figures[objective] - baseline.figures[objective]
    if gain > 0:
        less = _difference(objective, gain)
        text = f"Trial {best.trial} is best, with {name} {own}; the preset has {other}, {less} less."
    else:
        text = f"No trial beat the preset, which has {name} {other}; trial {best.trial} came nearest, with {own}."
    if best.windows != baseline.windows:
        text += f" But it had {_count(best.windows, 'window')}, the preset {baseline.windows}."
    return text


def _caution(settings: SweepSettings, records: Sequence[TrialRecord]) -> str:
    """Says what the figure of a winner is worth."""
    compared = len(students(records))
    winner = (
        f"The winner of {compared} had more luck than most, so it looks better than it is. " if compared > 1 else ""
    )
    return (
        f"Every figure is from one training with seed {settings.seed}, so it has no standard error, and a part of each "
        f"difference is luck. {winner}Train the best settings and the preset with a few other seeds before you rely on "
        "a small gain."
    )


def _sections(
    sweep: Run, settings: SweepSettings, space: Space, records: Sequence[TrialRecord], best: TrialRecord | None
) -> list[Section]:
    sections = []
    if best is not None:
        sections += [
            _best(sweep, settings, space, records, best),
            _course(settings, records, best),
            _lines(space, records, settings.objective, best),
            _importance(space, records, settings.objective),
        ]
    if records:
        sections.append(_trials(space, records, settings.objective))
    return [*sections, Section("Settings", [f"Of the sweep {sweep.folder}."], settings=as_yaml(settings))]


def _best(
    sweep: Run, settings: SweepSettings, space: Space, records: Sequence[TrialRecord], best: TrialRecord
) -> Section:
    baseline = next((record for record in records if record.trial == BASELINE), None)
    rows = [["setting", "best", "preset", "searched"]]
    for key, dimension in space.dimensions.items():
        preset = _NONE if baseline is None else _value(baseline.values[key])
        rows.append([figures.short_name(key), _value(best.values[key]), preset, _range(dimension)])
    how = "It was stopped, so its settings are not kept as a file."
    if _is_kept(best):
        how = f"Train with them: python -m envise_tf.train --config {sweep.folder / BEST_FILE}"
    return Section("The best settings", [_caution(settings, records), how], [rows])


def _course(settings: SweepSettings, records: Sequence[TrialRecord], best: TrialRecord) -> Section:
    meaning = {
        "gie": "GiE is the share of the teacher's work that the cascade saves while it answers as the teacher does on "
        f"{percent(settings.faithful, 0)} of the images.",
        "auroc": "AUROC says how well the score tells images on which both networks agree from the others.",
        "agreement": "Agreement is the share of images of the student's classes on which it answers as the teacher.",
    }
    pictures = [
        picture_of(figures.course(records, settings.objective), "Each trial's figure, and the best so far"),
        picture_of(figures.agreement_curves(records, best), "Agreement with the teacher while training, all trials"),
    ]
    texts = [
        f"{meaning[settings.objective]} Measured without labels, on held-back stream images "
        "that do not test the promise of the winner's threshold."
    ]
    return Section("The course of the search", texts, figures=pictures)


def _lines(space: Space, records: Sequence[TrialRecord], objective: str, best: TrialRecord) -> Section:
    count = len(space.dimensions)
    sizes = (11.0, 4.6), (4.2, 2.0 + _HIGH_INCHES * count)
    wide, narrow = (svg_uri(figures.parallel_coordinates(space, records, objective, best, size)) for size in sizes)
    texts = [
        "A line a student, coloured by its figure; the thick one is the best. Lines through the same choice are drawn "
        "a little apart. Where the preset has a value that was not searched, its line has a gap. Students that trained "
        "for fewer windows are grey, since their figures may be low for that alone. Failed trials are left out."
    ]
    return Section("Settings and figures", texts, wide=[WidePicture(wide, narrow, "All settings of all students")])


def _importance(space: Space, records: Sequence[TrialRecord], objective: str) -> Section:
    title = "Importance of the settings"
    found = importance(space, records, objective)
    if found is None:
        return Section(
            title, [f"Too few trials: at least {LEAST_STUDENTS} students with figures that differ are needed."]
        )
    texts = [
        f"A random forest learned the figure from the settings of {found.students} students. The bars show by how much "
        "its squared error grows on trials that a tree has not seen, when one setting is shuffled among them, in "
        "percent of the variance of the figures; the lines show the standard error over trials.",
        _trust(found.explained),
    ]
    if WINDOWS in found.names:
        texts.append(
            "The number of windows that a student trained for is one more feature, in grey, so that figures that are "
            "low for want of training are not put down to the settings. Of a student's rungs only the last counts."
        )
    picture = picture_of(figures.importance_bars(found), "Importance, by permutation out of bag")
    return Section(title, texts, figures=[picture])


def _trust(explained: float) -> str:
    if explained <= 0:
        return "On unseen trials the forest is no better than their mean: these bars say nothing."
    return f"On unseen trials the forest explains {percent(explained, 0)} of the variance: the less, the less it knows."


def _trials(space: Space, records: Sequence[TrialRecord], objective: str) -> Section:
    names = _figure_names(objective)
    settings = [figures.short_name(key) for key in space.dimensions]
    rows = [["trial", "status", *(FIGURES[name] for name in names), "windows", "minutes", *settings]]
    reasons = [["trial", "status", "windows", "reason"]]
    for record in ranked(records, objective):
        shares = [shown(name, record.figures.get(name, math.nan)) for name in names]
        values = [_value(record.values[key]) for key in space.dimensions]
        minutes = f"{record.seconds / 60:.1f}"
        trial = f"{BASELINE} (baseline)" if record.trial == BASELINE else record.trial
        rows.append([trial, record.status, *shares, str(record.windows), minutes, *values])
        if record.reason:
            reasons.append([record.trial, record.status, str(record.windows), record.reason])
    texts = [
        "The best first; those with fewer windows come after all that have more. The preset is what the sweep started "
        "from, trained for comparison."
    ]
    return Section("All trials", texts, [rows], notes=reasons if len(reasons) > 1 else [])


# --- Words and numbers -----------------------------------------------------------------------------------------------


def _tried(records: Sequence[TrialRecord]) -> int:
    return sum(record.trial != BASELINE for record in records)


def _figure_names(objective: str) -> list[str]:
    """Returns the names of the figures, the objective first."""
    return sorted(FIGURES, key=lambda name: name != objective)


def shown(name: str, value: float) -> str:
    """Returns a figure of a trial as text: a percentage, or a number where it is no share; "-" for NaN."""
    if math.isnan(value):
        return _NONE
    return percent(value) if name in IN_PERCENT else f"{value:.3f}"


def _difference(name: str, value: float) -> str:
    return f"{100 * value:.1f} points" if name in IN_PERCENT else f"{value:.3f}"


def _value(value: Any) -> str:
    """Returns a value as the page shows it: numbers with the six digits that a space gives them."""
    return f"{value:g}" if isinstance(value, float) else setting_text(value) or _NONE


def _range(dimension: Dimension) -> str:
    if isinstance(dimension, Choices):
        return ", ".join(map(_value, dimension.values))
    return f"{_value(dimension.least)} to {_value(dimension.most)}" + (", log" if dimension.scale == "log" else "")


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"
