import io
import os
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from envise_tf.errors import UserError
from envise_tf.images.loading import load_source
from envise_tf.images.source import fingerprint
from envise_tf.images.tfds import TensorFlowDataset
from envise_tf.images.tiny_imagenet import ARCHIVE, class_names, tiny_imagenet

WNIDS = ("n03126707", "n01443537", "n02012849")
WORDS = "n01443537\tgoldfish, Carassius auratus\nn02012849\tcrane\nn03126707\tcrane, hoist\nn09999999\tunused\n"
NAMES = ("crane (n03126707)", "goldfish", "crane (n02012849)")


def jpeg(label: int, number: int) -> bytes:
    """A plain image whose red tells the label and whose green tells the number; number 0 is greyscale."""
    stored = io.BytesIO()
    colour = (60 * label + 20, 50 * number, 128)
    Image.new("RGB", (64, 64), colour).convert("L" if number == 0 else "RGB").save(stored, "JPEG", quality=95)
    return stored.getvalue()


def write_archive(folder: Path, leave_out: str = "", words: str = WORDS) -> Path:
    files: dict[str, str | bytes] = {"wnids.txt": "\n".join(WNIDS) + "\n", "words.txt": words}
    validation = []
    for label, wnid in enumerate(WNIDS):
        names = [f"{wnid}_{number}.JPEG" for number in range(4)]
        files[f"train/{wnid}/{wnid}_boxes.txt"] = "".join(f"{name}\t0\t16\t31\t63\n" for name in names)
        files |= {f"train/{wnid}/images/{name}": jpeg(label, number) for number, name in enumerate(names)}
        files[f"val/images/val_{label}.JPEG"] = jpeg(label, 4)
        validation.append(f"val_{label}.JPEG\t{wnid}\t5\t5\t5\t5\n")
    files["val/val_annotations.txt"] = "".join(validation)
    path = folder / ARCHIVE
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            if name != leave_out:
                archive.writestr(f"tiny-imagenet-200/{name}", content)
    return path


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tiny_imagenet")
    write_archive(folder)
    return folder


@pytest.fixture(scope="module")
def source(data_dir) -> TensorFlowDataset:
    return TensorFlowDataset("tiny_imagenet", str(data_dir))


def test_class_names_are_readable_unique_and_in_the_order_of_the_archive(source):
    assert source.class_names == NAMES
    assert source.size == 64


def test_the_wordnet_ids_of_the_classes_are_in_their_order_also_when_images_are_resized(source, data_dir):
    assert source.wordnet_ids == WNIDS
    assert load_source("tiny_imagenet", str(data_dir), 32).wordnet_ids == WNIDS


def test_every_image_of_both_splits_comes_decoded_with_its_label(source):
    train = list(source.examples("train").as_numpy_iterator())
    assert sorted(example["label"] for example in train) == [0] * 4 + [1] * 4 + [2] * 4
    for example in train:
        assert example["image"].shape == (64, 64, 3)
        assert example["image"].dtype == np.uint8
        red, green, _ = example["image"][32, 32].astype(int)
        if red != green:  # not the greyscale one
            assert abs(red - (60 * example["label"] + 20)) <= 3
    assert sorted(example["label"] for example in source.examples("test").as_numpy_iterator()) == [0, 1, 2]


def test_a_greyscale_file_has_three_equal_channels(source):
    images = [example["image"] for example in source.examples("train").as_numpy_iterator()]
    grey = [image for image in images if np.ptp(image, axis=-1).max() == 0]
    assert len(grey) == 3


def test_labels_are_filtered_and_the_fingerprint_is_that_of_the_image(source):
    only = list(source.examples("train", labels=[2]).as_numpy_iterator())
    assert [example["label"] for example in only] == [2] * 4
    assert only[0]["fingerprint"] == fingerprint(tf.constant(only[0]["image"])).numpy()


def test_records_keep_id_box_and_file_name(source, data_dir):
    builder = tiny_imagenet(str(data_dir))
    records = {r["file_name"].decode(): r for r in builder.as_dataset(split="train").as_numpy_iterator()}
    assert len(records) == 12
    record = records["n01443537_2.JPEG"]
    assert record["wnid"] == b"n01443537"
    assert record["label"] == 1
    assert record["bbox"].tolist() == [0.25, 0.0, 1.0, 0.5]  # rows 16..63 and columns 0..31 of 64
    point = next(iter(builder.as_dataset(split="validation").as_numpy_iterator()))["bbox"]
    assert point.tolist() == [5 / 64, 5 / 64, 6 / 64, 6 / 64]


