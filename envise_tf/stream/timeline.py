"""The report of a stream: how right and how cheap its answers were, when it changed, and what adapting took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from envise_tf.report.axes import CASCADE, GREY, OUTLIER, STUDENT, TEACHER
from envise_tf.report.pictures import svg_uri
from envise_tf.report.section import Rows, Section, WidePicture, page, percent
from envise_tf.run import Run
from envise_tf.stream.borders import Border, borders, changes, false_alarms, images_alone
from envise_tf.stream.record import COUNTS, Record, teacher_alone
from envise_tf.stream.shares import class_shares, estimates
from envise_tf.stream.summary import (
    WINDOW,
    Flops,
    Stretch,
    Summary,
    by_phase,
    gie_total_so_far,
    rolling_share,
    states,
    stretches,
    summary,
)

Phases = Sequence[Mapping[str, Any]]

_WIDE, _NARROW = (11.0, 7.2), (4.2, 7.4)
_WIDE_BARS, _NARROW_BARS = (11.0, 3.0), (4.2, 4.0)
_WIDE_SHARES, _NARROW_SHARES = (11.0, 6.5), (4.2, 7.0)
"""Inches."""
_MOST_POINTS = 800
_INCHES_A_LETTER = 0.09
_SHARE_OF_AXES = 0.8
"""Of a figure's width."""
_ADAPTING = "#f1e3c6"

_WHOLE = "whole stream"

_COLUMNS = {
    "right": "accuracy",
    "teacher right": "accuracy_teacher",
    "raw teacher": "accuracy_raw_teacher",
    "as teacher": "agreement",
    "serving": "serving",
    "to teacher": "deferral_rate",
    "unpromised": "unpromised",
    "GiE serving": "gie",
    "GiE total": "gie_total",
    "off device": "gie_total_off_device",
}

_PARTS = {
    "student": ("student, serving", STUDENT),
    "deferred": ("teacher, deferred", OUTLIER),
    "audited": ("teacher, audits", "#F0E442"),
    "labelled": ("teacher, labels while adapting", TEACHER),
    "taught": ("teacher, in training steps", "#CC79A7"),
    "trained": ("student, in training steps", "#56B4E9"),
    "validated": ("student, being measured", GREY),
}

_NONE = "-"
"""In tables: a figure that does not exist."""

_NOT_SHOWN = ("measured",)
"""Events that come too often for a table."""


def write_stream_report(
    run_folder: Path, record: Record, result: Mapping[str, Any], baselines: Mapping[str, Record]
) -> None:
    """Writes RUN/stream_report.html. What needs labels, phases or baselines is left out where there are none.

    Args:
        run_folder: of the run.
        record: of the run.
        result: "settings", "phases" (each "name", "start", "images" and "change"), "class_names" of the teacher,
            "work" (see `Flops.of`), "unreadable", "seconds", "images_per_second"; where known "repeats", the number of
            images that had been shown before.
        baselines: records of the same stream under other policies, by name.
    """
    phases, flops = result["phases"], Flops.of(result)
    policy = result["settings"]["policy"]
    sections = [
        _timeline(record, flops, phases),
        *_shares(record, result["class_names"]),
        _figures(record, flops, result),
        *([_changes(record, phases)] if phases else []),
        _work(record, flops),
        *_compared({policy: record, **_teacher(record), **baselines}, flops),
        _events(record, phases, result["class_names"]),
        _settings(result),
    ]
    html = page(f"Stream: {run_folder.name}", sections, [_WHOLE, policy], _headline(record, flops, phases))
    Run(run_folder).write(run_folder / "stream_report.html", html)


def _teacher(record: Record) -> dict[str, Record]:
    return {"teacher": teacher_alone(record)} if (record.teacher >= 0).all() else {}


