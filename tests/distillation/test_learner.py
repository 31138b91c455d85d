"""The learner: a restored one takes the very steps that the one it was taken of would have taken."""

import numpy as np
import pytest
import tensorflow as tf

from envise_tf.distillation.learner import Learner
from envise_tf.distillation.objectives import OBJECTIVES, Objective, objective
from envise_tf.images.windows import Augmentation
from envise_tf.networks.students import residual_student
from envise_tf.networks.teachers import wide_resnet

pytestmark = pytest.mark.slow

REMEMBERING = [name for name, kind in OBJECTIVES.items() if kind.companion is not Objective.companion]
"""Objectives with layers of their own beside the student."""


@pytest.fixture(autouse=True)
def _reproducible():
    tf.config.experimental.enable_op_determinism()
    yield
    tf.keras.backend.clear_session()


def learner(seed):
    tf.keras.utils.set_random_seed(3)
    teacher = wide_resnet(16, 3, 10, 1)
    tf.keras.utils.set_random_seed(seed)
    student = residual_student(16, 3, (32, 32), (1, 1))
    objectives = {name: objective(name, {}) for name in ("soft_label", *REMEMBERING)}
    return Learner(student, teacher, [0, 1, 2], objectives, 0.01, Augmentation(shift=0.1, mixup=0.5), 8, seed=5)


def test_resumed_with_all_that_objectives_remember_it_learns_the_same():
    images = np.random.default_rng(1).integers(0, 256, (4, 8, 16, 16, 3), dtype=np.uint8)
    whole = learner(1)
    for batch in images[:2]:
        whole.learn(batch)
    resumed = learner(2)
    resumed.restore(whole.snapshot())
    for batch in images[2:]:
        whole.learn(batch)
        resumed.learn(batch)
    one, other = whole.snapshot(), resumed.snapshot()
    assert one["companions"]["amc"][0] == 4
    for mine, wanted in zip(tf.nest.flatten(other), tf.nest.flatten(one), strict=True):
        np.testing.assert_array_equal(mine, wanted)
