"""Answers a whole stream with a lifecycle, and writes down every answer once, whatever kills the process.

The record, in the run's folder:

    answers.csv   a row an image, written when its batch has been answered; never rewritten
    work.csv      a row a batch: the images that each network has seen so far
    events.jsonl  changes, classes found, measurements, thresholds
    state.pkl     the lifecycle, every so many images, and how far the stream was then

A run that was killed goes on from state.pkl. The images between it and the end of answers.csv are played again, so that
the lifecycle is what it was; their answers have been given and are not given again. Rows of work.csv and events behind
state.pkl are dropped first, for they come again. A row that the kill has cut off was not given yet.
"""

from __future__ import annotations

import csv
import dataclasses
import itertools
import json
import os
import pickle
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table

from envise_tf import progress
from envise_tf.distillation import training
from envise_tf.distillation.objectives import objective
from envise_tf.errors import UserError
from envise_tf.images.frames import Batch, Frames, PhotographFrames, VideoFrames
from envise_tf.images.loading import load_source
from envise_tf.images.phases import PhasedFrames, load_phases
from envise_tf.images.source import Source
from envise_tf.measures.gie import gie
from envise_tf.networks.loading import Classifier, load_classifier, load_generic
from envise_tf.networks.macs import macs
from envise_tf.run import Run, provenance
from envise_tf.runs.teacher import require_size, shared_size, with_class_names
from envise_tf.settings import Policy, StreamSettings
from envise_tf.stream.lifecycle import Answered, Lifecycle, Work
from envise_tf.stream.record import ANSWERS, COUNTS, Record, as_figures, read_record
from envise_tf.stream.timeline import write_stream_report

POLICIES: tuple[Policy, ...] = ("never", "scheduled", "scratch")
"""What the lifecycle is compared with; the teacher alone needs no run of its own."""


_LONGEST_ROW = 4096
_STATE = "state.pkl"
_FRAMES = "frames.json"

_CONSOLE = Console()


@dataclass(frozen=True)
class Sight:
    """What a stream shows, and who knows it.

    Attributes:
        frames: in their order.
        teacher: with a name for each class.
        truth: int64 (labels of the frames,), the teacher's class of each; -1 where it has none.
    """

    frames: Frames
    teacher: Classifier
    truth: np.ndarray

    def true_class(self, label: np.ndarray) -> np.ndarray:
        """Returns the teacher's class of each label, int64 (n,), -1 where the label is unknown or foreign to it."""
        return np.append(self.truth, -1)[label]


def stream(settings: StreamSettings, resumed: bool) -> Run:
    """Answers a stream, and with settings.baselines once more with every other policy; writes the report.

    Args:
        settings: see there.
        resumed: go on with the run in settings.out.

    Raises:
        UserError: anything the settings name is missing or does not fit the rest, or the stream is empty.
    """
    run = Run(Path(str(settings.out))) if resumed else Run.planned(settings, "stream")
    sight = found_sight(settings, run)
    result = _answered(settings, sight, run)
    baselines: dict[str, Record] = {}
    for policy in POLICIES if settings.baselines else ():
        other = Run(run.folder / policy)
        _CONSOLE.print(f"for comparison: {policy}")
        _answered(dataclasses.replace(settings, policy=policy, baselines=False, out=str(other.folder)), sight, other)
        baselines[policy] = read_record(other.folder)
    write_stream_report(run.folder, read_record(run.folder), result, baselines)
    _CONSOLE.print(f"report: {run.folder / 'stream_report.html'}", soft_wrap=True)
    return run


def found_sight(settings: StreamSettings, run: Run) -> Sight:
    """Returns the frames and the teacher that the settings name.

    Args:
        settings: see there.
        run: may hold a list of photographs, for those that have come since would change their order.

    Raises:
        UserError: none or several kinds of frames are named, or one does not fit the teacher.
    """
    teacher = load_classifier(settings.teacher, settings.teacher_range, settings.teacher_classes)
    given = [name for name in ("phases", "images", "video") if getattr(settings, name) is not None]
    if len(given) != 1:
        raise UserError(
            f"{' and '.join(f'--{name}' for name in given) or 'nothing to watch'} given: expected one of --phases, "
            "--images and --video"
        )
    frames = _phased(settings) if settings.phases is not None else _own(settings, teacher, run)
    require_size(teacher, settings.teacher, frames.size, frames.name)
    teacher = with_class_names(teacher, settings.teacher, frames.class_names, frames.name)
    number = {name: index for index, name in enumerate(teacher.class_names)}
    truth = np.array([number.get(name, -1) for name in frames.class_names], np.int64)
    return Sight(frames, teacher, truth)


def _phased(settings: StreamSettings) -> Frames:
    if settings.source is None:
        raise UserError("--phases without --source: expected the data set that the phases draw from, such as cifar100")
    source: Source = load_source(settings.source, settings.data_dir, settings.image_size)
    return PhasedFrames(source, load_phases(str(settings.phases), source.class_names), settings.protocol, settings.seed)


