"""python -m envise_tf.export.classify BUNDLE IMAGES...: what a bundle's cascade says of photographs, as a CSV file.

It needs what `envise_tf.export.runtime` needs, and Pillow and rich. Rows are written one by one and whole: after
Ctrl-C, or a power cut, the file holds every image that was answered.
"""

from __future__ import annotations

import csv
import glob
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.progress import track

from envise_tf.deferral.cascade import Answer
from envise_tf.errors import UserError, reports_user_errors
from envise_tf.export.runtime import Cascade
from envise_tf.files import require_writable
from envise_tf.images.photographs import decoded_square, images_below
from envise_tf.settings import Checked, Count, FilePath, parsed

ABOUT = "Classify photographs with a bundle: JPEG, PNG and WebP files of any size and orientation."
COLUMNS = ("path", "label", "by_student", "score")

_CONSOLE = Console()


@dataclass(frozen=True)
class ClassifySettings(Checked):
    """Images and output.

    Args:
        bundle: folder of the bundle.
        images: files, folders with everything below them, and patterns such as "photos/**/*.jpg".
        out: CSV file to write; it must not exist yet.
        builtin: use the student of stock operators, for machines without Larq Compute Engine.
        threads: threads of each interpreter.
    """

    bundle: FilePath
    images: list[str]
    out: FilePath = "predictions.csv"
    builtin: bool = False
    threads: Count = 1


@reports_user_errors("the CSV file holds the images answered so far")
def main(argv: Sequence[str] | None = None) -> None:
    """Reads the settings, classifies the images, and writes the CSV file."""
    settings, _ = parsed(ClassifySettings, "export.classify", ABOUT, argv)
    classify(settings)


def classify(settings: ClassifySettings) -> None:
    """Writes a row for each image that can be read; names the others on the console.

    The columns are the path as given, the class by name, whether the student answered (true or false), and the
    student's inlier score.

    Raises:
        UserError: the bundle is damaged, an argument names no image, the CSV file exists already or cannot be
            written, or no image at all can be read.
    """
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
            image = decoded_square(Path(path).read_bytes(), cascade.bundle.image_size)
        except Exception as error:  # whatever a broken file makes a decoder raise
            unreadable += 1
            _CONSOLE.print(f"skipped {path}: it cannot be read as an image ({error})", markup=False, soft_wrap=True)
            continue
        _write_row(file, _row(path, cascade.classify(image)))
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
        f"{images} images, {spent / images:.2f} ms each: {counters.answered} answered by the student, "
        f"{counters.deferred} by the teacher; {unreadable} files could not be read",
        soft_wrap=True,
    )
    _CONSOLE.print(f"predictions: {out}", markup=False, soft_wrap=True)


if __name__ == "__main__":
    main()
