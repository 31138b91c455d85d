"""Tiny-ImageNet as a TFDS builder: 64x64 images of 200 classes, read from the publisher's zip without unpacking it.

    Le, Y., Yang, X. (2015). Tiny ImageNet Visual Recognition Challenge. Stanford CS 231N.

A local copy is used rather than a download: put `tiny-imagenet-200.zip` in the data folder (`--data_dir` or
TFDS_DATA_DIR). The prepared set goes below that folder or, if that is read-only, below `~/.cache/envise_tf/tfds`.
"""

from __future__ import annotations

import collections
import os
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import tensorflow_datasets as tfds

from envise_tf.errors import UserError
from envise_tf.images.hosts import require_a_host

ARCHIVE = "tiny-imagenet-200.zip"
URL = f"http://cs231n.stanford.edu/{ARCHIVE}"

_ROOT = "tiny-imagenet-200"
_SIDE = 64
_CITATION = """@misc{le2015tiny,
  title = {Tiny {ImageNet} Visual Recognition Challenge},
  author = {Le, Ya and Yang, Xuan},
  howpublished = {Stanford CS 231N},
  year = {2015}
}"""


def tiny_imagenet(data_dir: str | None = None) -> TinyImagenet:
    """Returns the builder for a data folder; nothing is read or written before `download_and_prepare`.

    Args:
        data_dir: the folder that holds the prepared set or `tiny-imagenet-200.zip`, or where to download it;
            None means TFDS_DATA_DIR or TFDS's own default.
    """
    root = Path(data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()
    archive = root / ARCHIVE if (root / ARCHIVE).is_file() else None
    return TinyImagenet(archive=archive, data_dir=str(_prepared_root(root, archive)))


class TinyImagenet(tfds.core.GeneratorBasedBuilder):
    """Responsible for the records of the official "train" and "validation" splits; the official test has no labels.

    The classes are those that the zip names, in the order of its `wnids.txt`. They are known once the set is
    prepared, and kept in its metadata.

    Args:
        archive: the zip to read; None downloads it.
        **kwargs: the arguments of `tfds.core.DatasetBuilder`, such as `data_dir`.
    """

    name = "tiny_imagenet"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "The official train and validation splits."}

    def __init__(self, *, archive: Path | None = None, **kwargs: Any) -> None:
        self._archive = archive
        super().__init__(**kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "image": tfds.features.Image(shape=(_SIDE, _SIDE, 3), encoding_format="jpeg"),
            "label": tfds.features.ClassLabel(),  # named by _split_generators, or from the prepared metadata
            "wnid": tfds.features.Text(),
            "bbox": tfds.features.BBoxFeature(),
            "file_name": tfds.features.Text(),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description="64x64 images of 200 classes of ImageNet, with the bounding box of the object.",
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("image", "label"),
            homepage="http://cs231n.stanford.edu",
            citation=_CITATION,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        path = self._archive or self._downloaded(dl_manager)
        with _opened(path) as archive:
            names = class_names(archive)
        self.info.features["label"].names = list(names.values())
        return {
            "train": self._generate_examples(path, names, "train"),
            "validation": self._generate_examples(path, names, "validation"),
        }

    def _downloaded(self, dl_manager: tfds.download.DownloadManager) -> Path:
        try:
            require_a_host([URL])
            return Path(dl_manager.download(URL))
        except Exception as error:
            raise UserError(
                f"{URL} could not be downloaded ({type(error).__name__}): put {ARCHIVE} in {self._data_dir_root}, "
                "or give the folder that holds it as --data_dir or TFDS_DATA_DIR"
            ) from error

    def _generate_examples(
        self, path: Path, names: dict[str, str], split: str
    ) -> Iterator[tuple[str, dict[str, object]]]:
        with _opened(path) as archive:
            for folder, file_name, wnid, box in _annotations(archive, names, split):
                yield (
                    file_name,
                    {
                        "image": _member(archive, f"{folder}/images/{file_name}"),
                        "label": names[wnid],
                        "wnid": wnid,
                        "bbox": box,
                        "file_name": file_name,
                    },
                )


def class_names(archive: zipfile.ZipFile) -> dict[str, str]:
    """Returns the readable name of each WordNet id, in label order.

    It is the first synonym in `words.txt`; ids that share one have the id appended, as in "crane (n02012849)".

    Raises:
        UserError: the archive lacks a list, or `words.txt` lacks an id.
    """
    wnids = _lines(archive, "wnids.txt")
    words = dict(line.split("\t", 1) for line in _lines(archive, "words.txt") if "\t" in line)
    unknown = [wnid for wnid in wnids if wnid not in words]
    if unknown or not wnids:
        raise _wrong_layout(archive, f"a word for each id of wnids.txt (none for {', '.join(unknown[:3]) or 'any'})")
    first = {wnid: words[wnid].split(",")[0].strip() for wnid in wnids}
    count = collections.Counter(first.values())
    return {wnid: name if count[name] == 1 else f"{name} ({wnid})" for wnid, name in first.items()}


def _annotations(
    archive: zipfile.ZipFile, names: dict[str, str], split: str
) -> Iterator[tuple[str, str, str, tfds.features.BBox]]:
    """Yields (folder, file name, WordNet id, box) of each image of a split, without reading the images."""
    if split == "validation":
        for line in _lines(archive, "val/val_annotations.txt"):
            file_name, wnid, *box = line.split("\t")
            if wnid not in names:
                raise _wrong_layout(archive, f"only ids of wnids.txt in val/val_annotations.txt (found {wnid})")
            yield "val", file_name, wnid, _bbox(archive, box)
        return
    for wnid in names:
        for line in _lines(archive, f"train/{wnid}/{wnid}_boxes.txt"):
            file_name, *box = line.split("\t")
            yield f"train/{wnid}", file_name, wnid, _bbox(archive, box)


def _bbox(archive: zipfile.ZipFile, corners: list[str]) -> tfds.features.BBox:
    try:
        left, top, right, bottom = (int(corner) for corner in corners)
    except ValueError:
        raise _wrong_layout(archive, f"four corners for each box (found {corners})") from None
    # The publisher's corners are pixels that belong to the box; TFDS wants its outer edges as parts of the side.
    ymin, ymax = sorted((top, bottom))
    xmin, xmax = sorted((left, right))
    return tfds.features.BBox(ymin / _SIDE, xmin / _SIDE, (ymax + 1) / _SIDE, (xmax + 1) / _SIDE)


def _lines(archive: zipfile.ZipFile, name: str) -> list[str]:
    text = _member(archive, name).decode("utf-8", errors="replace")
    return [line.strip() for line in text.splitlines() if line.strip()]


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    try:
        return archive.read(f"{_ROOT}/{name}")
    except KeyError:
        raise _wrong_layout(archive, f"{_ROOT}/{name}") from None
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise UserError(f"{archive.filename} is damaged at {name} ({error}): download {URL} again") from error


def _opened(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise UserError(f"{path} is not a whole zip file ({error}): download {URL} again") from error


def _wrong_layout(archive: zipfile.ZipFile, expected: str) -> UserError:
    return UserError(f"{archive.filename} is not Tiny-ImageNet: expected {expected}; download {URL} again")


def _prepared_root(root: Path, archive: Path | None) -> Path:
    prepared = root / TinyImagenet.name / str(TinyImagenet.VERSION) / "dataset_info.json"
    if archive is None or prepared.is_file() or os.access(root, os.W_OK):
        return root
    # Named by the archive's size, so that a cut copy and the whole set never pass for each other.
    return Path.home() / ".cache" / "envise_tf" / "tfds" / str(archive.stat().st_size)
