import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from envise_tf.errors import UserError
from envise_tf.images.digits import Digits
from envise_tf.images.folder import Folder
from envise_tf.images.loading import load_source
from envise_tf.images.source import Source


def first(source: Source) -> dict:
    return next(iter(source.examples("test").as_numpy_iterator()))


def test_digits_come_by_name_in_their_own_size_or_the_same_size_asked_for():
    assert isinstance(load_source("digits"), Digits)
    assert isinstance(load_source("digits", size=32), Digits)


def test_a_path_is_a_folder(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (20, 10), "red").save(tmp_path / name / "1.png")
    source = load_source(str(tmp_path), size=8)
    assert isinstance(source, Folder)
    assert source.class_names == ("cat", "dog")
    assert first(source)["image"].shape == (8, 8, 3)


def test_a_path_that_is_not_there_is_a_user_error(tmp_path):
    with pytest.raises(UserError, match="there is no folder"):
        load_source(str(tmp_path / "nowhere"), size=8)


def test_images_that_differ_in_size_need_one(tmp_path):
    with pytest.raises(UserError, match="differ in size: give the side in pixels as --image_size"):
        load_source(str(tmp_path))


def test_a_data_dir_that_is_not_there_is_a_user_error_at_once(tmp_path):
    missing = str(tmp_path / "nowhere")
    with pytest.raises(UserError, match=f"no folder {missing}: expected the one that .*--data_dir"):
        load_source("cifar100", data_dir=missing)


def test_resizing_keeps_all_but_the_pixels():
    small, whole = load_source("digits", size=16), Digits()
    assert (small.size, small.name, small.class_names) == (16, "digits", whole.class_names)
    resized = list(small.examples("test", {4}).as_numpy_iterator())
    originals = list(whole.examples("test", {4}).as_numpy_iterator())
    assert len(resized) > 30
    for example, original in zip(resized, originals, strict=True):
        assert example["image"].shape == (16, 16, 3)
        assert example["image"].dtype == np.uint8
        assert (example["label"], example["fingerprint"]) == (original["label"], original["fingerprint"])


def test_digits_resized_to_16_are_averaged_as_pillow_does_it():
    small, whole = first(load_source("digits", size=16))["image"], first(Digits())["image"]
    expected = np.asarray(Image.fromarray(whole).resize((16, 16), Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(small.astype(int) - expected).max() <= 1
    plain = tf.image.resize(whole, (16, 16)).numpy()  # not antialiased
    assert np.abs(small - plain).max() > 5
