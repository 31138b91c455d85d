import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from envise_tf.images.digits import Digits

pytestmark = pytest.mark.slow


def read(split: str, labels=None) -> dict[str, np.ndarray]:
    examples = list(Digits().examples(split, labels).as_numpy_iterator())
    return {key: np.array([example[key] for example in examples]) for key in ("image", "label", "fingerprint")}


def test_every_fifth_digit_is_a_test_image_with_the_label_that_scikit_learn_gives_it():
    target = load_digits().target
    test, train = read("test"), read("train")
    np.testing.assert_array_equal(test["label"], target[::5])
    np.testing.assert_array_equal(train["label"], np.delete(target, np.s_[::5]))
    assert (len(test["label"]), len(train["label"])) == (360, 1437)


def test_images_are_grey_rgb_and_show_the_digit():
    source, test = Digits(), read("test")
    assert source.size == 32
    assert test["image"].shape == (360, 32, 32, 3)
    assert test["image"].dtype == np.uint8
    np.testing.assert_array_equal(test["image"], np.repeat(test["image"][..., :1], 3, axis=-1))
    small = np.round(load_digits().images[::5] * (255 / 16)).astype(np.float32)
    # In floating point, as Pillow would else cut off what overshoots between rows and columns.
    large = [np.asarray(Image.fromarray(image).resize((32, 32), Image.Resampling.BICUBIC)) for image in small]
    assert np.abs(test["image"][..., 0] - np.clip(large, 0, 255)).max() <= 1


def test_the_order_is_fixed():
    np.testing.assert_array_equal(read("train")["fingerprint"], read("train")["fingerprint"])


def test_labels_are_filtered_and_the_class_names_say_them():
    whole, some = read("train"), read("train", {3, 7})
    wanted = np.isin(whole["label"], (3, 7))
    np.testing.assert_array_equal(some["image"], whole["image"][wanted])
    assert (Digits.class_names[3], Digits.class_names[7]) == ("three", "seven")


def test_different_digits_have_different_fingerprints():
    prints, images = (
        np.concatenate([read(split)[key] for split in ("train", "test")]) for key in ("fingerprint", "image")
    )
    assert (prints >= 0).all()
    assert len(set(prints.tolist())) == len({image.tobytes() for image in images})
