"""The record of a stream: three files in the run's folder, written as it is answered, and read back.

answers.csv   one row per image, written when its batch has been answered; never rewritten
work.csv      one row per batch: the images that each network has seen so far
events.jsonl  changes, classes found, measurements, thresholds
"""

from __future__ import annotations

import csv
import dataclasses
import itertools
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np

from envise_tf.errors import UserError
from envise_tf.images.frames import Batch
from envise_tf.run import Run
from envise_tf.stream.journal import Replies, Tally

ANSWERS = (
    *("image", "phase", "state", "label", "class", "by_student", "promised", "score"),
    *("asked", "teacher", "raw", "truth", "origin"),
)
_FOR_PEOPLE = ("class", "origin")
"""Columns that are written and not read back: the name of the label, and where the image comes from."""
COUNTS = tuple(field.name for field in dataclasses.fields(Tally))
"""What is counted, in images, in the order of `Record.counts`."""

_TYPES = {"state": "U5", "score": np.float32, "by_student": np.bool_, "promised": np.bool_, "asked": np.bool_}
_LONGEST_ROW = 4096


@dataclass(frozen=True)
class Record:
    """The answers to n images in their order, the work of m batches, and what happened.

    Attributes:
        image: int64 (n,), position in the stream, ascending.
        phase: int64 (n,), -1 where unknown.
        is_serving: bool (n,), else it was adapting.
        label: int64 (n,), the teacher's class that was replies.
        by_student: bool (n,).
        promised: bool (n,), whether the student's promise covers the answer.
        score: float32 (n,), NaN while adapting.
        asked: bool (n,), whether the teacher had to see the image.
        teacher: int64 (n,), the teacher's class, -1 where nobody asked.
        raw: int64 (n,), the same of the teacher as it came.
        truth: int64 (n,), in the teacher's numbering, -1 where unknown.
        work_image: int64 (m,), the last image of each batch, ascending.
        counts: float64 (m, 7), `COUNTS` since the start of the stream.
        events: each with "image", "state", "event" and "reason".
    """

    image: np.ndarray
    phase: np.ndarray
    is_serving: np.ndarray
    label: np.ndarray
    by_student: np.ndarray
    promised: np.ndarray
    score: np.ndarray
    asked: np.ndarray
    teacher: np.ndarray
    raw: np.ndarray
    truth: np.ndarray
    work_image: np.ndarray
    counts: np.ndarray
    events: list[dict[str, Any]]

    def counts_before(self, position: int) -> np.ndarray:
        """Returns `COUNTS` of all images before a position, float64 (7,); a batch's images share its work evenly."""
        known = np.vstack([np.zeros(len(COUNTS)), self.counts])
        at = np.append(-1, self.work_image)
        return np.array([np.interp(position - 1, at, column) for column in known.T])

    def rows(self, first: int, stop: int | None) -> slice:
        """Returns the rows of the images at positions first..stop-1; None is the end."""
        last = len(self.image) if stop is None else int(np.searchsorted(self.image, stop))
        return slice(int(np.searchsorted(self.image, first)), last)


def read_record(folder: Path) -> Record:
    """Returns the record in a run's folder; a last line that a kill has cut off is left out.

    Raises:
        UserError: a file is missing, holds nothing yet, or is not as a stream writes it.
    """
    answers = _table(folder / "answers.csv", ANSWERS)
    work = _table(folder / "work.csv", ("image", *COUNTS))
    events_file = folder / "events.jsonl"
    try:
        events = [json.loads(line) for line in _whole_lines(events_file)]
    except ValueError as error:
        raise _unreadable(events_file, error) from None
    return Record(
        is_serving=answers["state"] == "serve",
        **{name: answers[name].copy() for name in ANSWERS if name not in ("state", *_FOR_PEOPLE)},
        work_image=work["image"].copy(),
        counts=np.stack([work[name] for name in COUNTS], axis=-1).astype(np.float64),
        events=events,
    )


def _table(path: Path, columns: Sequence[str]) -> np.ndarray:
    """Returns a CSV file as a structured array; an empty cell is NaN."""
    lines = _whole_lines(path)
    if not lines or lines[0] != ",".join(columns):
        given = lines[0] if lines else "nothing"
        raise UserError(
            f"{path} begins with {given!r}: expected {','.join(columns)}; give the folder of a stream's run"
        )
    if len(lines) == 1:
        raise UserError(f"{path} holds no images yet: expected at least one; resume the run")
    # NumPy reads no empty cells, and of those that are read only a score can be empty.
    rows = (line.replace(",,", ",nan,") for line in lines[1:])
    read = [(place, name) for place, name in enumerate(columns) if name not in _FOR_PEOPLE]
    types = [(name, _TYPES.get(name, np.int64)) for _, name in read]
    try:
        return np.loadtxt(
            rows, types, delimiter=",", ndmin=1, quotechar='"', comments=None, usecols=[place for place, _ in read]
        )
    except ValueError as error:
        raise _unreadable(path, error) from None


