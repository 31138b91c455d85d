"""A user's labelled images, as they calibrate a teacher."""

import numpy as np
import pytest
from PIL import Image

from envise_tf.errors import UserError
from envise_tf.networks.loading import load_teacher
from envise_tf.runs.teacher import labelled_by

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