def _headline(record: Record, flops: Flops, phases: Phases) -> str:
    whole = summary(record, flops)
    texts = [f"{whole.answered:,} images were answered."]
    if whole.accuracy is not None:
        texts = [f"Of {whole.answered:,} images the cascade answered {percent(whole.accuracy)} rightly"]
        texts[0] += f"{_of_teacher(whole)}."
    if whole.gie is None:
        texts.append("No student came to serve.")
    else:
        texts.append(f"A student served {percent(whole.serving or 0)} of the stream, at {_less(whole.gie)} there.")
    alone = images_alone(record)
    if alone:
        texts.append(f"No promise could be made for {_count(alone, 'image')}, which the teacher answered alone.")
    texts.append(
        f"With everything charged, the whole stream took {_less(whole.gie_total or 0)}; "
        f"where training runs off the device, {_less(whole.gie_total_off_device or 0)}."
    )
    found = borders(record, phases)
    if found:
        noticed = [border.noticed_after for border in found if border.noticed_after is not None]
        after = f", after {_listed([f'{images:,}' for images in noticed])} images" if noticed else ""
        texts.append(f"{len(noticed)} of {_count(len(found), 'change')} of the prior were noticed{after}.")
    return " ".join(texts)


def _of_teacher(whole: Summary) -> str:
    """Returns how right the teacher is by itself, adapted and as it came where the two differ; nothing if unknown."""
    adapted, raw = whole.accuracy_teacher, whole.accuracy_raw_teacher
    if adapted is None or raw is None:
        return ""
    alone = f", the teacher alone {percent(adapted)}"
    return alone if adapted == raw else f"{alone}, and {percent(raw)} as it came"


def _less(gain: float) -> str:
    """Says what a gain in efficiency means."""
    return f"{percent(abs(gain))} {'less' if gain >= 0 else 'more'} work than the teacher alone"


# --- Along the stream ------------------------------------------------------------------------------------------------


def _timeline(record: Record, flops: Flops, phases: Phases) -> Section:
    texts = [
        f"Rolling figures look back on {WINDOW} images; GiE total counts from the start of the stream, with all the "
        "work of adapting; what lies below its axis is cut off. Shaded: adapting, when the teacher answers."
    ]
    if not (record.truth >= 0).any():
        texts.append("Nobody knows the true classes of this stream, so there is no accuracy to show.")
    texts_below = []
    if phases:
        names = _listed([f"{number} {phase['name']}" for number, phase in enumerate(phases, 1)])
        texts_below.append(f"Phases: {names}.")
    if changes(record):
        texts_below.append(f"Triangles: a change was noticed{', hollow where falsely' if phases else ''}.")
    wide, narrow = (svg_uri(timeline(record, flops, phases, size)) for size in (_WIDE, _NARROW))
    picture = WidePicture(wide, narrow, " ".join(texts_below) or "The course of the stream")
    return Section("Along the stream", texts, wide=[picture])


def timeline(record: Record, flops: Flops, phases: Phases, size: tuple[float, float]) -> Figure:
    """Returns the course of a stream: states and phases, accuracy where it is known, deferral, GiE.

    Args:
        record: of the stream.
        flops: of an image.
        phases: each with "name", "start" and "images"; may be empty.
        size: width and height in inches.
    """
    is_labelled = bool((record.truth >= 0).any())
    figure = Figure(figsize=size, layout="constrained")
    heights = [0.22, *[1.0] * (3 if is_labelled else 2)]
    axes = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)
    for one in axes:
        _draw_background(one, record, phases)
    _draw_states(axes[0], record, phases, size[0])
    if is_labelled:
        _draw_accuracy(axes[1], record)
    _draw_deferral(axes[-2], record)
    _draw_gie(axes[-1], record, flops)
    for one in axes[1:]:
        one.grid(alpha=0.25)
        one.spines[["top", "right"]].set_visible(False)
        one.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, frameon=False, fontsize=8, borderaxespad=0)
    axes[-1].xaxis.set_major_locator(MaxNLocator(round(size[0])))
    axes[-1].xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
    axes[-1].set(xlabel="image", xlim=(record.image[0], record.image[-1] + 1))
    return figure


def _draw_background(axes: Axes, record: Record, phases: Phases) -> None:
    for is_serving, rows in states(record):
        if not is_serving:
            axes.axvspan(record.image[rows.start], record.image[rows.stop - 1] + 1, color=_ADAPTING, lw=0)
    for phase in phases[1:]:
        axes.axvline(phase["start"], color="black", lw=0.9, ls="--")


