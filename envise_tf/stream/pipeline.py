"""Answers a whole stream with a lifecycle, and writes down every answer once, whatever kills the process.

Beside the record (`record`) the run's folder holds state.npz (`store`): the lifecycle at the last checkpoint, and how
far the stream was then. A run that was killed is resumed from there. The images between it and the end of answers.csv
are played again, so that the lifecycle is what it was; their answers have been given and are not given again. Rows of
work.csv and events behind state.npz are dropped first, for they come again. A row that the kill has cut off was not
given yet.
"""

from __future__ import annotations

import dataclasses
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table

from envise_tf import progress
from envise_tf.deferral.rules import flawless_images
from envise_tf.distillation import training
from envise_tf.distillation.objectives import objective
from envise_tf.errors import UserError
from envise_tf.images.frames import Batch, Frames, PhotographFrames, VideoFrames
from envise_tf.images.holding_back import BLOCK, CHOOSING_EVERY
from envise_tf.images.loading import load_source
from envise_tf.images.phases import PhasedFrames, load_phases
from envise_tf.images.source import Source
from envise_tf.images.windows import Augmentation
from envise_tf.measures.gie import gie
from envise_tf.networks.loading import Classifier, load_generic, load_teacher, require_generic
from envise_tf.networks.macs import macs
from envise_tf.networks.students import residual_student
from envise_tf.run import Run, provenance
from envise_tf.runs.fitting import student_widths
from envise_tf.runs.names import has_comparable_labels, named_for
from envise_tf.runs.teacher import (
    fitted_to,
    labelled_by,
    labelled_examples,
    require_size,
    shared_size,
)
from envise_tf.settings import Policy, StreamSettings
from envise_tf.stream.adapt import earliest_service
from envise_tf.stream.journal import Replies
from envise_tf.stream.labelled import LabelledImages
from envise_tf.stream.lifecycle import Lifecycle
from envise_tf.stream.plan import AdaptPlan, ServePlan, Workshop
from envise_tf.stream.record import Known, Log, Record, read_record
from envise_tf.stream.result import as_figures
from envise_tf.stream.store import read_tree, write_tree
from envise_tf.stream.teacher import StreamTeacher
from envise_tf.stream.timeline import write_stream_report
from envise_tf.stream.tries import spent_on_try

POLICIES: tuple[Policy, ...] = ("never", "scheduled", "scratch")
"""What the lifecycle is compared with; the teacher alone needs no run of its own."""

_STATE, _OLD_STATE = "state.npz", "state.pkl"
_FORMAT = 3
"""Of the state; it changes with what a lifecycle consists of."""
_FRAMES = "frames.json"
_MEGABYTE = 2**20

_CONSOLE = Console()


@dataclass(frozen=True)
class Sight:
    """What a stream shows, and who knows it.

    Attributes:
        frames: in their order.
        teacher: with a name for each class.
        truth: int64 (labels of the frames,), the teacher's class of each; -1 where it has none.
        labelled: images of elsewhere by which promises are made.
    """

    frames: Frames
    teacher: Classifier
    truth: np.ndarray
    labelled: LabelledImages | None

    def true_class(self, label: np.ndarray) -> np.ndarray:
        """Returns the teacher's class of each label, int64 (n,), -1 where the label is unknown or foreign to it."""
        return np.append(self.truth, -1)[label]


def stream(settings: StreamSettings, resumed: bool) -> Run:
    """Answers a stream, and with settings.baselines once more with every other policy; writes the report.

    Args:
        settings: what to answer, and how.
        resumed: whether to resume the run in settings.out.

    Raises:
        UserError: anything the settings name is missing or does not fit the rest, or the stream is empty.
    """
    run = Run(Path(str(settings.out))) if resumed else Run.planned(settings, "stream")
    if resumed and (run.folder / "result.json").exists():
        _CONSOLE.print(f"{run.folder} has answered the whole stream already", soft_wrap=True)
    sight = found_sight(settings, run)
    if not resumed:
        _tell_of_length(settings, sight.frames)
    baselines: dict[str, Record] = {}
    with run.resumable("stream"), run.held(resumed):
        result = _answered(settings, sight, run)
        for policy in POLICIES if settings.baselines else ():
            other = Run(run.folder / policy)
            _CONSOLE.print(f"for comparison: {policy}")
            asked = dataclasses.replace(settings, policy=policy, baselines=False, out=str(other.folder))
            _answered(asked, sight, other)
            baselines[policy] = read_record(other.folder)
        write_stream_report(run.folder, read_record(run.folder), result, baselines)
    _CONSOLE.print(f"report: {run.folder / 'stream_report.html'}", soft_wrap=True)
    return run


