"""A stream in its order: every image once, numbered, from any number on.

A training may take images in any order; a stream that is answered keeps its own. Each image has a position, counted
from 0, by which every record names it. A file that cannot be read leaves a gap in the numbers, so that an interrupted
run resumes at its next position with exactly the images that it would have seen.
"""

from __future__ import annotations

import abc
import os
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from envise_tf.errors import UserError, reason_of
from envise_tf.images.photographs import central_square, decoded_square, images_below, log_skipped, read_photograph
from envise_tf.images.source import UNLABELLED

NO_PHASE = -1
"""The phase of an image whose phase is unknown."""

_WORKERS = 4
_AHEAD = 64
"""Photographs decoded or waiting before they are asked for."""
_MOST_LOST = 100
"""Frames of a video in a row that cannot be decoded and are still not its end (our choice, 4 s of 25 frames each)."""


class Frame(NamedTuple):
    """One image of a stream.

    Attributes:
        number: its position, >= 0.
        image: uint8 RGB, (size, size, 3), 0..255.
        truth: its label in the source's numbering; `UNLABELLED` where it is unknown.
        phase: number of its phase, counted from 0; `NO_PHASE` where it is unknown.
    """

    number: int
    image: np.ndarray
    truth: int = UNLABELLED
    phase: int = NO_PHASE


@dataclass(frozen=True, eq=False)
class Batch:
    """Images of a stream that follow each other; the fields are those of `Frame`, of all n images.

    Attributes:
        numbers: int64, (n,), ascending.
        images: uint8 RGB, (n, size, size, 3), 0..255.
        truth: int64, (n,).
        phase: int64, (n,).
    """

    numbers: np.ndarray
    images: np.ndarray
    truth: np.ndarray
    phase: np.ndarray


class Frames(abc.ABC):
    """The images of one stream.

    Responsible for their order and their numbers. Not for what is answered, nor for remembering how far a run got.
    """

    name: str
    size: int
    """Height and width in pixels of all images."""
    length: int | None
    """How many positions there are, those of unreadable images included; None where it is not known."""
    class_names: tuple[str, ...] = ()
    """The class of each label; empty where the truth is unknown."""
    wordnet_ids: tuple[str, ...] = ()
    """The WordNet id of each class; empty where nobody has said."""
    phase_names: tuple[str, ...] = ()
    """The name of each phase; empty where the phases are unknown."""
    phase_starts: tuple[int, ...] = ()
    """The position of each phase's first image."""
    unreadable: Collection[str] = ()
    """What could not be read so far and was skipped: each is logged once."""

    @abc.abstractmethod
    def frames(self, first: int) -> Iterator[Frame]:
        """Returns all readable images at positions >= `first`, in order; the same ones whatever `first` is."""

    def origin(self, number: int) -> str:
        """Returns where the image at a position comes from, for people: a path, or a frame and its time; or ""."""
        return ""

    def batches(self, first: int, batch_size: int) -> Iterator[Batch]:
        """Returns `frames` in batches of `batch_size` >= 1 images; the last may be smaller."""
        frames = self.frames(first)
        while chosen := list(islice(frames, batch_size)):
            numbers, images, truth, phase = zip(*chosen, strict=True)
            yield Batch(_int64(numbers), np.stack(images), _int64(truth), _int64(phase))


class PhotographFrames(Frames):
    """A folder of JPEG, PNG and WebP files with all its sub-folders, the oldest first: by time of change, then path.

    Each image becomes a square as `decoded_square` says. The files are listed once, when this is made.

    Args:
        folder: the folder.
        size: height and width in pixels of the images that come out, >= 1.
        paths: the files and their order, in place of a new list: the `paths` of an earlier run, which a resumed run
            needs where files have been added since. One that is gone counts as unreadable.

    Attributes:
        paths: the files in the order of the stream; the index is the position.

    Raises:
        UserError: no such folder, or no image in it.
    """

    def __init__(self, folder: str, size: int, paths: Sequence[str] | None = None) -> None:
        self.size = _checked_size(size)
        self.unreadable: set[str] = set()
        # Absolute, because a run that lists these paths may be resumed from another folder.
        path = Path(folder).expanduser().absolute()
        self.name = path.resolve().name
        if not path.is_dir():
            raise UserError(f"there is no folder {path}: expected one of JPEG, PNG or WebP files; check the path")
        self.paths = tuple(_oldest_first(path) if paths is None else paths)
        if not self.paths:
            raise UserError(f"folder {path} holds no JPEG, PNG or WebP file: expected at least one image; add some")
        self.length = len(self.paths)

    def frames(self, first: int) -> Iterator[Frame]:
        pool = ThreadPoolExecutor(_WORKERS)
        try:
            begun = ((number, pool.submit(self._image, self.paths[number])) for number in range(first, len(self.paths)))
            ahead = deque(islice(begun, _AHEAD))
            while ahead:
                number, image = ahead.popleft()
                ahead.extend(islice(begun, 1))
                error = image.exception()  # whatever a broken file makes a decoder raise
                if error is None:
                    yield Frame(number, image.result())
                else:
                    self.unreadable.add(self.paths[number])
                    log_skipped(self.paths[number], reason_of(error))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def origin(self, number: int) -> str:
        return self.paths[number]

    def _image(self, path: str) -> np.ndarray:
        return decoded_square(read_photograph(path), self.size)


