"""Class shares over time: what was estimated from when on, and what was true."""

import dataclasses

import numpy as np
import pytest

from envise_tf.stream.record import read_record
from envise_tf.stream.shares import class_shares, estimates

NAMES = [f"class {number}" for number in range(10)]


@pytest.fixture
def record(stream_run):
    """A stream whose true classes are 0 to 3, with two estimates: of these, and of class 7 with class 9 at half a %."""
    record = read_record(stream_run)
    told = [np.repeat([0.25, 0.0], [4, 6]), np.array([0.0] * 7 + [0.995, 0.0, 0.005])]
    events = [
        {"image": image, "event": "classes", "prior": p.tolist()} for image, p in zip((400, 1600), told, strict=True)
    ]
    return dataclasses.replace(record, events=[*record.events, *events])


def meshes(figure) -> list[np.ndarray]:
    return [axes.collections[0].get_array() for axes in figure.axes[:2]]


def test_estimates_hold_from_the_image_on_at_which_they_were_made(record):
    begun, shares = estimates(record)
    assert begun.tolist() == [400, 1600]
    np.testing.assert_allclose(shares.sum(axis=1), 1)


def test_classes_are_drawn_that_are_ever_frequent_in_the_order_of_their_coming(record):
    figure = class_shares(record, NAMES, (8, 5))
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == [NAMES[i] for i in (0, 1, 2, 3, 7)]
    estimated, true = meshes(figure)
    np.testing.assert_allclose(estimated, [[25, 0]] * 4 + [[0, 99.5]])
    np.testing.assert_allclose(true[:4], 25)  # every fourth image, in each of eight windows of 500
    np.testing.assert_allclose(true[4], 0)
    assert true.shape == (5, 8)


def test_without_labels_there_is_the_estimate_alone(record):
    unknown = dataclasses.replace(record, truth=np.full_like(record.truth, -1))
    titles = [axes.get_title() for axes in class_shares(unknown, NAMES, (8, 5)).axes]
    assert "as estimated" in titles
    assert "true" not in titles
