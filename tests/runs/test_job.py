"""The parts of a stream, as a run is given them: what trains, what chooses and what promises."""

import numpy as np
import pytest
import tensorflow as tf
from made_run import made_settings

from envise_tf.images.digits import Digits
from envise_tf.images.halves import is_in_part
from envise_tf.images.windows import Augmentation
from envise_tf.runs.job import Job, found_job

pytestmark = pytest.mark.slow


def pixels(batches: tf.data.Dataset) -> list[bytes]:
    return [image.tobytes() for batch in batches.as_numpy_iterator() for image in batch]


def known(part: str, protocol: str = "disjoint") -> dict[bytes, int]:
    examples = Digits().examples("train", range(7)).batch(2000).get_single_element()
    chosen = is_in_part(examples["fingerprint"], part, protocol).numpy()
    labels = examples["label"].numpy()[chosen]
    return dict(zip((image.tobytes() for image in examples["image"].numpy()[chosen]), labels.tolist(), strict=True))


def job(tmp_path, **changes) -> Job:
    return found_job(made_settings(tmp_path / "run", **changes))


def test_an_image_has_one_use(tmp_path):
    of = job(tmp_path, window=1024)
    trained = set(pixels(of.stream.batches(Augmentation()).take(of.stream.batches_a_window)))
    choosing, promising = pixels(of.choosing_images(32)), pixels(of.promising_images(32))
    assert choosing == list(known("choosing"))
    assert promising == list(known("promising"))
    assert not trained & {*choosing, *promising}
    assert not set(choosing) & set(promising)


@pytest.mark.parametrize(("held_back", "choosing", "promising"), [(60, 20, 40), (61, 21, 40), (2, 1, 1)])
def test_a_third_of_the_most_held_back_images_chooses(tmp_path, held_back, choosing, promising):
    of = job(tmp_path, held_back=held_back, protocol="shared")
    assert pixels(of.choosing_images(16)) == list(known("choosing", "shared"))[:choosing]
    assert pixels(of.promising_images(16)) == list(known("promising", "shared"))[:promising]


def test_the_images_of_the_promise_have_the_prior_of_the_stream(tmp_path):
    prior = {"zero": 0.8, "one": 0.1, "two": 0.1}
    label_of, labels = known("held_back", "shared"), []
    for seed in range(3):
        of = job(tmp_path, prior=prior, protocol="shared", seed=seed)
        labels += [label_of[image] for image in pixels(of.promising_images(64))]
    shares = np.bincount(labels, minlength=3) / len(labels)
    deviation = np.sqrt(0.8 * 0.2 / len(labels))
    assert shares[0] == pytest.approx(0.8, abs=4 * deviation)  # a third without the prior
    assert set(labels) == {0, 1, 2}