def test_the_box_of_each_example_comes_with_it_also_when_images_are_resized(source, data_dir):
    assert source.has_boxes
    resized = load_source("tiny_imagenet", str(data_dir), size=32)
    assert resized.has_boxes
    for examples in (source.examples("train"), resized.examples("train", labels=[1])):
        assert examples.element_spec["box"] == tf.TensorSpec((4,), tf.float32)
        for example in examples.as_numpy_iterator():
            assert example["box"].tolist() == [0.25, 0.0, 1.0, 0.5]  # rows 16..63 and columns 0..31 of 64


def test_a_prepared_set_needs_no_archive_and_keeps_its_class_names(source, data_dir):
    (data_dir / ARCHIVE).rename(data_dir / "moved.zip")
    try:
        assert TensorFlowDataset("tiny_imagenet", str(data_dir)).class_names == NAMES
    finally:
        (data_dir / "moved.zip").rename(data_dir / ARCHIVE)


def test_a_read_only_folder_is_prepared_in_the_cache(tmp_path, monkeypatch):
    archive = write_archive(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # the tests may run as root, whom no mode stops
    builder = tiny_imagenet(str(tmp_path))
    cache = tmp_path / "home/.cache/envise_tf/tfds" / str(archive.stat().st_size)
    assert Path(builder.data_dir) == cache / "tiny_imagenet/1.0.0"


def test_a_truncated_archive_is_a_user_error(tmp_path):
    path = write_archive(tmp_path)
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(UserError, match=r"tiny-imagenet-200\.zip is not a whole zip file"):
        TensorFlowDataset("tiny_imagenet", str(tmp_path))


def test_a_damaged_image_is_a_user_error_that_names_it(tmp_path):
    path = write_archive(tmp_path)
    content = path.read_bytes()
    path.write_bytes(content.replace(jpeg(1, 2), jpeg(1, 2)[:-9] + b"\0" * 9))
    with pytest.raises(UserError, match=r"damaged at train/n01443537/images/n01443537_2\.JPEG"):
        TensorFlowDataset("tiny_imagenet", str(tmp_path))


@pytest.mark.parametrize(
    ("leave_out", "words", "told"),
    [
        ("wnids.txt", WORDS, r"expected tiny-imagenet-200/wnids\.txt"),
        ("val/val_annotations.txt", WORDS, r"val/val_annotations\.txt"),
        ("", "n01443537\tgoldfish\n", "none for n03126707, n02012849"),
    ],
    ids=["no ids", "no annotations", "no words"],
)
def test_another_archive_is_a_user_error(tmp_path, leave_out, words, told):
    write_archive(tmp_path, leave_out, words)
    with pytest.raises(UserError, match=told) as caught:
        TensorFlowDataset("tiny_imagenet", str(tmp_path))
    assert "\n" not in str(caught.value)


def test_without_network_the_user_is_told_where_to_put_the_archive(tmp_path, monkeypatch):
    def fails(self, url):
        raise ConnectionError("no network")

    monkeypatch.setattr("tensorflow_datasets.download.DownloadManager.download", fails)
    with pytest.raises(UserError, match=rf"\(ConnectionError\): put {re.escape(ARCHIVE)} in {tmp_path}"):
        TensorFlowDataset("tiny_imagenet", str(tmp_path))


def real_archive() -> Path | None:
    given = os.environ.get("ENVISE_TINY_IMAGENET_ZIP")
    if given is None and "TFDS_DATA_DIR" in os.environ:
        given = str(Path(os.environ["TFDS_DATA_DIR"]).parent / "datasets" / ARCHIVE)
    return Path(given) if given and Path(given).is_file() else None


@pytest.mark.skipif(real_archive() is None, reason="no tiny-imagenet-200.zip: set ENVISE_TINY_IMAGENET_ZIP")
def test_the_official_archive_is_understood():
    archive = real_archive()
    assert archive is not None
    with zipfile.ZipFile(archive) as opened:
        names = class_names(opened)
    assert names["n02123045"] == "tabby"
    assert names["n02509815"] == "lesser panda"
    assert not [name for name in names.values() if "(" in name]
    records = tiny_imagenet_examples(archive, names, "validation")
    first = next(records)[1]
    assert first["wnid"] in names
    assert Image.open(io.BytesIO(first["image"])).size == (64, 64)


def tiny_imagenet_examples(archive, names, split):
    return tiny_imagenet(str(archive.parent))._generate_examples(archive, names, split)