def found_sight(settings: StreamSettings, run: Run) -> Sight:
    """Returns the frames and the teacher that the settings name.

    Args:
        settings: of the stream.
        run: may hold a list of photographs, for those that have come since would change their order.

    Raises:
        UserError: none or several kinds of frames are named, or one does not fit the teacher.
    """
    require_generic(settings.student_init, settings.teacher, settings.twin)
    teacher = load_teacher(settings.teacher, settings.teacher_range, settings.teacher_classes)
    given = [name for name in ("phases", "images", "video") if getattr(settings, name) is not None]
    if len(given) != 1:
        raise UserError(
            f"{' and '.join(f'--{name}' for name in given) or 'nothing to watch'} given: expected one of --phases, "
            "--images and --video"
        )
    source = _source(settings) if settings.phases is not None else None
    frames = _own(settings, teacher, run) if source is None else _phased(settings, source)
    require_size(teacher, settings.teacher, frames.size, frames.name)
    teacher = fitted_to(frames, teacher, settings.teacher)
    comparable = source if source is not None and has_comparable_labels(teacher, source) else None
    teacher = named_for(teacher, settings.teacher, comparable, settings.teacher_classes is not None)
    labelled = None
    if settings.calibrate is not None:
        said = labelled_by(settings.calibrate, teacher, frames.size)
        teacher = dataclasses.replace(teacher, labelled=said)
        labelled = LabelledImages(labelled_examples(settings.calibrate, teacher, frames.size), said)
    number = {name: index for index, name in enumerate(teacher.class_names)} if comparable else {}
    truth = np.array([number.get(name, -1) for name in frames.class_names], np.int64)
    return Sight(frames, teacher, truth, labelled)


def _source(settings: StreamSettings) -> Source:
    if settings.source is None:
        raise UserError("--phases without --source: expected the data set that the phases draw from, such as cifar100")
    return load_source(settings.source, settings.data_dir, settings.image_size)


def _phased(settings: StreamSettings, source: Source) -> Frames:
    return PhasedFrames(source, load_phases(str(settings.phases), source.class_names), settings.protocol, settings.seed)


def _own(settings: StreamSettings, teacher: Classifier, run: Run) -> Frames:
    size = shared_size(teacher, settings.teacher, settings.image_size)
    if settings.video is not None:
        return VideoFrames(settings.video, size, settings.every)
    paths = run.read_json(_FRAMES)["paths"] if (run.folder / _FRAMES).exists() else None
    return PhotographFrames(str(settings.images), size, paths)


# --- One pass --------------------------------------------------------------------------------------------------------


def _answered(settings: StreamSettings, sight: Sight, run: Run) -> dict[str, Any]:
    """Answers the stream, or what is left of it, and returns the content of result.json.

    The state goes at the end: it holds images of the stream, and nothing is left to resume.
    """
    if not (run.folder / "result.json").exists():
        _answer(settings, sight, run)
    (run.folder / _STATE).unlink(missing_ok=True)
    return run.read_json("result.json")


def _answer(settings: StreamSettings, sight: Sight, run: Run) -> None:
    """Answers the stream, or what is left of it, and writes result.json."""
    training.prepare(settings.seed)
    lifecycle = begun_lifecycle(settings, sight)
    journal = lifecycle.journal
    first, seconds = _restored(run, lifecycle)
    if not first:
        if isinstance(sight.frames, PhotographFrames):
            run.write_json(_FRAMES, {"paths": list(sight.frames.paths)})
        run.begin(settings)
    names, origin = sight.teacher.class_names, sight.frames.origin
    with Log(run.folder, first, names, origin) as log, _View(settings, sight, lifecycle) as view:
        begun = time.monotonic() - seconds
        for batch in sight.frames.batches(first, settings.batch_size):
            replies = lifecycle.answer(batch.images)
            events = journal.taken_events()
            log.write(batch, replies, _known(sight, lifecycle, batch, replies), journal.tally, events)
            view.show(events)
            if journal.position % settings.checkpoint < len(batch.images):
                log.sync()
                _save(run, lifecycle, int(batch.numbers[-1]) + 1, time.monotonic() - begun)
        seconds = time.monotonic() - begun
    if not journal.position:
        raise UserError(f"{sight.frames.name} shows no image that can be read: expected at least one")
    result = _result(settings, sight, lifecycle, seconds)
    result |= as_figures(read_record(run.folder), result)
    run.write_json("result.json", result)


