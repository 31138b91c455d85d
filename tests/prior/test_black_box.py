"""The black-box shift estimator: against QuaPy's answers, and streams whose prior is known."""

import json
from pathlib import Path

import numpy as np
import pytest
from gaussians import Gaussians, zipf_prior

from envise_tf.prior.black_box import bbse_prior
from envise_tf.prior.estimation import estimated_prior
from envise_tf.prior.shift import uniform_prior

QUAPY = json.loads(Path(__file__).with_name("quapy.json").read_text())["cases"]


@pytest.mark.parametrize("case", QUAPY, ids=["even source", "skewed source"])
def test_bbse_agrees_with_quapy(case):
    sets = (np.array(case[key]) for key in ("labels", "predictions", "stream_predictions"))
    np.testing.assert_allclose(bbse_prior(*sets, classes=6), case["bbse"], atol=2e-3)


def test_bbse_finds_the_prior_without_probabilities():
    teacher = Gaussians.random(10, dimensions=4, seed=2)
    labelled, labels = teacher.draw(uniform_prior(10), 5000, seed=3)
    prior = zipf_prior(11, 5, outliers=0.0)[:10]
    prior /= prior.sum()
    stream, _ = teacher.draw(prior, 5000, seed=4)
    found = bbse_prior(labels, labelled.argmax(axis=1), stream.argmax(axis=1), 10)
    counted = np.bincount(stream.argmax(axis=1), minlength=10) / len(stream)
    assert np.abs(found - prior).sum() < 0.2 < np.abs(counted - prior).sum() / 2
    assert np.abs(found - estimated_prior(stream, uniform_prior(10)).prior).sum() < 0.2


def test_bbse_gives_nothing_to_a_class_without_a_labelled_image():
    found = bbse_prior(np.array([0, 0, 1, 1]), np.array([0, 0, 1, 0]), np.array([0, 1, 1, 2]), 3)
    assert found[2] == 0
    assert found.sum() == pytest.approx(1)
    assert (found >= 0).all()
