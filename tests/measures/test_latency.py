"""Measured milliseconds, with a clock that the test winds."""

import envise_tf  # noqa: F401  (first: it asks TensorFlow for Keras 2)

# isort: split
import numpy as np
import pytest
import tensorflow as tf

from envise_tf.measures import latency
from envise_tf.measures.gie import gie
from envise_tf.measures.latency import measured_milliseconds

layers = tf.keras.layers


def sequential(*stack, shape):
    return tf.keras.Sequential([layers.Input(shape), *stack])


def test_milliseconds_are_the_median_per_image_without_the_warm_up(monkeypatch):
    now = 0.0
    lasting = iter([1000.0, 500.0, 3.0, 1.0, 2.0, 90.0, 2.0])
    seen = []

    def run(images):
        nonlocal now
        now += next(lasting)
        seen.append(images.shape)

    monkeypatch.setattr(latency.time, "perf_counter", lambda: now)
    assert measured_milliseconds(run, np.zeros((4, 2)), repeats=5, warm_up=2) == pytest.approx(1000 * 2 / 4)
    assert seen == [(4, 2)] * 7


def test_two_measured_figures_give_the_measured_gie():
    model = sequential(layers.Flatten(), layers.Dense(2), shape=(4, 4, 3))
    images = np.zeros((2, 4, 4, 3), np.float32)
    student, teacher = (measured_milliseconds(model.predict_on_batch, images, repeats=3) for _ in range(2))
    assert student > 0
    assert gie(10, 2, student, teacher) == pytest.approx(0.8 - student / teacher)
