import itertools
import logging
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from envise_tf.errors import UserError
from envise_tf.images.folder import Folder
from envise_tf.images.source import UNLABELLED, fingerprint

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def save(path: Path, colour=RED, size=(8, 8), **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path, **options)
    return path


def read(folder: Path, split="train", size=8, labels=None) -> list[dict]:
    return list(Folder(str(folder), size).examples(split, labels).as_numpy_iterator())


def only_image(path: Path, size=8) -> np.ndarray:
    (example,) = read(path.parent, size=size)
    return example["image"]


def test_class_folders_label_the_images_and_every_fifth_file_is_a_test_image(tmp_path):
    for number in range(6):
        save(tmp_path / f"cat/{number}.png", (100 + number, 0, 0))
    save(tmp_path / "ant/deep/a.png", (0, 7, 0))
    save(tmp_path / "ant/deep/b.png", (0, 8, 0))
    (tmp_path / "empty").mkdir()
    source = Folder(str(tmp_path), 8)
    assert source.class_names == ("ant", "cat")
    assert source.size == 8
    seen = {
        s: [(e["label"], *e["image"][0, 0]) for e in source.examples(s).as_numpy_iterator()] for s in ("train", "test")
    }
    assert sorted(seen["test"]) == [(0, 0, 7, 0), (1, 100, 0, 0), (1, 105, 0, 0)]
    assert sorted(seen["train"]) == [(0, 0, 8, 0), *[(1, 100 + number, 0, 0) for number in (1, 2, 3, 4)]]


def test_split_folders_are_the_splits(tmp_path):
    save(tmp_path / "train/a/1.png", RED)
    save(tmp_path / "train/b/1.png", GREEN)
    save(tmp_path / "val/b/1.png", BLUE)
    assert sorted(e["label"] for e in read(tmp_path)) == [0, 1]
    (test,) = read(tmp_path, "test")
    assert (test["label"], tuple(test["image"][0, 0])) == (1, BLUE)
    save(tmp_path / "test/a/1.png", GREEN)  # "test" goes before "val"
    assert [e["label"] for e in read(tmp_path, "test")] == [0]


def test_a_test_class_that_train_lacks_is_a_user_error(tmp_path):
    save(tmp_path / "train/a/1.png")
    save(tmp_path / "test/zebra/1.png")
    with pytest.raises(UserError, match=r"test classes that its train folder lacks \(zebra\)"):
        Folder(str(tmp_path), 8)


def test_a_split_folder_without_classes_is_a_user_error(tmp_path):
    save(tmp_path / "train/1.png")
    with pytest.raises(UserError, match="has no class folders with images: expected train/CLASS/IMAGE"):
        Folder(str(tmp_path), 8)


def test_loose_images_are_unlabelled_and_have_no_test_split(tmp_path):
    save(tmp_path / "1.png")
    source = Folder(str(tmp_path), 8)
    assert source.class_names == ()
    assert [e["label"] for e in source.examples("train").as_numpy_iterator()] == [UNLABELLED]
    with pytest.raises(UserError, match="has no images for 'test'"):
        source.examples("test")


def test_labels_are_filtered(tmp_path):
    for name in "abc":
        save(tmp_path / f"train/{name}/1.png")
    assert sorted(e["label"] for e in read(tmp_path, labels={0, 2})) == [0, 2]
    assert read(tmp_path, labels={7}) == []


def test_the_order_is_fixed_and_mixes_the_classes(tmp_path):
    for label in "ab":
        for number in range(10):
            save(tmp_path / f"train/{label}/{number}.png", (number, 0, 0))
    first, second = ([(e["label"], e["image"][0, 0, 0]) for e in read(tmp_path)] for _ in range(2))
    assert first == second
    labels = [label for label, _ in first]
    assert sum(a != b for a, b in itertools.pairwise(labels)) > 4  # one after the other would change once


@pytest.mark.parametrize("name", ["a.JPG", "a.jpeg", "a.Png", "a.webp"])
def test_every_format_is_read_whatever_the_case_of_its_extension(tmp_path, name):
    image = only_image(save(tmp_path / name, (200, 100, 50)))
    assert image.dtype == np.uint8
    assert np.abs(image.astype(int) - (200, 100, 50)).max() <= 4


def test_other_and_hidden_files_are_passed_over(tmp_path):
    save(tmp_path / "a.png")
    save(tmp_path / "._b.png")
    save(tmp_path / ".cache/c.png")
    (tmp_path / "notes.txt").write_text("no image")
    assert len(read(tmp_path)) == 1


