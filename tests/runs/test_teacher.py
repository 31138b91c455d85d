"""A user's teacher: labelled images that calibrate it, and the pixel values that it expects."""

import numpy as np
import pytest
import tensorflow as tf
from cells import cell_network, images_of
from PIL import Image

from envise_tf.errors import UserError
from envise_tf.networks.loading import load_teacher
from envise_tf.runs.job import found_job
from envise_tf.runs.teacher import labelled_by
from envise_tf.settings import TrainSettings

TEACHER = load_teacher("digits-disjoint")


def folder_of(tmp_path, names):
    """Writes three plain images of each name, the darker the earlier; returns the folder and the images by name."""
    images = {}
    for number, name in enumerate(names):
        (tmp_path / name).mkdir(parents=True)
        images[name] = [np.full((32, 32, 3), 40 * number + 10 * place, np.uint8) for place in range(3)]
        for place, image in enumerate(images[name]):
            Image.fromarray(image).save(tmp_path / name / f"{place}.png")
    return str(tmp_path), images


def test_each_image_counts_for_the_class_that_its_folder_is_called_by(tmp_path):
    folder, images = folder_of(tmp_path / "mine", ["two", "nine", "five"])
    labelled = labelled_by(folder, TEACHER, 32)
    assert sorted(labelled.labels) == [2] * 3 + [5] * 3 + [9] * 3
    for name, label in (("two", 2), ("nine", 9), ("five", 5)):
        found = labelled.logits[labelled.labels == label]
        expected = TEACHER(np.stack(images[name]))
        np.testing.assert_allclose(np.sort(found, axis=0), np.sort(expected, axis=0), rtol=1e-4, atol=1e-4)


def test_folders_that_do_not_fit_the_teacher_are_one_line(tmp_path):
    misspelt, _ = folder_of(tmp_path / "misspelt", ["two", "nien"])
    with pytest.raises(UserError, match="images of nien, no class of the teacher: nearest: nine"):
        labelled_by(misspelt, TEACHER, 32)
    single, _ = folder_of(tmp_path / "single", ["two"])
    with pytest.raises(UserError, match=r"1 class.*expected at least two sub-folders"):
        labelled_by(single, TEACHER, 32)
    with pytest.raises(UserError, match="nowhere"):
        labelled_by(str(tmp_path / "nowhere"), TEACHER, 32)


def saturating(expected: float) -> tf.keras.Model:
    """Returns a network of float images that tells cells apart by pixels of 0..`expected`; beyond, all are alike."""
    pixels, kernel, bias = cell_network([3, 5, 8]).get_weights()
    image = tf.keras.Input((8, 8, 3))
    cells = tf.keras.layers.Conv2D(1, 2, 2, use_bias=False, activation="tanh")(image)
    network = tf.keras.Model(image, tf.keras.layers.Dense(3)(tf.keras.layers.Flatten()(cells)))
    network.set_weights([pixels * 2 / expected, kernel, bias])
    return network


@pytest.fixture
def photographs(tmp_path):
    for number, image in enumerate(images_of([3, 5, 8] * 20)):
        (tmp_path / "photographs").mkdir(exist_ok=True)
        Image.fromarray(image).save(tmp_path / "photographs" / f"{number}.png")
    return str(tmp_path / "photographs")


@pytest.mark.slow
def test_a_teacher_that_is_shown_pixels_of_another_range_is_found_out(tmp_path, photographs):
    saturating(1).save(tmp_path / "unit.keras")
    saturating(255).save(tmp_path / "raw.keras")
    given = {"stream": photographs, "window": 32, "batch_size": 32}
    with pytest.raises(
        UserError, match="the same answer to all of 32 images with --teacher_range raw, and 3 different ones with unit"
    ):
        found_job(TrainSettings(teacher=str(tmp_path / "unit.keras"), **given))
    assert found_job(TrainSettings(teacher=str(tmp_path / "unit.keras"), teacher_range="unit", **given))
    assert found_job(TrainSettings(teacher=str(tmp_path / "raw.keras"), **given))


@pytest.mark.slow
def test_images_of_one_class_are_no_reason_to_refuse_a_teacher(tmp_path):
    saturating(255).save(tmp_path / "raw.keras")
    (tmp_path / "one").mkdir()
    for number, image in enumerate(images_of([5] * 40)):
        Image.fromarray(image).save(tmp_path / "one" / f"{number}.png")
    settings = TrainSettings(
        teacher=str(tmp_path / "raw.keras"), stream=str(tmp_path / "one"), window=32, batch_size=32
    )
    assert found_job(settings).teacher.classes == 3
