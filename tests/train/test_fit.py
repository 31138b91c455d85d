"""The fit of a student in stages: which kernels it has in each, and what does not fit."""

import larq
import numpy as np
import pytest
import tensorflow as tf

from envise_tf.distillation.labelled import LabelledStudent
from envise_tf.distillation.objectives import objective
from envise_tf.distillation.replicas import one_replica
from envise_tf.errors import UserError
from envise_tf.networks.students import is_binary
from envise_tf.run import Run
from envise_tf.settings import TrainSettings
from envise_tf.train.fit import Fit, begun_student

SIZE, CLASSES = 8, [0, 1]


def settings_of(**given):
    small = {"widths": (32,), "blocks": (1,), "windows": 2, "tensorboard": False}
    return TrainSettings(teacher="none", **{**small, **given})


def begun(settings, modelled=lambda student: labelled(student)):
    return Fit(begun_student(settings, SIZE, CLASSES, ("a", "b")), modelled, settings, 1, one_replica())


def labelled(student):
    return LabelledStudent(student, CLASSES, 2, {"hard_label": objective("hard_label", {})})


def kernel_as_used(student):
    """Returns the binary convolution's kernel as it multiplies, and as it is stored."""
    (layer,) = [each for each in student.layers if any(is_binary(weight) for weight in each.weights)]
    with larq.context.quantized_scope(True):
        return tf.convert_to_tensor(layer.kernel).numpy(), layer.kernel.latent_variable.numpy()


@pytest.mark.slow
def test_kernels_are_real_in_the_first_stage_and_signs_in_the_second(tmp_path):
    settings = settings_of(stages=2)
    seen, at_the_end = [], []

    def modelled(student):
        seen.append(student)
        return labelled(student)

    class Watched(tf.keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            at_the_end.append(kernel_as_used(seen[-1]))

    images = np.random.default_rng(0).integers(0, 256, (4, SIZE, SIZE, 3), np.uint8)
    batch = tf.data.Dataset.from_tensors((images, np.array([0, 1, 0, 1])))
    fit = begun(settings, modelled)
    fit.fitted(lambda augmentation, first: batch.repeat(), Run(tmp_path), batch, [Watched()])
    (first, first_stored), (second, second_stored) = at_the_end
    np.testing.assert_array_equal(first, first_stored)
    np.testing.assert_array_equal(second, np.where(second_stored < 0, -1, 1))
    assert np.abs(second_stored - first_stored).max() > 0
    assert len(seen) == 2


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"windows": 3}, "--windows 3 with --stages 2: expected an even number"),
        ({"twin": True}, "--stages 2 with --twin"),
    ],
)
def test_what_makes_no_two_stages_is_refused(given, said):
    with pytest.raises(UserError, match=said):
        begun(settings_of(stages=2, **given))
