"""A student that labels teach: the same steps as a teacher that is always right would have it take."""

import numpy as np
import pytest
import tensorflow as tf

from envise_tf.distillation.distiller import Distiller
from envise_tf.distillation.labelled import LabelledStudent
from envise_tf.distillation.objectives import OBJECTIVES, objective
from envise_tf.errors import UserError
from envise_tf.networks.students import residual_student

pytestmark = pytest.mark.slow

layers = tf.keras.layers
SIZE, CLASSES, LABELS = 8, [2, 0], [0, 2, 1, 2, 0, 2]
"""A label of one is no class of the student's."""


def images_of(labels):
    """Returns uint8 images that are brightest in the channel of their label."""
    images = np.random.default_rng(1).integers(0, 150, (len(labels), SIZE, SIZE, 3), dtype=np.uint8)
    images[np.arange(len(labels)), ..., labels] += 100
    return images


def colour_teacher():
    image = tf.keras.Input((SIZE, SIZE, 3), dtype="uint8")
    x = layers.Conv2D(3, 1, use_bias=False)(layers.Rescaling(0.1)(image))
    teacher = tf.keras.Model(image, layers.Dense(3, use_bias=False)(layers.GlobalAveragePooling2D()(x)))
    teacher.set_weights([np.eye(3).reshape(1, 1, 3, 3), np.eye(3)])
    return teacher


def student():
    tf.keras.utils.set_random_seed(8)
    return residual_student(SIZE, 2, (32,), (1,))


def chosen():
    return {name: objective(name, {}) for name in OBJECTIVES if not objective(name, {}).needs_teacher}


def test_a_step_is_that_of_a_teacher_who_is_always_right():
    images = images_of(LABELS)
    distiller = Distiller(student(), colour_teacher(), CLASSES, chosen())
    labelled = LabelledStudent(student(), CLASSES, 3, chosen())
    for each in (distiller, labelled):
        each.compile()
    told = distiller.train_on_batch(images, return_dict=True)
    found = labelled.train_on_batch(images, np.array(LABELS), return_dict=True)
    assert found == {("accuracy" if name == "agreement" else name): value for name, value in told.items()}
    for one, other in zip(distiller.student.get_weights(), labelled.student.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert labelled.evaluate(images, np.array(LABELS), verbose=0, return_dict=True)["loss"] == pytest.approx(
        distiller.evaluate(tf.data.Dataset.from_tensors(images), verbose=0, return_dict=True)["loss"]
    )


@pytest.mark.parametrize("name", OBJECTIVES)
def test_objectives_say_whether_they_look_at_the_teacher(name):
    asked = objective(name, {})
    if asked.needs_teacher:
        with pytest.raises(UserError, match=f"{name} given without a teacher"):
            LabelledStudent(student(), CLASSES, 3, {name: asked})
    else:
        labelled = LabelledStudent(student(), CLASSES, 3, {name: asked})
        labelled.compile()
        assert np.isfinite(labelled.train_on_batch(images_of(LABELS), np.array(LABELS))).all()
