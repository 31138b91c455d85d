"""python -m envise_tf.export.classify BUNDLE IMAGES...: what a bundle's cascade says of photographs, as a table.

Into a CSV file by default. It needs what `envise_tf.export.runtime` needs, and Pillow and rich. Rows are written one by
one and whole: after Ctrl-C, or a power cut, the file holds every image that was answered.

An archive of more images than one process should read goes into a folder of Parquet files: `--out answers.parquet`.
Apache Beam deals the images out to several workers, and the same command resumes an interrupted one.
"""

from __future__ import annotations

import csv
import glob
import importlib
import logging
import shlex
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.progress import track

from envise_tf.deferral.cascade import Answer
from envise_tf.errors import UserError, interruptible, reports_user_errors, some_of
from envise_tf.export.answering import COLUMNS, Unreadable, answered
from envise_tf.export.runtime import Cascade
from envise_tf.files import require_writable
from envise_tf.images.photographs import images_below, skipped
from envise_tf.settings import Checked, Count, FilePath, parsed

ABOUT = "Classify photographs with a bundle: JPEG, PNG and WebP files of any size and orientation."

_CONSOLE = Console()


@dataclass(frozen=True)
class ClassifySettings(Checked):
    """Images and output.

    Args:
        bundle: folder of the bundle.
        images: files, folders with everything below them, and patterns such as "photos/**/*.jpg".
        out: CSV file to write, which must not exist yet; or, by the ending .parquet, a folder of Parquet files, whose
            images are answered by several workers, and those in it already not again.
        builtin: use the student of stock operators, for machines without Larq Compute Engine.
        threads: threads of each interpreter.
        workers: processes that answer into a folder of Parquet files; none is one a processor core.
        shard: images in each Parquet file; a kill loses at most as many answers of each worker.
        beam: options of Apache Beam in one text, such as "--runner=FlinkRunner --flink_master=host:8081"; without a
            runner, the workers are processes of this machine.
    """

    bundle: FilePath
    images: list[str]
    out: FilePath = "predictions.csv"
    builtin: bool = False
    threads: Count = 1
    workers: Count | None = None
    shard: Count = 256
    beam: str = ""


@reports_user_errors("--out holds the images answered so far")
def main(argv: Sequence[str] | None = None) -> None:
    """Reads the settings, classifies the images, and writes their answers."""
    words = sys.argv[1:] if argv is None else argv
    settings, _ = parsed(ClassifySettings, "export.classify", ABOUT, words)
    if _is_parquet(settings):
        command = shlex.join(["python", "-m", "envise_tf.export.classify", *words])
        with interruptible(lambda: f"resume it with {command}"):
            classify_archive(settings)
    else:
        classify(settings)


def classify(settings: ClassifySettings) -> None:
    """Writes a row for each image that can be read; names the others on the console.

    The columns are the path as given, the class by name, whether the student answered (true or false), and the
    student's inlier score.

    Raises:
        UserError: the bundle is damaged, an argument names no image, the CSV file exists already or cannot be
            written, no image at all can be read, or a setting is one for Parquet.
    """
    if settings.workers is not None or settings.beam:
        raise UserError(f"--workers and --beam are for Parquet, {settings.out} given: expected --out answers.parquet")
    require_writable(Path(settings.out))
    paths = image_paths(settings.images)
    cascade = Cascade.load(settings.bundle, settings.builtin, settings.threads)
    with _opened(settings.out) as file:
        _write_row(file, COLUMNS)
        unreadable = _write_rows(file, cascade, track(paths, "images", console=_CONSOLE, transient=True))
    if unreadable == len(paths):
        Path(settings.out).unlink()
        raise UserError(f"none of the {len(paths)} files can be read as an image: expected JPEG, PNG or WebP")
    _show(cascade, unreadable, settings.out)


def classify_archive(settings: ClassifySettings) -> None:
    """Writes the answers to all images that have none yet into a folder of Parquet files, by Apache Beam.

    Raises:
        UserError: Beam is not installed, the bundle is damaged, an argument names no image, the folder holds something
            else or another bundle's answers, or the pipeline fails.
    """
    _require_beam()
    from envise_tf.export.beam import CascadePlace, answered_in_workers
    from envise_tf.export.shards import Shards, answering_networks, in_shards

    folder = Path(settings.out)
    require_writable(folder)
    paths = image_paths(settings.images)
    place = CascadePlace(str(Path(settings.bundle).absolute()), settings.builtin, settings.threads)
    # Loaded here too, so that what is wrong with the bundle is told before any worker starts.
    shards = Shards(folder.absolute(), answering_networks(place.load().bundle, settings.builtin))
    done = shards.read()["origin"].to_pylist()
    groups = in_shards(paths, done, settings.shard)
    left = sum(map(len, groups.values()))
    if done:
        _CONSOLE.print(f"{len(paths) - left} of {len(paths)} images are answered already", soft_wrap=True)
    if groups:
        folder.mkdir(parents=True, exist_ok=True)
        written = answered_in_workers(place, shards, groups, settings.workers or 0, settings.beam)
        for _ in track(written, "images", left, console=_CONSOLE, transient=True):
            pass
        shards.clear()
    _show_archive(shards.read(), settings.out)


