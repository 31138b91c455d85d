"""What a teacher's classes are called: with names of its own, of the user, of a data set, and without any."""

import dataclasses
import json

import numpy as np
import pytest
from cells import CLASSES, cell_network, images_of
from PIL import Image

from envise_tf.errors import UserError
from envise_tf.images.digits import Digits
from envise_tf.networks.loading import load_teacher
from envise_tf.run import Run
from envise_tf.runs.job import found_job
from envise_tf.runs.names import mistaken_names, named_as, uncommon_names
from envise_tf.settings import StreamSettings, TrainSettings
from envise_tf.stream.pipeline import found_sight

pytestmark = pytest.mark.slow

SORTED = ("circle", "cross", "square")
LEARNED = ("circle", "square", "cross")
"""The order in which the teacher was taught, which is not that of the sorted folders."""
NETWORK = cell_network([3, 5, 8])
CELLS = dict(zip(LEARNED, (3, 5, 8), strict=True))


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    """A teacher file without names, and 20 labelled photographs of each of its classes."""
    folder = tmp_path_factory.mktemp("shapes")
    NETWORK.save(folder / "my.keras")
    for seed, (name, cell) in enumerate(CELLS.items()):
        (folder / "labelled" / name).mkdir(parents=True)
        for number, image in enumerate(images_of([cell] * 20, seed)):
            Image.fromarray(image).save(folder / "labelled" / name / f"{number}.png")
    return folder


def settings(shapes, **given) -> TrainSettings:
    return TrainSettings(teacher=str(shapes / "my.keras"), source=str(shapes / "labelled"), **given)


def names_file(folder, names) -> str:
    path = folder / "names.txt"
    path.write_text("\n".join(names))
    return str(path)


def test_a_teacher_without_names_takes_none_from_sorted_folders(shapes):
    job = found_job(settings(shapes))
    assert job.teacher.class_names == ("0", "1", "2")
    assert job.tested is None
    assert not job.is_named
    images = np.concatenate([batch.numpy() for batch in job.stream.images().take(9)])
    assert len(images)  # it streams all the same


def test_names_in_the_teachers_order_are_compared_with_the_folders(shapes, tmp_path):
    job = found_job(settings(shapes, teacher_classes=names_file(tmp_path, LEARNED)))
    assert job.teacher.class_names == LEARNED
    assert job.tested is not None
    assert job.is_named


def test_names_in_another_order_are_refused_with_what_the_images_show(shapes, tmp_path):
    with pytest.raises(UserError, match=r"calls 2 classes by each other's names \(cross is called square, square is"):
        found_job(settings(shapes, teacher_classes=names_file(tmp_path, SORTED)))


def test_a_name_twice_and_what_names_classes_without_names_are_refused(shapes, tmp_path):
    with pytest.raises(UserError, match="more than one class of the name cross"):
        found_job(settings(shapes, teacher_classes=names_file(tmp_path, ("circle", "cross", "cross"))))
    with pytest.raises(UserError, match=r"--prior names classes, but teacher .* give them with --teacher_classes FILE"):
        found_job(settings(shapes, prior={"circle": 1.0}))
    with pytest.raises(UserError, match="--scenario names classes"):
        found_job(settings(shapes, scenario="mine.yaml", classes="pinned"))


def test_a_data_set_has_a_numbering_that_a_teacher_without_names_follows_unless_the_images_say_otherwise(tmp_path):
    digits = load_teacher("digits-disjoint")
    digits.model.save(tmp_path / "right.keras")
    asked = TrainSettings(teacher=str(tmp_path / "right.keras"), source="digits")
    assert found_job(asked).teacher.class_names == Digits.class_names
    kernel, bias = digits.model.layers[-1].get_weights()
    turned = np.roll(np.arange(10), 1)
    digits.model.layers[-1].set_weights([kernel[:, turned], bias[turned]])
    digits.model.save(tmp_path / "turned.keras")
    with pytest.raises(UserError, match=r"calls 10 classes by each other's names \(zero is called one, .* and 5 more"):
        found_job(dataclasses.replace(asked, teacher=str(tmp_path / "turned.keras")))
    with pytest.raises(UserError, match="has 10 classes, digits has 3"):
        named_as(dataclasses.replace(digits, class_names=()), "digits", ("a", "b", "c"), "digits")


def test_a_stream_takes_no_names_from_folders_either(shapes, tmp_path):
    phases = tmp_path / "phases.yaml"
    phases.write_text("phases:\n  - {prior: {circle: 1, cross: 1}, images: 20}\n")
    asked = StreamSettings(
        teacher=str(shapes / "my.keras"),
        source=str(shapes / "labelled"),
        image_size=8,
        phases=str(phases),
        protocol="shared",
    )
    sight = found_sight(asked, Run(tmp_path / "run"))
    assert sight.teacher.class_names == ("0", "1", "2")
    assert sight.true_class(np.arange(3)).tolist() == [-1, -1, -1]
    named = dataclasses.replace(asked, teacher_classes=names_file(tmp_path, LEARNED))
    assert found_sight(named, Run(tmp_path / "run")).true_class(np.arange(3)).tolist() == [0, 2, 1]
    with pytest.raises(UserError, match="by each other's names"):
        found_sight(dataclasses.replace(named, teacher_classes=names_file(tmp_path, SORTED)), Run(tmp_path / "run"))


def test_a_run_of_a_teacher_without_names_has_none_later_either(shapes, tmp_path):
    NETWORK.save(tmp_path / "teacher.keras")
    classes = {"teacher_classes": [0, 1], "teacher_names": ["0", "1", "2"]}
    for is_named, expected in ((False, ()), (True, ("0", "1", "2"))):
        (tmp_path / "classes.json").write_text(json.dumps({**classes, "is_named": is_named}))
        assert load_teacher(str(tmp_path)).class_names == expected
    (tmp_path / "classes.json").write_text(json.dumps(classes))  # of an earlier version
    assert load_teacher(str(tmp_path)).class_names == ("0", "1", "2")


# --- By hand ----------------------------------------------------------------------------------------------------------


def test_a_class_that_is_merely_mistaken_for_another_keeps_its_name():
    truth = np.repeat(np.arange(3), 10)
    confused = np.where(truth == 1, 2, truth)  # all of class 1 are called 2, and those of 2 as well
    assert mistaken_names(confused, truth, 3) == []
    swapped = np.array([0, 2, 1])[truth]
    assert mistaken_names(swapped, truth, 3) == [(1, 2), (2, 1)]
    noisy = np.where(np.arange(30) % 10 < 3, 0, swapped)
    assert mistaken_names(noisy, truth, 3) == [(1, 2), (2, 1)]
    few = np.array([1, 1, 2, 2])
    assert mistaken_names(np.array([2, 2, 1, 1]), few, 3) == []
    assert mistaken_names(np.zeros(0, int), np.zeros(0, int), 3) == []


def test_names_that_one_side_lacks(shapes, tmp_path):
    job = found_job(settings(shapes, teacher_classes=names_file(tmp_path, LEARNED)))
    other = dataclasses.replace(job.teacher, class_names=("circle", "square", "star"))
    assert uncommon_names(other, job.tested) == (["star"], ["cross"])
    assert uncommon_names(job.teacher, job.tested) == ([], [])


def test_there_are_as_many_cells_as_this_file_takes():
    assert max(CELLS.values()) < CLASSES