def _tell_of_length(settings: StreamSettings, frames: Frames) -> None:
    """Says how many images it takes until a student may serve, where the stream has fewer."""
    is_restricted = settings.student_init != "scratch" and settings.adapt_by != "training"
    earliest = earliest_service(adapt_plan(settings, frames), is_restricted)
    if frames.length is not None and frames.length < earliest:
        _CONSOLE.print(
            f"{frames.name} has {frames.length:,} images, and a student serves after about {earliest:,} at the "
            "earliest, so the teacher will answer: give more images, smaller --find and --window, a larger --epsilon, "
            "or --student_init generic where one is shipped",
            soft_wrap=True,
            highlight=False,
        )


def _known(sight: Sight, lifecycle: Lifecycle, batch: Batch, replies: Replies) -> Known:
    """Returns what is known of each image.

    Where there are labels the teacher is asked about every image, for the record alone: to compare it with the cascade.
    """
    teacher_class, raw_class = replies.teacher_class.copy(), replies.raw_class.copy()
    unasked = teacher_class < 0
    if len(sight.truth) and unasked.any():
        teacher = lifecycle.workshop.teacher
        logits = teacher(batch.images[unasked])
        teacher_class[unasked] = teacher.adapted(logits, replies.adaptation).argmax(axis=-1)
        raw_class[unasked] = logits.argmax(axis=-1)
    return Known(teacher_class, raw_class, sight.true_class(batch.truth))


def begun_lifecycle(settings: StreamSettings, sight: Sight) -> Lifecycle:
    """Returns a lifecycle that has seen no image yet.

    Raises:
        UserError: no such objective, or no student to start from.
    """
    size = sight.frames.size
    return Lifecycle(
        adapt_plan(settings, sight.frames),
        ServePlan(
            settings.false_alarms,
            settings.audit_least,
            settings.audit_most,
            settings.most_deferred,
            settings.deferred_window,
            settings.policy,
            settings.schedule,
        ),
        _workshop(settings, sight, size),
        load_generic(settings.student_init, settings.teacher, sight.teacher.class_names, settings.twin),
        settings.memory * _MEGABYTE,
        (size, size, 3),
        settings.students,
    )


def adapt_plan(settings: StreamSettings, frames: Frames) -> AdaptPlan:
    """Returns how students are made for these frames; those of a camera or a film are held back in blocks of time.

    Raises:
        UserError: there is less room for held-back images than any promise takes.
    """
    options: dict[str, Any] = {"epsilon": settings.epsilon, "confidence": settings.confidence}
    if settings.rule == "accuracy":
        options["bound"] = settings.bound
    needed = flawless_images(settings.rule, options, spent_on_try(1 - settings.confidence, 1))
    least = math.ceil(needed / (1 - 1 / CHOOSING_EVERY))
    if settings.held_back < least:
        raise UserError(
            f"--held_back {settings.held_back} given: expected at least {least}, {needed} of them for the promise with "
            f"--epsilon {settings.epsilon:g}; give more, or a larger --epsilon"
        )
    same = {field.name for field in dataclasses.fields(AdaptPlan)} & {
        field.name for field in dataclasses.fields(settings)
    }
    return AdaptPlan(
        **{name: getattr(settings, name) for name in same},
        augmentation=Augmentation(settings.flip, settings.shift, 0.0, settings.mixup),
        block_of_time=None if isinstance(frames, PhasedFrames) else BLOCK,
        options=options,
    )


def _workshop(settings: StreamSettings, sight: Sight, size: int) -> Workshop:
    objectives = {name: objective(name, options) for name, options in settings.objectives.items()}
    widths = student_widths(settings, sight.teacher.model, size)

    def build(classes: int) -> tf.keras.Model:
        return residual_student(size, classes, **settings.shape | {"widths": widths})

    teacher = StreamTeacher(sight.teacher, settings.adapt, settings.outlier_rate)
    return Workshop(teacher, objectives, build, sight.labelled if settings.rule == "accuracy" else None)