def image_paths(arguments: Sequence[str]) -> list[str]:
    """Returns the files that the arguments name, each once, in the order of the arguments.

    A file is taken whatever its name is; below a folder, and of what a pattern matches, JPEG, PNG and WebP alone for
    folders and everything for files. Hidden files are taken only by name.

    Raises:
        UserError: an argument is no file, holds no image, or matches nothing.
    """
    paths: list[str] = []
    for argument in arguments:
        literal = Path(argument).exists()
        matches = [argument] if literal else sorted(glob.glob(argument, recursive=True))
        found = [path for match in matches for path in (images_below(match) if Path(match).is_dir() else [match])]
        if not found:
            raise UserError(
                f"{argument} {'holds no image' if literal else 'is not there'}: expected a file, a folder of JPEG, PNG "
                "or WebP files, or a pattern that matches some"
            )
        paths += found
    return list(dict.fromkeys(paths))


def _opened(out: str) -> TextIO:
    try:
        # Written line by line; names of files that are no UTF-8 keep their bytes.
        return open(out, "x", buffering=1, encoding="utf-8", errors="surrogateescape", newline="")
    except FileExistsError:
        raise UserError(f"{out} exists already: expected a new file; remove it, or choose another --out") from None
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise UserError(
            f"cannot write {out} ({error.strerror}): expected a file in a folder that exists; choose another --out"
        ) from None


def _write_rows(file: TextIO, cascade: Cascade, paths: Iterable[str]) -> int:
    """Writes the row of each image; returns how many files cannot be read."""
    unreadable = 0
    for path in paths:
        try:
            answer = answered(cascade, path)
        except Unreadable as problem:
            unreadable += 1
            _CONSOLE.print(skipped(path, problem), markup=False, soft_wrap=True)
            continue
        _write_row(file, _row(path, answer))
    return unreadable


def _row(path: str, answer: Answer) -> tuple[str, ...]:
    return path, answer.label, str(answer.by_student).lower(), f"{answer.score:.7g}"


def _write_row(file: TextIO, row: Sequence[Any]) -> None:
    csv.writer(file, lineterminator="\n").writerow(row)


def _show(cascade: Cascade, unreadable: int, out: str) -> None:
    counters = cascade.counters
    images = counters.answered + counters.deferred
    spent = counters.student_milliseconds + counters.teacher_milliseconds
    _CONSOLE.print(
        f"{images} images, {spent / images:.2f} ms each: {_told(counters.answered, counters.deferred, unreadable)}",
        soft_wrap=True,
    )
    _CONSOLE.print(f"predictions: {out}", markup=False, soft_wrap=True)


def _told(by_student: int, by_teacher: int, unreadable: int) -> str:
    return f"{by_student} answered by the student, {by_teacher} by the teacher; {unreadable} files could not be read"


def _is_parquet(settings: ClassifySettings) -> bool:
    return Path(settings.out).suffix == ".parquet"


def _require_beam() -> None:
    """Imports Apache Beam, without its warnings of clients for Google's services that nobody asked for."""
    logging.disable(logging.WARNING)
    try:
        importlib.import_module("apache_beam")
        importlib.import_module("pyarrow")
    except ModuleNotFoundError as error:
        if error.name not in ("apache_beam", "pyarrow"):
            raise
        raise UserError(
            "answers in Parquet need Apache Beam, which is not installed: pip install 'envise-tf[beam]', or give a CSV "
            "file as --out"
        ) from None
    finally:
        logging.disable(logging.NOTSET)


def _show_archive(table: Any, out: str) -> None:
    unreadable = table.filter(table["problem"].is_valid())["origin"].to_pylist()
    by_student = table["by_student"].to_pylist()
    _CONSOLE.print(
        f"{len(table) - len(unreadable)} images: "
        + _told(by_student.count(True), by_student.count(False), len(unreadable))
        + (f": {some_of(unreadable)}; the column problem says why" if unreadable else ""),
        markup=False,
        soft_wrap=True,
    )
    _CONSOLE.print(f"answers: {out}", markup=False, soft_wrap=True)


if __name__ == "__main__":
    main()