def _whole_lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError:
        raise UserError(f"cannot read {path}: expected the folder of a run of stream") from None
    return text[: text.rfind("\n") + 1].splitlines()


def _unreadable(path: Path, error: Exception) -> UserError:
    return UserError(f"{path} is not as a stream writes it ({' '.join(str(error).split())}): restore it, or run again")


def teacher_alone(record: Record) -> Record:
    """Returns what the record would be if the teacher answered every image; it must be known for all of them."""
    images = len(record.image)
    counts = np.zeros((images, len(COUNTS)))
    counts[:, COUNTS.index("labelled")] = np.arange(1, images + 1)
    return dataclasses.replace(
        record,
        is_serving=np.zeros(images, bool),
        label=record.teacher,
        by_student=np.zeros(images, bool),
        promised=np.ones(images, bool),
        score=np.full(images, np.nan, np.float32),
        asked=np.ones(images, bool),
        work_image=record.image,
        counts=counts,
        events=[],
    )


# --- Writing ---------------------------------------------------------------------------------------------------------


class Known(NamedTuple):
    """What is known of n images for the record alone, int64 (n,) each, -1 where it is not.

    Attributes:
        teacher: the teacher's class.
        raw: the class of the teacher as it came.
        truth: in the teacher's numbering.
    """

    teacher: np.ndarray
    raw: np.ndarray
    truth: np.ndarray


class Log:
    """The three files of the record.

    Args:
        folder: of the run.
        first: number of the first frame that is answered from here on.
        class_names: of the teacher.
        origin: where the image of a number comes from, for people.
    """

    def __init__(self, folder: Path, first: int, class_names: Sequence[str], origin: Callable[[int], str]) -> None:
        self._class_names, self._origin = class_names, origin
        self._given = _last_number(folder / "answers.csv")
        _drop(folder / "work.csv", lambda line: line.startswith("image") or int(line.partition(",")[0]) < first)
        _drop(folder / "events.jsonl", lambda line: json.loads(line)["image"] < first)
        self._answers = _opened(folder / "answers.csv", ANSWERS)
        self._work = _opened(folder / "work.csv", ("image", *COUNTS))
        self._events = (folder / "events.jsonl").open("a", encoding="utf-8")
        self._files = (self._answers, self._work, self._events)

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *error: object) -> None:
        for file in self._files:
            file.close()

    def sync(self) -> None:
        """Has all that was written reach the disk, so that a checkpoint that counts on it may follow."""
        for file in self._files:
            os.fsync(file.fileno())

    def write(
        self,
        batch: Batch,
        replies: Replies,
        known: Known,
        tally: Tally,
        events: list[dict[str, Any]],
    ) -> None:
        """Appends a batch, but for the answers that have been given before."""
        columns = (
            batch.numbers,
            batch.phase,
            [replies.state] * len(batch.numbers),
            replies.label,
            [self._class_names[label] for label in replies.label],
            replies.by_student.astype(int),
            replies.promised.astype(int),
            ["" if np.isnan(score) else f"{score:.6g}" for score in replies.score],
            (replies.teacher_class >= 0).astype(int),
            *known,
            # A row is a line, whatever a file is called.
            [" ".join(self._origin(number).splitlines()) for number in batch.numbers.tolist()],
        )
        rows = [row for row in zip(*columns, strict=True) if row[0] > self._given]
        csv.writer(self._answers, lineterminator="\n").writerows(rows)
        last = int(batch.numbers[-1])
        csv.writer(self._work, lineterminator="\n").writerow((last, *(getattr(tally, name) for name in COUNTS)))
        for event in events:
            self._events.write(json.dumps({"image": last, **event}) + "\n")
        for file in self._files:
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
    Run(path.parent).write(path, "".join(lines))


def _opened(path: Path, columns: tuple[str, ...]) -> TextIO:
    file = path.open("a", encoding="utf-8", newline="")
    if not path.stat().st_size:
        csv.writer(file, lineterminator="\n").writerow(columns)
    return file
