"""Any image classification set of TensorFlow Datasets, by its name (`cifar100`, `oxford_iiit_pet`, ...)."""

from __future__ import annotations

from collections.abc import Collection
from functools import cached_property

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from envise_tf.errors import UserError, nearest_names
from envise_tf.images.hosts import require_a_host
from envise_tf.images.source import Source, SplitName, fingerprint, keeps_label
from envise_tf.images.tiny_imagenet import TinyImagenet, tiny_imagenet


class TensorFlowDataset(Source):
    """A prepared TFDS set with the features "image" and "label" and the splits "train" and "test" (or "validation").

    Its feature "bbox", where it has one in TFDS's own format, is the box of an example.

    Args:
        name: the name of the set in TFDS, or a builder of our own (`tiny_imagenet`).
        data_dir: where it is prepared, or where to download it; None means TFDS_DATA_DIR or TFDS's own default.

    Raises:
        UserError: no such set, no image and label in it, or it is neither prepared nor can be downloaded.
    """

    def __init__(self, name: str, data_dir: str | None = None) -> None:
        self.name = name
        self._builder = _prepared_builder(name, data_dir)
        features = self._builder.info.features
        self.class_names = tuple(features["label"].names)
        height, width, _ = features["image"].shape
        self.size = height if height == width else None
        self.has_boxes = "bbox" in features and _is_box(features["bbox"])

    def examples(self, split: SplitName, labels: Collection[int] | None = None) -> tf.data.Dataset:
        # Images stay encoded until the label filter has passed: decoding is the expensive part of a pass.
        encoded = self._encoded(split, labels)
        return encoded.map(self._decoded, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)

    @cached_property
    def wordnet_ids(self) -> tuple[str, ...]:
        if "wnid" not in self._builder.info.features:
            return super().wordnet_ids
        # No set keeps them with the names of its classes, so they are read off the smaller split.
        found = {int(each["label"]): each["wnid"].decode() for each in self._encoded("test", None).as_numpy_iterator()}
        return tuple(found[label] for label in range(len(self.class_names)))

    def count(self, split: SplitName, labels: Collection[int] | None = None) -> int:
        if labels is None:
            return self._builder.info.splits[self._split_name(split)].num_examples
        return int(self._encoded(split, labels).reduce(np.int64(0), lambda count, _: count + 1))

    def _encoded(self, split: SplitName, labels: Collection[int] | None) -> tf.data.Dataset:
        encoded = self._builder.as_dataset(
            split=self._split_name(split),
            decoders={"image": tfds.decode.SkipDecoding()},
            read_config=tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False),
        )
        return encoded if labels is None else encoded.filter(keeps_label(labels))

    def _split_name(self, split: SplitName) -> str:
        known = set(self._builder.info.splits)
        # Some sets keep the labels of "test" to themselves; their "validation" is what people test on.
        for name in ("train",) if split == "train" else ("test", "validation"):
            if name in known:
                return name
        raise UserError(f"data set {self.name} has the splits {sorted(known)}: expected one for '{split}'")

    def _decoded(self, example: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        image = self._builder.info.features["image"].decode_example(example["image"])
        if image.shape[-1] == 1:
            image = tf.image.grayscale_to_rgb(image)
        boxes = {"box": example["bbox"]} if self.has_boxes else {}
        label = tf.cast(example["label"], tf.int64)
        return {"image": image, "label": label, "fingerprint": fingerprint(image), **boxes}


def _is_box(feature: tfds.features.FeatureConnector) -> bool:
    """Says whether a feature is one box, ymin, xmin, ymax, xmax in 0..1."""
    usual = tfds.features.BBoxFeature()
    return isinstance(feature, tfds.features.BBoxFeature) and feature.bbox_format == usual.bbox_format


def _prepared_builder(name: str, data_dir: str | None) -> tfds.core.DatasetBuilder:
    builder = _builder(name, data_dir)
    _require_image_and_label(builder)
    try:
        if not builder.data_path.exists():
            require_a_host(builder.url_infos or ())
        builder.download_and_prepare()
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"data set {name} is not prepared in {builder.data_dir} and could not be downloaded "
            f"({type(error).__name__}): give the folder that holds it as --data_dir or TFDS_DATA_DIR"
        ) from error
    return builder


def _builder(name: str, data_dir: str | None) -> tfds.core.DatasetBuilder:
    if name == TinyImagenet.name:
        return tiny_imagenet(data_dir)
    try:
        return tfds.builder(name, data_dir=data_dir)
    # The others: no Python name ("cifar-100"), no such version, a community that is not installed.
    except (tfds.core.registered.DatasetNotFoundError, ValueError, AssertionError, ImportError):
        raise UserError(
            f"no data set is called {name}: expected digits, tiny_imagenet, a name of TensorFlow Datasets or the path "
            "of a folder; " + nearest_names(name, ["digits", "tiny_imagenet", *tfds.list_builders()])
        ) from None


def _require_image_and_label(builder: tfds.core.DatasetBuilder) -> None:
    features = builder.info.features
    if not {"image", "label"} <= set(features) or not isinstance(features["label"], tfds.features.ClassLabel):
        raise UserError(
            f"data set {builder.name} has the features {sorted(features)}: expected 'image' and a class as 'label'"
        )
