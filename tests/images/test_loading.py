import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image

from envise_tf.errors import UserError
from envise_tf.images.digits import Digits
from envise_tf.images.folder import Folder
from envise_tf.images.loading import _Squared, load_source
from envise_tf.images.photographs import central_square
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


PIXELS = np.random.default_rng(0).integers(0, 256, (2, 30, 50, 3), np.uint8)


class Wide(Source):
    """Two images of 30x50 pixels, as a data set of TensorFlow Datasets may have them, each with a box."""

    name, class_names, size, has_boxes = "wide", ("a", "b"), None, True

    def __init__(self, pixels: np.ndarray, box: tuple[float, ...]) -> None:
        self._pixels, self._box = pixels, box

    def examples(self, split, labels=None):
        rows = {"image": self._pixels, "label": np.arange(2), "fingerprint": np.arange(2), "box": [self._box] * 2}
        return tf.data.Dataset.from_tensor_slices(rows)


@pytest.mark.parametrize("pixels", [PIXELS, PIXELS.transpose(0, 2, 1, 3)], ids=["wide", "tall"])
@pytest.mark.parametrize("size", [8, 15, 40])
def test_images_that_are_not_square_are_cut_and_not_squashed(pixels, size):
    found = list(_Squared(Wide(pixels, (0.0, 0.0, 1.0, 1.0)), size).examples("test").as_numpy_iterator())
    for example, image in zip(found, pixels, strict=True):
        # What a folder, a video and a phone make of the same image.
        expected = central_square(Image.fromarray(image), size).astype(int)
        assert np.abs(example["image"].astype(int) - expected).max() <= 1


@pytest.mark.parametrize(
    ("box", "in_square"),
    [
        ((0.0, 0.0, 1.0, 1.0), (0.0, 0.0, 1.0, 1.0)),
        ((0.5, 0.2, 1.0, 0.5), (0.5, 0.0, 1.0, 0.5)),  # columns 10 and 25 of 50 are 0 and 15 of the 30 in the square
        ((0.0, 0.0, 1.0, 0.1), (0.0, 0.0, 1.0, 0.0)),  # beside the square
    ],
)
def test_a_box_is_cut_with_its_image(box, in_square):
    found = next(iter(_Squared(Wide(PIXELS, box), 8).examples("test").as_numpy_iterator()))
    np.testing.assert_allclose(found["box"], in_square, atol=1e-6)


class WideImages(tfds.core.GeneratorBasedBuilder):
    """The same images as a data set of TensorFlow Datasets."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        image, label = tfds.features.Image(shape=(30, 50, 3)), tfds.features.ClassLabel(names=["a", "b"])
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict({"image": image, "label": label})
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(), "test": self._generate_examples()}

    def _generate_examples(self):
        yield from enumerate({"image": image, "label": number} for number, image in enumerate(PIXELS))


def test_a_data_set_of_wide_images_is_cut_too(tmp_path):
    source = load_source("wide_images", str(tmp_path), 15)
    found = {int(example["label"]): example["image"] for example in source.examples("test").as_numpy_iterator()}
    for label, image in enumerate(PIXELS):
        expected = central_square(Image.fromarray(image), 15).astype(int)
        assert np.abs(found[label].astype(int) - expected).max() <= 1
    with pytest.raises(UserError, match="differ in size"):
        load_source("wide_images", str(tmp_path))