def _draw_states(axes: Axes, record: Record, phases: Phases, width: float) -> None:
    """Draws the names of the phases, their numbers where there is no room, and the changes that were noticed."""
    axes.set(yticks=[], ylim=(0, 1))
    axes.tick_params(bottom=False)
    axes.spines[["top", "right", "left", "bottom"]].set_visible(False)
    false = set(false_alarms(record, phases))
    for image in changes(record):
        axes.plot(image, 0.2, "v", color="black", ms=6, mfc="white" if image in false else "black")
    length = record.image[-1] + 1 - record.image[0]
    for number, phase in enumerate(phases, 1):
        room = _SHARE_OF_AXES * width * phase["images"] / length
        has_room = len(phase["name"]) * _INCHES_A_LETTER < room
        middle = phase["start"] + phase["images"] / 2
        if middle <= record.image[-1]:
            axes.text(middle, 0.72, phase["name"] if has_room else str(number), ha="center", va="center", fontsize=9)


def _draw_accuracy(axes: Axes, record: Record) -> None:
    known = record.truth >= 0
    with_teacher = known & (record.teacher >= 0)
    for answer, is_known, name, colour, style in (
        (record.raw, with_teacher, "teacher as it came", TEACHER, ":"),
        (record.teacher, with_teacher, "teacher alone", TEACHER, "-"),
        (record.label, known, "cascade", CASCADE, "-"),
    ):
        shares = rolling_share(answer == record.truth, is_known)
        _draw_percent(axes, record.image, shares, label=name, color=colour, ls=style)
    axes.set_ylabel("right answers [%]")


def _draw_deferral(axes: Axes, record: Record) -> None:
    asked = np.where(record.is_serving, rolling_share(~record.by_student, record.is_serving), np.nan)
    _draw_percent(axes, record.image, asked, label="to the teacher, while serving", color=OUTLIER)
    axes.set(ylabel="of served images [%]", ylim=(0, None))