def _save(run: Run, lifecycle: Lifecycle, following: int, seconds: float) -> None:
    content = {"format": _FORMAT, "lifecycle": lifecycle.snapshot(), "next": following, "seconds": seconds}
    run.save(_STATE, lambda path: write_tree(path, content))


def _restored(run: Run, lifecycle: Lifecycle) -> tuple[int, float]:
    """Brings the lifecycle to where the run was saved; returns the next number and the seconds taken so far.

    Raises:
        UserError: an earlier version has saved it.
    """
    if (run.folder / _OLD_STATE).exists():
        raise _written_earlier(run.folder / _OLD_STATE)
    if not (run.folder / _STATE).exists():
        return 0, 0.0
    content = read_tree(run.folder / _STATE)
    if content.get("format") != _FORMAT:
        raise _written_earlier(run.folder / _STATE)
    lifecycle.restore(content["lifecycle"])
    return content["next"], content["seconds"]


def _written_earlier(path: Path) -> UserError:
    return UserError(
        f"{path} was written by an earlier version, which kept another state: start again with another --out, or "
        "finish the run with the version that began it"
    )


def _result(settings: StreamSettings, sight: Sight, lifecycle: Lifecycle, seconds: float) -> dict[str, Any]:
    frames = sight.frames
    student, teacher = macs(lifecycle.network()), macs(sight.teacher.model)
    return {
        "images": lifecycle.journal.position,
        **_phase_figures(frames),
        "class_names": list(sight.teacher.class_names),
        "work": {
            "student_flops": student.flops,
            "student_flops_as_float": student.flops_as_float,
            "teacher_flops": teacher.flops,
        },
        "unreadable": len(frames.unreadable),
        "seconds": seconds,
        "images_per_second": lifecycle.journal.position / seconds,
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


# --- What is shown ---------------------------------------------------------------------------------------------------


class _View:
    """What a terminal shows while a stream is answered: a table that is kept up to date, and a line an event."""

    def __init__(self, settings: StreamSettings, sight: Sight, lifecycle: Lifecycle) -> None:
        self._lifecycle, self._names = lifecycle, sight.teacher.class_names
        self._flops = macs(lifecycle.network()).flops, macs(sight.teacher.model).flops
        self._progress = progress.bar("images,")
        self._task = self._progress.add_task(
            settings.policy, total=sight.frames.length, completed=lifecycle.journal.position
        )
        self._live = Live(console=_CONSOLE, refresh_per_second=2, transient=True)
        self._begun, self._first = time.monotonic(), lifecycle.journal.position

    def __enter__(self) -> _View:
        self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.stop()
        _CONSOLE.print(self._table())

    def show(self, events: list[dict[str, Any]]) -> None:
        """Shows where the stream is, and what has happened."""
        self._progress.update(self._task, completed=self._lifecycle.journal.position)
        self._live.update(Group(self._table(), self._progress))
        for event in events:
            _CONSOLE.print(
                f"{self._lifecycle.journal.position:>8}  {event['state']:<6} {event['event']}: {event['reason']}",
                soft_wrap=True,
                highlight=False,
                markup=False,
            )

    def _table(self) -> Table:
        journal, tally = self._lifecycle.journal, self._lifecycle.journal.tally
        seconds = time.monotonic() - self._begun
        rows = {
            "state": self._lifecycle.state.upper(),
            "images": f"{journal.position:,}",
            "answered by the student": f"{tally.student - tally.deferred - tally.audited:,}",
            "agreement on held-back images": _percent(journal.agreement),
            "deferred while serving": _percent(tally.deferred / tally.student if tally.student else None),
            "GiE while serving": _percent(self._gie()),
            "images a second": f"{(journal.position - self._first) / seconds:.0f}",
        }
        table = Table(show_header=False)
        for name, value in rows.items():
            if value is not None:
                table.add_row(name, value)
        return table

    def _gie(self) -> float | None:
        tally = self._lifecycle.journal.tally
        if not tally.student:
            return None
        return float(gie(tally.student, tally.deferred + tally.audited, *self._flops))


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{100 * share:.1f} %"