def _own(settings: StreamSettings, teacher: Classifier, run: Run) -> Frames:
    size = shared_size(teacher, settings.teacher, settings.image_size)
    if settings.video is not None:
        return VideoFrames(settings.video, size, settings.every)
    paths = run.read_json(_FRAMES)["paths"] if (run.folder / _FRAMES).exists() else None
    return PhotographFrames(str(settings.images), size, paths)


# --- One pass --------------------------------------------------------------------------------------------------------


def _answered(settings: StreamSettings, sight: Sight, run: Run) -> dict[str, Any]:
    """Answers the stream, or what is left of it; writes result.json and returns its content."""
    if (run.folder / "result.json").exists():
        return run.read_json("result.json")
    training.prepare(settings.seed)
    lifecycle = begun_lifecycle(settings, sight)
    first, seconds = 0, 0.0
    if (run.folder / _STATE).exists():
        first, seconds = _restored(run, lifecycle)
    else:
        if isinstance(sight.frames, PhotographFrames):
            run.write_json(_FRAMES, {"paths": list(sight.frames.paths)})
        run.begin(settings)
    with Log(run.folder, first) as log, _View(settings, sight, lifecycle) as view:
        begun = time.monotonic() - seconds
        for batch in sight.frames.batches(first, settings.batch_size):
            answered = lifecycle.answer(batch.images)
            events = lifecycle.taken_events()
            log.write(batch, answered, _known(sight, lifecycle, batch, answered), lifecycle.work, events)
            view.show(events)
            if lifecycle.position % settings.checkpoint < len(batch.images):
                _save(run, lifecycle, int(batch.numbers[-1]) + 1, time.monotonic() - begun)
        seconds = time.monotonic() - begun
    if not lifecycle.position:
        raise UserError(f"{sight.frames.name} shows no image that can be read: expected at least one")
    result = _result(settings, sight, lifecycle, seconds)
    result |= as_figures(read_record(run.folder), result)
    run.write_json("result.json", result)
    return result


def _known(sight: Sight, lifecycle: Lifecycle, batch: Batch, answered: Answered) -> tuple[np.ndarray, np.ndarray]:
    """Returns true and teacher's class of each image, int64 (n,), as far as they are known.

    Where there are labels the teacher is asked about every image, for the record alone: to compare it with the cascade.
    """
    teacher_class = answered.teacher_class.copy()
    unasked = teacher_class < 0
    if len(sight.truth) and unasked.any():
        teacher_class[unasked] = lifecycle.teacher(batch.images[unasked]).argmax(axis=-1)
    return sight.true_class(batch.truth), teacher_class


def begun_lifecycle(settings: StreamSettings, sight: Sight) -> Lifecycle:
    """Returns a lifecycle that has seen no image yet.

    Raises:
        UserError: no such objective, or no student to start from.
    """
    objectives = {name: objective(name, options) for name, options in settings.objectives.items()}
    generic = load_generic(settings.student_init, settings.teacher, settings.twin)
    return Lifecycle(settings, sight.teacher.model, sight.frames.size, objectives, generic)


def _save(run: Run, lifecycle: Lifecycle, following: int, seconds: float) -> None:
    content = {"lifecycle": lifecycle.snapshot(), "next": following, "seconds": seconds}
    run.save(_STATE, lambda path: path.write_bytes(pickle.dumps(content)))


def _restored(run: Run, lifecycle: Lifecycle) -> tuple[int, float]:
    """Brings the lifecycle to where the run was saved; returns the next number and the seconds taken so far."""
    content = pickle.loads((run.folder / _STATE).read_bytes())
    lifecycle.restore(content["lifecycle"])
    return content["next"], content["seconds"]


def _result(settings: StreamSettings, sight: Sight, lifecycle: Lifecycle, seconds: float) -> dict[str, Any]:
    frames = sight.frames
    student, teacher = macs(lifecycle.network()), macs(sight.teacher.model)
    return {
        "images": lifecycle.position,
        **_phase_figures(frames),
        "class_names": list(sight.teacher.class_names),
        "work": {
            "student_flops": student.flops,
            "student_flops_as_float": student.flops_as_float,
            "teacher_flops": teacher.flops,
        },
        "unreadable": len(frames.unreadable),
        "seconds": seconds,
        "images_per_second": lifecycle.position / seconds,
        "settings": dataclasses.asdict(settings),
        **provenance(),
    }


def _phase_figures(frames: Frames) -> dict[str, Any]:
    """Returns the phases of a simulated stream, and how many of its images have been shown before, at least."""
    if not isinstance(frames, PhasedFrames):
        return {"phases": []}
    phases = [
        {"name": phase.name, "start": start, "images": phase.images, "change": phase.change}
        for phase, start in zip(frames.phases, frames.phase_starts, strict=True)
    ]
    images: dict[str, int] = {}
    for phase in frames.phases:
        images[phase.name] = images.get(phase.name, 0) + phase.images
    distinct = dict(zip(frames.phase_names, frames.distinct, strict=True))
    return {"phases": phases, "repeats": sum(max(0, count - distinct[name]) for name, count in images.items())}


