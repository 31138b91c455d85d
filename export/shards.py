"""A folder of answers in Parquet files, each of which holds some of the images and is written whole or not at all.

    answers.parquet/part-3f0c5a8b1d2e4f60.parquet   one row per image: origin, class, by_student, score, problem

The files are all that there is to know of how far the work has come: an image is done when a file has its row. So
nothing can disagree with them after a kill, and what is left is found by reading them. A file is named by the images
in it: a second worker that answers the same images, as Apache Beam may ask of it, replaces the file by its equal.
Names that begin with an underscore are none of the answers; readers of Parquet folders skip them.
"""

from __future__ import annotations

import hashlib
import shutil
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from envise_tf.errors import UserError
from envise_tf.export.answering import COLUMNS, Unreadable, answered
from envise_tf.export.bundle import MANIFEST, Bundle
from envise_tf.export.runtime import Cascade
from envise_tf.files import whole

SCHEMA = pa.schema(
    list(zip((*COLUMNS, "problem"), (pa.string(), pa.string(), pa.bool_(), pa.float32(), pa.string()), strict=True))
)
"""Of each file. An unreadable image has a problem and no answer, any other an answer and no problem."""

_ANSWERED_BY = b"answered_by"
_UNFINISHED = "_unfinished"


@dataclass(frozen=True)
class Shards:
    """The files of one folder.

    Responsible for what is in them. Not for who writes which.

    Args:
        folder: that they lie in; made with the first of them.
        answered_by: the networks that answer, see `answering_networks`. Files of others are refused.
    """

    folder: Path
    answered_by: str

    def written(self) -> frozenset[str]:
        """Returns the names of the files."""
        return frozenset(path.name for path in self.folder.glob("part-*.parquet"))

    def read(self) -> pa.Table:
        """Returns the rows of all files, by `SCHEMA`, in no order that means anything.

        Raises:
            UserError: the folder is a file or holds something else, a file is damaged, or other networks answered.
        """
        self._check_folder()
        return pa.concat_tables([SCHEMA.empty_table(), *map(self._read, sorted(self.written()))])

    def write(self, cascade: Cascade, paths: Sequence[str]) -> None:
        """Answers some images, and writes their file."""
        table = pa.Table.from_pylist([_row(cascade, path) for path in paths], SCHEMA)
        table = table.replace_schema_metadata({_ANSWERED_BY: self.answered_by.encode()})
        beside = self.folder / _UNFINISHED / uuid.uuid4().hex  # not shared with another worker at the same images
        beside.mkdir(parents=True)
        with whole(self.folder / shard_name(paths), beside) as unfinished:
            pq.write_table(table, unfinished)
        beside.rmdir()

    def clear(self) -> None:
        """Removes what killed workers have left unfinished."""
        shutil.rmtree(self.folder / _UNFINISHED, ignore_errors=True)

    def _check_folder(self) -> None:
        if not self.folder.exists():
            return
        names = {path.name for path in self.folder.iterdir()} if self.folder.is_dir() else {self.folder.name}
        foreign = sorted(name for name in names - self.written() if not name.startswith("_"))
        if foreign:
            raise UserError(
                f"{self.folder} is in use ({foreign[0]}): expected a new folder, or one of answers that this command "
                "has begun; choose another --out"
            )

    def _read(self, name: str) -> pa.Table:
        path = self.folder / name
        try:
            table = pq.read_table(path)
        except (pa.ArrowException, OSError) as error:
            raise UserError(f"{path} cannot be read ({error}): remove it, and its images are answered again") from None
        if (table.schema.metadata or {}).get(_ANSWERED_BY) != self.answered_by.encode():
            raise UserError(
                f"{path} was not answered by {self.answered_by}: expected answers of one bundle; choose another --out"
            )
        return table


def answering_networks(bundle: Bundle, builtin: bool) -> str:
    """Returns which student answers, and the SHA-256 of the manifest that vouches for it and its teacher."""
    manifest = (bundle.folder / MANIFEST).read_bytes()
    return f"{'student_builtin' if builtin else 'student'} of bundle {hashlib.sha256(manifest).hexdigest()}"


def in_shards(paths: Iterable[str], done: Iterable[str], size: int) -> dict[str, list[str]]:
    """Returns the images that are left, by the name of the file that they will be in.

    It depends on nothing but the arguments, so the same images come into the same files however many workers there
    are, and also after a restart, which finds whole files missing.

    Args:
        paths: of all images, in their order.
        done: origins that have been answered.
        size: images in each file but the last.
    """
    answered_before = set(done)
    left = [path for path in paths if origin(path) not in answered_before]
    return {shard_name(shard): shard for shard in (left[first : first + size] for first in range(0, len(left), size))}


def shard_name(paths: Sequence[str]) -> str:
    """Returns the name of the file for some images."""
    named = "\0".join(map(origin, paths)).encode()
    return f"part-{hashlib.sha256(named).hexdigest()[:16]}.parquet"


def origin(path: str) -> str:
    r"""Returns a path as a table has it: Parquet's text is UTF-8, so foreign bytes of a name become \xff."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _row(cascade: Cascade, path: str) -> dict[str, object]:
    try:
        answer = answered(cascade, path)
    except Unreadable as problem:
        return {"origin": origin(path), "problem": str(problem)}
    said = (origin(path), answer.label, answer.by_student, answer.score)
    return dict(zip(COLUMNS, said, strict=True))
