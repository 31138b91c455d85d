"""Real outputs to test on: the shipped digits teacher, its head cut down to the digits 0 to 6, plays the student."""

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf
from made_held_back import fit

from envise_tf.deferral.scores import SCORES, OutlierScore, outlier_score
from envise_tf.deferral.scores.outputs import Observer, Outputs
from envise_tf.images.digits import Digits
from envise_tf.images.source import SplitName
from envise_tf.networks.shipped import shipped_network

KNOWN = 7


@pytest.fixture(scope="session")
def network() -> tf.keras.Model:
    return shipped_network("digits-disjoint", "teacher")


@pytest.fixture(scope="session")
def student(network: tf.keras.Model) -> Observer:
    """The network without the logits of 7, 8 and 9: real features, real outliers."""
    kernel, bias = network.layers[-1].get_weights()
    logits = tf.keras.layers.Dense(KNOWN, name="seven_logits")
    cut = tf.keras.Model(network.input, logits(network.layers[-1].input))
    logits.set_weights([kernel[:, :KNOWN], bias[:KNOWN]])
    return Observer(cut)


def digits(split: SplitName, labels: range, count: int) -> np.ndarray:
    return next(iter(Digits().examples(split, labels).batch(count)))["image"].numpy()


@pytest.fixture(scope="session")
def held_back(student: Observer, network: tf.keras.Model) -> tuple[Outputs, np.ndarray]:
    """200 digits, two fifths of them blurred by noise, so that the two networks do not always agree."""
    images = digits("train", range(10), 200)
    noise = np.random.default_rng(1).normal(scale=90, size=images.shape)
    noise[np.arange(200) % 5 < 3] = 0
    images = np.clip(images + noise, 0, 255).astype(np.uint8)
    predicted = network(images, training=False).numpy().argmax(axis=1)
    return student(images), np.where(predicted < KNOWN, predicted, -1)


@pytest.fixture(scope="session")
def fresh(student: Observer) -> Outputs:
    """60 other digits, 0 to 4: inliers for every score."""
    return student(digits("test", range(5), 60))


@pytest.fixture(scope="session")
def outliers(student: Observer) -> Outputs:
    """60 digits 7 to 9, whose classes the student lacks."""
    return student(digits("test", range(KNOWN, 10), 60))


@pytest.fixture(scope="session")
def fitted(held_back: tuple[Outputs, np.ndarray]) -> Callable[..., OutlierScore]:
    """Returns a fitted score by name and options; inlier mass finds the digits 0 to 4 frequent, odin sees 20."""

    def make(name: str, **options: float) -> OutlierScore:
        outputs, pseudo_label = held_back
        if name == "inlier_mass":
            pseudo_label = np.where(pseudo_label < 5, pseudo_label, -1)
        score = outlier_score(name, options)
        some = slice(20) if name == "odin" else slice(None)
        fit(score, outputs.chosen(np.arange(len(pseudo_label))[some]), pseudo_label[some])
        return score

    return make


@pytest.fixture(scope="session", params=sorted(SCORES))
def each_score(request: pytest.FixtureRequest, fitted: Callable[..., OutlierScore]) -> OutlierScore:
    """Every score, fitted."""
    return fitted(request.param)