class VideoFrames(Frames):
    """Every `every`-th frame of a video file that OpenCV reads, cut and resized as `decoded_square` does.

    Position p is frame p * `every` of the file, its damaged frames counted. A video that was cut short ends where its
    frames do; `length` is what the file says of itself and may be more than comes.

    Args:
        path: the file.
        size: height and width in pixels of the images that come out, >= 1.
        every: 1 takes each frame, 25 one per second of a common video.

    Raises:
        UserError: no such file, it is no video, or no frame of it can be decoded.
    """

    def __init__(self, path: str, size: int, every: int = 1) -> None:
        if every < 1:
            raise UserError(f"every {every} given: expected at least 1, which takes each frame of the video")
        self.size = _checked_size(size)
        self.unreadable: set[str] = set()
        self._path = Path(path).expanduser()
        self._every = every
        self.name = self._path.name
        self.length, self._frames_a_second = self._claims()

    def frames(self, first: int) -> Iterator[Frame]:
        capture = self._capture()
        try:
            for index, is_decodable in _grabbed(capture):
                number, rest = divmod(index, self._every)
                if rest or number < first:
                    continue
                # Only now is the frame converted to colours.
                pixels = capture.retrieve()[1] if is_decodable else None
                if pixels is None:
                    name = f"{self._path}, frame {index}"
                    self.unreadable.add(name)
                    log_skipped(name, "it cannot be decoded")
                else:
                    yield Frame(number, _square(pixels, self.size))
        finally:
            capture.release()

    def origin(self, number: int) -> str:
        index = number * self._every
        return f"frame {index}, {index / self._frames_a_second:.2f} s" if self._frames_a_second else f"frame {index}"

    def _claims(self) -> tuple[int | None, float]:
        """Returns the length, and the frames a second, 0 where the file does not say."""
        capture = self._capture()
        try:
            if next(_grabbed(capture), None) is None:
                raise UserError(f"{self._path} has no frame that can be decoded: expected a video; choose another file")
            count = int(capture.get(opencv().CAP_PROP_FRAME_COUNT))
            rate = max(0.0, capture.get(opencv().CAP_PROP_FPS))
            return -(-count // self._every) if count > 0 else None, rate
        finally:
            capture.release()

    def _capture(self) -> Any:
        if not self._path.is_file():
            raise UserError(f"there is no file {self._path}: expected a video, such as MP4, AVI or MKV; check the path")
        cv2 = opencv()
        capture = cv2.VideoCapture(str(self._path), cv2.CAP_FFMPEG)
        # FFmpeg takes a text for a film of its letters.
        is_text = capture.get(cv2.CAP_PROP_FOURCC) == cv2.VideoWriter_fourcc(*"ansi")
        if is_text or not capture.isOpened():
            raise UserError(
                f"{self._path} is no video: expected a whole MP4, AVI, MKV or other file of FFmpeg's formats"
            )
        return capture


def _int64(values: Sequence[int]) -> np.ndarray:
    return np.array(values, np.int64)


def _checked_size(size: int) -> int:
    if size < 1:
        raise UserError(f"image size {size} given: expected at least 1 pixel")
    return size


def _oldest_first(folder: Path) -> list[str]:
    return sorted(images_below(folder), key=lambda path: (_changed_at(path), path))


def _changed_at(path: str) -> int:
    """Returns when a file was last changed, in nanoseconds; 0 for a link to nowhere, which is skipped when read."""
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0


def opencv() -> ModuleType:
    """Returns cv2, imported on demand, since that is slow, and told not to print what is reported here.

    FFmpeg hears of it at its first use in a process; who uses cv2 for videos before this hears what it has to say.
    """
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    import cv2

    cv2.setLogLevel(2)  # errors alone
    return cv2


def _grabbed(capture: Any) -> Iterator[tuple[int, bool]]:
    """Returns the index of each frame and whether it can be decoded; `capture` then stands at it.

    OpenCV says the same of a damaged frame and of the end, so failures count only if a good frame follows.
    """
    index = lost = 0
    while lost < _MOST_LOST:
        if capture.grab():
            yield from ((damaged, False) for damaged in range(index - lost, index))
            yield index, True
            lost = 0
        else:
            lost += 1
        index += 1


def _square(pixels: np.ndarray, size: int) -> np.ndarray:
    """Returns the central square of a frame, resized: uint8 RGB, (size, size, 3); `pixels` are BGR."""
    return central_square(Image.fromarray(np.ascontiguousarray(pixels[..., ::-1])), size)