# --- What is written -------------------------------------------------------------------------------------------------


class Log:
    """The three files of the record.

    Args:
        folder: of the run.
        first: number of the first frame that is answered from here on.
    """

    def __init__(self, folder: Path, first: int) -> None:
        self._given = _last_number(folder / "answers.csv")
        _drop(folder / "work.csv", lambda line: line.startswith("image") or int(line.partition(",")[0]) < first)
        _drop(folder / "events.jsonl", lambda line: json.loads(line)["image"] < first)
        self._answers = _opened(folder / "answers.csv", ANSWERS)
        self._work = _opened(folder / "work.csv", ("image", *COUNTS))
        self._events = (folder / "events.jsonl").open("a", encoding="utf-8")

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *error: object) -> None:
        for file in (self._answers, self._work, self._events):
            file.close()

    def write(
        self,
        batch: Batch,
        answered: Answered,
        known: tuple[np.ndarray, np.ndarray],
        work: Work,
        events: list[dict[str, Any]],
    ) -> None:
        """Appends a batch, but for the answers that have been given before."""
        truth, teacher_class = known
        columns = (
            batch.numbers,
            batch.phase,
            [answered.state] * len(batch.numbers),
            answered.label,
            answered.by_student.astype(int),
            ["" if np.isnan(score) else f"{score:.6g}" for score in answered.score],
            (answered.teacher_class >= 0).astype(int),
            teacher_class,
            truth,
        )
        rows = [row for row in zip(*columns, strict=True) if row[0] > self._given]
        csv.writer(self._answers, lineterminator="\n").writerows(rows)
        last = int(batch.numbers[-1])
        csv.writer(self._work, lineterminator="\n").writerow((last, *(getattr(work, name) for name in COUNTS)))
        for event in events:
            self._events.write(json.dumps({"image": last, **event}) + "\n")
        for file in (self._answers, self._work, self._events):
            file.flush()


def _last_number(path: Path) -> int:
    """Returns the number of the last image in a file of answers, -1 of none; cuts off a row that is not whole."""
    if not path.exists():
        return -1
    with path.open("rb+") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(0, end - _LONGEST_ROW))
        tail = file.read()
        whole = tail[: tail.rfind(b"\n") + 1]
        file.truncate(end - len(tail) + len(whole))
    rows = whole.decode().splitlines()
    number = rows[-1].partition(",")[0] if rows else ""
    return int(number) if number.isdigit() else -1


def _drop(path: Path, stays: Callable[[str], bool]) -> None:
    """Leaves the whole lines of a file up to the first that does not stay."""
    if not path.exists():
        return
    with path.open(encoding="utf-8") as file:
        lines = list(itertools.takewhile(lambda line: line.endswith("\n") and stays(line), file))
    path.write_text("".join(lines), encoding="utf-8")


def _opened(path: Path, columns: tuple[str, ...]) -> TextIO:
    file = path.open("a", encoding="utf-8", newline="")
    if not path.stat().st_size:
        csv.writer(file, lineterminator="\n").writerow(columns)
    return file


class _View:
    """What a terminal shows while a stream is answered: a table that is kept up to date, and a line an event."""

    def __init__(self, settings: StreamSettings, sight: Sight, lifecycle: Lifecycle) -> None:
        self._lifecycle, self._names = lifecycle, sight.teacher.class_names
        self._flops = macs(lifecycle.network()).flops, macs(sight.teacher.model).flops
        self._progress = progress.bar("images,")
        self._task = self._progress.add_task(settings.policy, total=sight.frames.length, completed=lifecycle.position)
        self._live = Live(console=_CONSOLE, refresh_per_second=2, transient=True)
        self._begun, self._first = time.monotonic(), lifecycle.position

    def __enter__(self) -> _View:
        self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.stop()
        _CONSOLE.print(self._table())

    def show(self, events: list[dict[str, Any]]) -> None:
        """Shows where the stream is, and what has happened."""
        self._progress.update(self._task, completed=self._lifecycle.position)
        self._live.update(Group(self._table(), self._progress))
        for event in events:
            _CONSOLE.print(
                f"{self._lifecycle.position:>8}  {event['state']:<6} {event['event']}: {event['reason']}",
                soft_wrap=True,
                highlight=False,
                markup=False,
            )

    def _table(self) -> Table:
        lifecycle, work = self._lifecycle, self._lifecycle.work
        seconds = time.monotonic() - self._begun
        rows = {
            "state": lifecycle.state.upper(),
            "agreement on held-back images": _percent(lifecycle.agreement),
            "deferred while serving": _percent(work.deferred / work.student if work.student else None),
            "GiE while serving": _percent(self._gie()),
            "images a second": f"{(lifecycle.position - self._first) / seconds:.0f}",
        }
        table = Table(show_header=False)
        for name, value in rows.items():
            table.add_row(name, value)
        return table

    def _gie(self) -> float | None:
        work = self._lifecycle.work
        if not work.student:
            return None
        return float(gie(work.student, work.deferred + work.audited, *self._flops))


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f} %"