def _draw_gie(axes: Axes, record: Record, flops: Flops) -> None:
    asked = rolling_share(record.asked, record.is_serving)
    served = np.where(record.is_serving, 1 - flops.student / flops.teacher - asked, np.nan)
    total, elsewhere = (gie_total_so_far(record, flops, on_device) for on_device in (True, False))
    _draw_percent(axes, record.image, served, label="serving", color=CASCADE)
    _draw_percent(axes, record.work_image, total, label="total", color="black")
    _draw_percent(axes, record.work_image, elsewhere, label="total, off device", color=GREY, ls="--")
    # At the start training has cost much and earned nothing, and would press all else flat.
    ends = (float(values[len(values) // 2 :].min()) for values in (total, elsewhere))
    lowest = min(0.0, *ends, *served[~np.isnan(served)])
    axes.set(ylabel="GiE [%]", ylim=(100 * lowest - 5, 100))


def _draw_percent(axes: Axes, image: np.ndarray, share: np.ndarray, **style: Any) -> None:
    """Draws a line through at most so many points, for the page would be large with all of them."""
    shown = np.unique(np.linspace(0, len(image) - 1, _MOST_POINTS).astype(int))
    axes.plot(image[shown], 100 * share[shown], lw=1.3, **style)


def _shares(record: Record, class_names: Sequence[str]) -> list[Section]:
    """Returns the class shares over time; nothing before there is an estimate."""
    if not len(estimates(record)[0]):
        return []
    text = "The class shares that the teacher was adapted to, each from the image on at which it was found."
    wide, narrow = (svg_uri(class_shares(record, class_names, size)) for size in (_WIDE_SHARES, _NARROW_SHARES))
    return [Section("Classes of the stream", [text], wide=[WidePicture(wide, narrow, "Class shares along the stream")])]


# --- Tables ----------------------------------------------------------------------------------------------------------


def _figures(record: Record, flops: Flops, result: Mapping[str, Any]) -> Section:
    found = by_phase(record, flops, result["phases"])
    names = [f"{number}\u00a0{name}" for number, (name, _) in enumerate(found, 1)]
    rows = _summary_rows("", [*zip(names, [one for _, one in found], strict=True), (_WHOLE, summary(record, flops))])
    texts = [
        "GiE is the share of the teacher's work that is saved: while serving, in total with all the work of adapting, "
        "and in total where training runs off the device. Audited images are among those that went to the teacher."
    ]
    repeats = result.get("repeats")
    if repeats is not None:
        images = len(record.image)
        texts.append(f"{repeats:,} of {images:,} images ({percent(repeats / images)}) had been shown before.")
    if result["unreadable"]:
        texts.append(f"{_count(result['unreadable'], 'image')} could not be read and had no answer.")
    return Section("Accuracy and work" + (", by phase" if found else ""), texts, [rows])


def _summary_rows(corner: str, summaries: Sequence[tuple[str, Summary]]) -> Rows:
    """Returns a table with a row a summary; figures that none of them has get no column."""
    columns = {
        header: name for header, name in _COLUMNS.items() if any(getattr(one, name) is not None for _, one in summaries)
    }
    rows = [[corner, "images", *columns]]
    for label, one in summaries:
        shares = (getattr(one, name) for name in columns.values())
        rows.append([label, f"{one.answered:,}", *(_NONE if share is None else percent(share) for share in shares)])
    return rows


def _changes(record: Record, phases: Phases) -> Section:
    found, false = borders(record, phases), false_alarms(record, phases)
    rows = [["to", "at image", "over", "noticed after", "serving after", "by"]]
    rows += [_border_row(number, border) for number, border in enumerate(found, 2)]
    texts = ["Images since the border. The prior moves at once, or over so many images."]
    if false:
        where = _listed([f"{image:,}" for image in false])
        texts.append(f"{_count(len(false), 'false alarm')}, far from any border: at image {where}.")
    else:
        texts.append("No false alarms.")
    return Section("Changes of the prior", texts, [rows])


def _border_row(number: int, border: Border) -> list[str]:
    return [
        f"{number}\u00a0{border.name}",
        f"{border.start:,}",
        f"{border.change:,}" if border.change else "at once",
        "not noticed" if border.noticed_after is None else f"{border.noticed_after:,}",
        "not again" if border.serving_after is None else f"{border.serving_after:,}",
        {None: _NONE, True: "an earlier student", False: "a new student"}[border.by_reuse],
    ]


def _events(record: Record, phases: Phases, class_names: Sequence[str]) -> Section:
    has_borders = len(phases) > 1
    rows = [["image", "event", "state", *(["since the border"] if has_borders else []), "reason"]]
    for event in record.events:
        if event["event"] not in _NOT_SHOWN:
            since = [_since_border(event["image"], phases)] if has_borders else []
            rows.append([f"{event['image']:,}", event["event"], event["state"], *since, _reason(event, class_names)])
    return Section("Events", notes=rows)


def _since_border(image: int, phases: Phases) -> str:
    behind = [image - phase["start"] for phase in phases[1:] if phase["start"] <= image]
    return f"{behind[-1]:,}" if behind else ""


def _reason(event: Mapping[str, Any], class_names: Sequence[str]) -> str:
    """Returns the reason, with the classes that were found, be they names or the teacher's numbers."""
    found = event.get("classes", ())
    names = [class_names[one] if isinstance(one, int) else one for one in found]
    return f"{event['reason']}: {', '.join(names)}" if names else event["reason"]


# --- Work ------------------------------------------------------------------------------------------------------------


def _work(record: Record, flops: Flops) -> Section:
    alone = len(record.image) * flops.teacher
    spent = flops.spent(record.counts[-1])
    rows = [["network and why it ran", "images", "GFLOPs", "of the teacher alone"]]
    for name, count, work in zip(COUNTS, record.counts[-1], spent, strict=True):
        rows.append([_PARTS[name][0], f"{int(count):,}", f"{work / 1e9:,.1f}", percent(work / alone)])
    whole = summary(record, flops)
    rows.append(["all", "", f"{spent.sum() / 1e9:,.1f}", percent(spent.sum() / alone)])
    rows.append(["all but training", "", "", percent(1 - (whole.gie_total_off_device or 0.0))])
    found = stretches(record, flops)
    paid = [["adapting from image", "images", "training, in answers", "GiE then", "paid after", "served"]]
    paid += [_stretch_row(stretch, flops) for stretch in found]
    return Section(
        "Where the work went",
        [
            "A training step is three passes of the student, all in float, and one more of the teacher. The teacher "
            "alone would have answered each image once.",
            *_break_even_texts(found),
        ],
        [rows, paid],
    )


def _break_even_texts(found: Sequence[Stretch]) -> list[str]:
    """Says whether adapting has paid for itself, on the device and off it."""
    served = [stretch for stretch in found if stretch.break_even is not None]
    if not served:
        return ["No student came to serve, so nothing of it has been paid back."]
    paid = sum(stretch.break_even <= stretch.served for stretch in served if stretch.break_even is not None)
    gains = sum(stretch.break_even_off_device == 0 for stretch in served)
    return [
        f"{paid} of {len(served)} stretches of serving lasted for long enough to pay for the training before them.",
        "The labels while adapting are answers that the teacher alone would have given too. So where training runs off "
        "the device there is nothing to pay back: it gained from the first image served on in "
        f"{gains} of {len(served)} stretches.",
    ]


def _stretch_row(stretch: Stretch, flops: Flops) -> list[str]:
    if stretch.break_even is None:
        after = _NONE
    else:
        after = f"{np.ceil(stretch.break_even):,.0f} images" if np.isfinite(stretch.break_even) else "never"
    return [
        f"{stretch.first:,}",
        f"{stretch.images:,}",
        f"{stretch.training_flops / flops.teacher:,.0f}",
        _NONE if stretch.gie is None else percent(stretch.gie),
        after,
        f"{stretch.served:,}",
    ]


def _compared(records: Mapping[str, Record], flops: Flops) -> list[Section]:
    """Returns the policies side by side, nothing where there is but one."""
    if len(records) < 2:
        return []
    rows = _summary_rows("policy", [(name, summary(record, flops)) for name, record in records.items()])
    wide, narrow = (svg_uri(work_bars(records, flops, size)) for size in (_WIDE_BARS, _NARROW_BARS))
    return [
        Section(
            "Compared with other policies",
            [
                "The same stream. teacher answers every image by itself; never adapts once only; scheduled adapts at "
                "fixed distances; scratch adapts when a change is noticed, and forgets earlier students."
            ],
            [rows],
            wide=[WidePicture(wide, narrow, "Work of each policy, as a share of the teacher alone")],
        )
    ]


def work_bars(records: Mapping[str, Record], flops: Flops, size: tuple[float, float]) -> Figure:
    """Returns what the work of each record went to, as bars in percent of the teacher alone.

    Args:
        records: by name.
        flops: of an image.
        size: width and height in inches.
    """
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    names = list(records)
    shares = np.array([flops.spent(one.counts[-1]) / (len(one.image) * flops.teacher) for one in records.values()])
    left = np.zeros(len(names))
    for share, (label, colour) in zip(100 * shares.T, (_PARTS[name] for name in COUNTS), strict=True):
        axes.barh(names, share, left=left, label=label, color=colour)
        left += share
    axes.axvline(100, color="black", lw=0.9, ls="--")
    axes.invert_yaxis()
    axes.set_xlabel("work, teacher alone = 100 %")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=4 if size[0] > 6 else 2, frameon=False, fontsize=8)
    return figure


def _settings(result: Mapping[str, Any]) -> Section:
    return Section(
        "Settings",
        [f"{result['seconds']:,.0f} seconds, {result['images_per_second']:,.0f} images a second, training and all."],
        settings=yaml.safe_dump(result["settings"], sort_keys=False),
    )


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def _listed(words: Sequence[str]) -> str:
    """Returns "a, b and c"."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
