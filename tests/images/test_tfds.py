from pathlib import Path

import numpy as np
import pytest
import requests
import tensorflow as tf
import tensorflow_datasets as tfds

from envise_tf.errors import UserError
from envise_tf.images.hosts import require_a_host
from envise_tf.images.source import fingerprint
from envise_tf.images.tfds import TensorFlowDataset, _is_box

UNPREPARED = "beans"


@pytest.fixture(scope="module")
def cifar100(tfds_dir) -> TensorFlowDataset:
    return TensorFlowDataset("cifar100", tfds_dir)


def test_class_names_and_size_are_those_of_cifar100(cifar100, tfds_dir):
    listed = (Path(tfds_dir) / "cifar100/3.0.2/label.labels.txt").read_text().split()
    assert cifar100.class_names == tuple(listed)
    assert len(cifar100.class_names) == 100
    assert cifar100.size == 32


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_first_images_are_those_of_tfds_itself(cifar100, tfds_dir, split):
    config = tfds.ReadConfig(interleave_cycle_length=1)
    plain = tfds.load("cifar100", split=split, data_dir=tfds_dir, read_config=config, shuffle_files=False).take(20)
    ours = list(cifar100.examples(split).take(20).as_numpy_iterator())
    for example, expected in zip(ours, plain.as_numpy_iterator(), strict=True):
        np.testing.assert_array_equal(example["image"], expected["image"])
        assert example["image"].dtype == np.uint8
        assert example["label"] == expected["label"]
        assert example["fingerprint"] == fingerprint(tf.constant(expected["image"])).numpy()


def test_a_set_without_boxes_yields_none(cifar100):
    assert not cifar100.has_boxes
    assert set(cifar100.examples("test").element_spec) == {"image", "label", "fingerprint"}


@pytest.mark.parametrize(("box_format", "has_boxes"), [("REL_YXYX", True), ("REL_XYXY", False), ("YXYX", False)])
def test_only_boxes_of_the_usual_format_are_taken(box_format, has_boxes):
    assert _is_box(tfds.features.BBoxFeature(bbox_format=box_format)) == has_boxes
    assert not _is_box(tfds.features.Sequence(tfds.features.BBoxFeature()))


def test_labels_are_filtered_before_anything_is_decoded(cifar100, monkeypatch):
    decoded = []

    def counted(self, example):
        tf.py_function(lambda label: decoded.append(int(label)), [example["label"]], [])
        return {"label": example["label"]}

    monkeypatch.setattr(TensorFlowDataset, "_decoded", counted)
    found = [example["label"] for example in cifar100.examples("test", {11, 98}).as_numpy_iterator()]
    assert sorted(found) == [11] * 100 + [98] * 100  # all that the test split has of each class
    assert sorted(decoded) == sorted(found)


@pytest.mark.parametrize(("split", "each"), [("train", 500), ("test", 100)])
def test_every_image_is_there(cifar100, monkeypatch, split, each):
    monkeypatch.setattr(TensorFlowDataset, "_decoded", lambda self, example: example["label"])
    labels = np.concatenate(list(cifar100.examples(split).batch(1000).as_numpy_iterator()))
    np.testing.assert_array_equal(np.bincount(labels), [each] * 100)


@pytest.mark.parametrize(("name", "nearest"), [("ciifar100", "cifar100"), ("cifar-100", "cifar100"), ("mnis", "mnist")])
def test_an_unknown_name_is_a_user_error_with_the_nearest(name, nearest):
    with pytest.raises(UserError, match=rf"no data set is called {name}: .*; nearest: ([\w, ]*, )?{nearest}") as caught:
        TensorFlowDataset(name)
    assert "\n" not in str(caught.value)


def test_a_set_without_images_is_refused_before_it_is_downloaded(tmp_path, monkeypatch):
    monkeypatch.setattr(requests, "head", lambda *_, **__: pytest.fail("asked a host"))
    with pytest.raises(UserError, match=r"imdb_reviews has the features \['label', 'text'\]: expected 'image'"):
        TensorFlowDataset("imdb_reviews", str(tmp_path))


def test_a_set_whose_labels_are_no_classes_is_refused(tmp_path):
    with pytest.raises(UserError, match="expected 'image' and a class as 'label'"):
        TensorFlowDataset("dsprites", str(tmp_path))


@pytest.mark.parametrize("failure", [requests.ConnectionError, requests.Timeout])
def test_without_network_the_user_is_told_after_one_try_of_each_host(tmp_path, monkeypatch, failure):
    asked = []

    def fails(url, timeout):
        asked.append(url)
        raise failure("no network")

    monkeypatch.setattr(requests, "head", fails)
    with pytest.raises(
        UserError, match=rf"{UNPREPARED} is not prepared in {tmp_path}.*\({failure.__name__}\)"
    ) as caught:
        TensorFlowDataset(UNPREPARED, str(tmp_path))
    assert "--data_dir or TFDS_DATA_DIR" in str(caught.value)
    assert len(asked) == 1  # its three archives lie on one host


def test_a_host_that_answers_is_downloaded_from(tmp_path, monkeypatch):
    def download(self, **_):
        raise EOFError("reached")

    monkeypatch.setattr(requests, "head", lambda url, timeout: requests.Response())
    monkeypatch.setattr("tensorflow_datasets.core.DatasetBuilder.download_and_prepare", download)
    with pytest.raises(UserError, match="could not be downloaded \\(EOFError\\)"):
        TensorFlowDataset(UNPREPARED, str(tmp_path))


def test_a_prepared_set_asks_no_host(tfds_dir, monkeypatch):
    monkeypatch.setattr(requests, "head", lambda *_, **__: pytest.fail("asked a host"))
    assert TensorFlowDataset("cifar100", tfds_dir).name == "cifar100"


def test_one_host_of_several_is_enough(monkeypatch):
    def head(url, timeout):
        if "down" in url:
            raise requests.ConnectionError(url)

    monkeypatch.setattr(requests, "head", head)
    require_a_host(["https://down.org/a", "https://up.org/b", "/local/file"])
    with pytest.raises(requests.ConnectionError, match="down"):
        require_a_host(["https://down.org/a", "/local/file"])
    require_a_host(["/local/file"])