def test_the_central_square_is_kept(tmp_path):
    pixels = np.zeros((4, 8, 3), np.uint8)
    pixels[:, :2], pixels[:, 2:6], pixels[:, 6:] = RED, GREEN, BLUE
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    assert (only_image(tmp_path / "wide.png", size=4) == GREEN).all()


def test_an_image_of_the_right_size_is_untouched_and_a_larger_one_antialiased(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    np.testing.assert_array_equal(only_image(tmp_path / "a.png", size=8), pixels)
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    Image.fromarray(stripes).save(tmp_path / "a.png")
    assert np.abs(only_image(tmp_path / "a.png", size=8).astype(int)[:, 1:-1] - 127).max() <= 8  # grey, no moire


def test_the_exif_rotation_is_applied(tmp_path):
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[:, :4], pixels[:, 4:] = RED, BLUE
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by 90 degrees: left comes to the top
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    image = only_image(tmp_path / "a.png")
    assert (image[:4] == RED).all()
    assert (image[4:] == BLUE).all()


def test_grey_palette_transparent_and_16_bit_files_become_rgb(tmp_path):
    Image.new("L", (8, 8), 77).save(tmp_path / "a.png")
    assert (only_image(tmp_path / "a.png") == 77).all()
    Image.new("RGB", (8, 8), (10, 20, 30)).quantize(2).save(tmp_path / "a.png")
    assert (only_image(tmp_path / "a.png") == (10, 20, 30)).all()
    Image.new("RGBA", (8, 8), (255, 0, 0, 0)).save(tmp_path / "a.png")
    assert (only_image(tmp_path / "a.png") == 255).all()  # white shows through
    Image.fromarray(np.full((8, 8), 100 * 257, np.uint16)).save(tmp_path / "a.png")
    assert (only_image(tmp_path / "a.png") == 100).all()


def test_the_fingerprint_is_that_of_the_files_bytes(tmp_path):
    path = save(tmp_path / "a.png")
    path.write_bytes(path.read_bytes() + b"\0\0")  # trailing zeros count too
    (example,) = read(tmp_path)
    assert example["fingerprint"] == fingerprint(tf.constant(path.read_bytes())).numpy()
    assert example["fingerprint"].dtype == np.int64


def test_unreadable_files_are_logged_once_skipped_and_remembered(tmp_path, caplog):
    save(tmp_path / "good.png")
    (tmp_path / "text.jpg").write_text("no image")
    (tmp_path / "empty.png").touch()
    whole = save(tmp_path / "cut.jpg", size=(64, 64))
    whole.write_bytes(whole.read_bytes()[:-200])
    broken = {str(tmp_path / name) for name in ("text.jpg", "empty.png", "cut.jpg")}
    with caplog.at_level(logging.WARNING, "envise_tf"):
        for _ in range(2):  # a training, and its evaluation
            source = Folder(str(tmp_path), 8)
            for _ in range(2):
                assert len(list(source.examples("train"))) == 1
            assert source.unreadable == broken
    told = sorted(record.getMessage().split(": it cannot be read as an image (")[0] for record in caplog.records)
    assert told == sorted(f"skipped {path}" for path in broken)


def test_images_beside_class_folders_are_told(tmp_path, caplog):
    save(tmp_path / "a/1.png")
    save(tmp_path / "loose.png")
    with caplog.at_level(logging.WARNING, "envise_tf"):
        Folder(str(tmp_path), 8)
    assert "skipped 1 images" in caplog.text


@pytest.mark.parametrize("missing", [True, False])
def test_a_missing_or_empty_folder_is_a_user_error(tmp_path, missing):
    folder = tmp_path / "nowhere" if missing else tmp_path
    with pytest.raises(UserError, match="there is no folder" if missing else "holds no JPEG, PNG or WebP") as caught:
        Folder(str(folder), 8)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_size_below_one_is_a_user_error(tmp_path):
    with pytest.raises(UserError, match="image size 0 given"):
        Folder(str(tmp_path), 0)


def test_a_folder_for_the_stream_has_no_labels_whatever_its_sub_folders_mean(tmp_path):
    for name in ("train/cat", "test/cat", "2025"):
        (tmp_path / name).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / name / "image.png")
    source = Folder(str(tmp_path), 8, labelled=False)
    assert source.class_names == ()
    assert [int(example["label"]) for example in source.examples("train")] == [UNLABELLED] * 3
