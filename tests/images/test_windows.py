import functools
import itertools
from collections.abc import Collection

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from envise_tf.errors import UserError
from envise_tf.images.digits import Digits
from envise_tf.images.halves import is_in_part
from envise_tf.images.windows import Augmentation, Stream, photographs

pytestmark = pytest.mark.slow

NONE = Augmentation()
EVERY = Augmentation(flip=True, shift=0.1, cutout=0.25)
DIGITS = Digits()


@pytest.fixture(autouse=True)
def _seeded_as_a_training():
    tf.keras.utils.set_random_seed(1)


def stream(**changes) -> Stream:
    chosen = {"part": "stream", "protocol": "disjoint", "labels": None, "prior": None}
    return Stream(**({"source": DIGITS, **chosen, "window": 100, "batch_size": 25, "seed": 3} | changes))


def images(of: Stream, windows: int = 1, augmentation=NONE, first_window: int = 0) -> np.ndarray:
    batches = of.batches(augmentation, first_window).take(windows * of.batches_a_window)
    return np.concatenate(list(batches.as_numpy_iterator()))


def labels(of: Stream, windows: int) -> np.ndarray:
    batches = of.labelled_batches(NONE).take(windows * of.batches_a_window)
    return np.concatenate([batch for _, batch in batches.as_numpy_iterator()])


def pixels(batch: np.ndarray) -> set[bytes]:
    return {image.tobytes() for image in batch}


@functools.cache
def every_example() -> dict[str, np.ndarray]:
    return {key: each.numpy() for key, each in DIGITS.examples("train").batch(2000).get_single_element().items()}


def part(name: str, protocol: str = "disjoint", wanted: Collection[int] = range(10)) -> dict[bytes, int]:
    """Pixels -> label of a part, without a stream."""
    every = every_example()
    chosen = is_in_part(tf.constant(every["fingerprint"]), name, protocol).numpy() & np.isin(every["label"], [*wanted])
    return {every["image"][i].tobytes(): int(every["label"][i]) for i in np.flatnonzero(chosen)}


@pytest.mark.parametrize("prior", [None, {0: 0.7, 1: 0.2, 2: 0.1}], ids=["own prior", "given prior"])
def test_a_resumed_stream_goes_on_with_the_same_pixels(prior):
    # A window of 110 in batches of 25 ends amid a batch; labels 0 to 2 have fewer images than a window.
    of = stream(window=110, labels=(0, 1, 2), prior=prior)
    whole = images(of, 3, EVERY)
    assert len(whole) == 300
    tf.keras.utils.set_random_seed(1)
    np.testing.assert_array_equal(images(stream(window=110, labels=(0, 1, 2), prior=prior), 1, EVERY, 2), whole[200:])


def test_two_iterators_over_one_dataset_see_the_same():
    batches = stream().batches(EVERY).take(4)
    for first, second in zip(batches, batches, strict=True):
        np.testing.assert_array_equal(first, second)


def test_the_seed_and_the_window_decide():
    two = images(stream(), 2)
    assert (two[:100] != two[100:]).any()
    assert (images(stream(seed=4)) != two[:100]).any()


def test_the_augmentation_differs_between_windows_batches_and_seeds():
    # One image again and again: what differs is the augmentation.
    of = stream(source=_One(), protocol="shared", part="unseen", batch_size=50)
    shown = images(of, 2, Augmentation(cutout=0.5)).reshape(4, 50, 32, 32, 3)
    for one, other in itertools.combinations(shown, 2):
        assert (one != other).any()
    other_seed = stream(source=_One(), protocol="shared", part="unseen", batch_size=50, seed=4)
    assert (images(other_seed, 1, Augmentation(cutout=0.5))[:50] != shown[0]).any()


def test_without_augmentation_the_images_are_those_of_the_part():
    assert pixels(images(stream(), 2)) <= part("stream").keys()


def test_an_image_comes_once_before_any_comes_again():
    known = part("stream", wanted={5})
    shown = images(stream(labels=(5,), window=2 * len(known), batch_size=len(known)))
    first, again = shown[: len(known)], shown[len(known) :]
    assert pixels(first) == pixels(again) == known.keys()
    assert (first != again).any()  # each pass in an order of its own


def test_only_the_labels_asked_for_come_and_each_with_its_image():
    of = stream(labels=(2, 8))
    known = part("stream", wanted={2, 8})
    for batch, told in of.labelled_batches(NONE).take(8).as_numpy_iterator():
        assert told.dtype == np.int64
        assert [known[image.tobytes()] for image in batch] == told.tolist()
    assert set(labels(of, 2)) == {2, 8}


@pytest.mark.parametrize("prior", [{0: 0.7, 1: 0.2, 2: 0.1}, {0: 0.1, 1: 0.1, 2: 0.8}])
def test_the_prior_is_followed(prior):
    # A window is shorter than what its thinned pass keeps (about 70), so that it shows no image twice.
    windows = 12
    counts = np.bincount(labels(stream(labels=(0, 1, 2), prior=prior, window=60, batch_size=20), windows), minlength=3)
    wanted = np.array(list(prior.values()))
    deviation = np.sqrt(wanted * (1 - wanted) / (60 * windows))
    np.testing.assert_array_less(np.abs(counts / counts.sum() - wanted), 4 * deviation)


def test_a_label_of_prior_zero_stays_away():
    assert set(labels(stream(labels=(0, 1, 2), prior={0: 0.5, 1: 0.5, 2: 0.0}), 3)) == {0, 1}


def test_each_window_draws_its_images_anew_to_follow_the_prior():
    of = stream(labels=(0, 1), prior={0: 0.95, 1: 0.05}, window=50, batch_size=50)
    ones = part("stream", wanted={1}).keys()
    shown = [pixels(window) & ones for window in images(of, 6).reshape(6, 50, 32, 32, 3)]
    assert len(set.union(*shown)) > max(len(window) for window in shown)


def test_a_label_without_images_cannot_have_a_share():
    with pytest.raises(UserError, match="digits has no stream images of five: drop them"):
        stream(labels=(0, 1), prior={0: 0.5, 5: 0.5}).batches(NONE)


@pytest.mark.parametrize("prior", [None, {0: 1.0}])
def test_a_stream_without_any_image_is_a_user_error_rather_than_endless(prior):
    with pytest.raises(UserError, match="digits has no held_back images of the classes asked for"):
        stream(part="held_back", labels=(), prior=prior).batches(NONE)


def test_teacher_and_stream_share_no_image_and_what_is_held_back_never_streams():
    # A window longer than either part, so that every image of it comes.
    seen = {name: pixels(images(stream(part=name, window=800))) for name in ("teacher", "stream")}
    held_back = pixels(np.concatenate(list(stream(part="held_back").images().as_numpy_iterator())))
    assert seen["teacher"] == part("teacher").keys()
    assert seen["stream"] == part("stream").keys()
    assert held_back == part("held_back").keys()
    assert not seen["teacher"] & seen["stream"]
    assert not held_back & (seen["teacher"] | seen["stream"])


def test_under_the_protocol_shared_all_images_are_seen_but_what_is_held_back_never_streams():
    streamed = images(stream(protocol="shared", window=1200))
    held_back = np.concatenate(list(stream(protocol="shared", part="held_back").images().as_numpy_iterator()))
    assert pixels(streamed) == part("stream", "shared").keys()
    everything = part("teacher", "shared").keys() | part("calibration", "shared").keys()
    assert everything == pixels(streamed) | pixels(held_back)
    assert not pixels(streamed) & pixels(held_back)


def test_images_are_one_pass_in_the_order_of_the_source():
    of = stream(part="held_back", batch_size=64)
    batches = list(of.images().as_numpy_iterator())
    expected = list(part("held_back"))
    assert [image.tobytes() for image in np.concatenate(batches)] == expected
    assert [len(batch) for batch in batches] == [64] * (len(expected) // 64) + [len(expected) % 64]


def held_back_labels(prior: dict[int, float], name: str = "held_back", seed: int = 3) -> np.ndarray:
    """The labels of what `images` shows of a part at a prior, looked up by their pixels."""
    known = part(name, "shared")
    of = stream(part=name, protocol="shared", labels=tuple(prior), prior=prior, seed=seed)
    return np.array([known[image.tobytes()] for batch in of.images().as_numpy_iterator() for image in batch])


@pytest.mark.parametrize("prior", [{0: 0.7, 1: 0.2, 2: 0.1}, {0: 0.1, 1: 0.1, 2: 0.8}])
def test_held_back_images_have_the_prior_of_the_stream(prior):
    shown = np.concatenate([held_back_labels(prior, seed=seed) for seed in range(4)])
    counts, wanted = np.bincount(shown, minlength=3), np.array(list(prior.values()))
    # Each image is kept with wanted / its label's count, over the largest such ratio.
    unseen = np.array([list(part("unseen", "shared", {label}).values()).count(label) for label in range(3)])
    ratio = wanted / unseen
    own = np.array([len(part("held_back", "shared", {label})) for label in range(3)])
    expected = 4 * own * ratio / ratio.max()
    deviation = np.sqrt(expected * (1 - ratio / ratio.max())) + 1e-9
    np.testing.assert_array_less(np.abs(counts - expected), 4 * deviation + 1e-6)


def test_held_back_images_are_kept_or_not_by_themselves():
    prior = {0: 0.7, 1: 0.2, 2: 0.1}
    of = {name: stream(part=name, labels=(0, 1, 2), prior=prior) for name in ("held_back", "choosing", "promising")}
    shown = {name: pixels(np.concatenate(list(of[name].images().as_numpy_iterator()))) for name in of}
    assert shown["held_back"] == shown["choosing"] | shown["promising"]
    assert not shown["choosing"] & shown["promising"]
    assert shown["held_back"] < part("held_back", wanted={0, 1, 2}).keys()


def test_a_small_part_may_lack_a_class_of_the_prior():
    everything = dict.fromkeys(range(10), 0.1)
    shown = held_back_labels({**everything, 9: 1e-6}, "choosing")
    assert set(range(8)) <= set(shown)
    assert 9 not in shown


def test_a_stream_carries_images_alone():
    spec = tf.TensorSpec((25, 32, 32, 3), tf.uint8)
    assert stream().batches(EVERY).element_spec.is_compatible_with(spec)
    assert stream().images().element_spec.is_compatible_with(spec)
    assert isinstance(stream().batches(EVERY).element_spec, tf.TensorSpec)
    assert isinstance(stream().images().element_spec, tf.TensorSpec)


def test_a_batch_may_be_larger_than_the_part():
    known = part("stream", wanted={0})
    of = stream(labels=(0,), window=3 * len(known), batch_size=2 * len(known))
    assert of.batches_a_window == 1
    shown = images(of)
    assert len(shown) == 2 * len(known)
    assert pixels(shown) == known.keys()


class _One(Digits):
    """The first digit alone."""

    def examples(self, split, labels=None):
        return super().examples(split, labels).take(1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> str:
    """Forty photographs of one colour each, the colour being their number."""
    path = tmp_path_factory.mktemp("photographs")
    for number in range(40):
        Image.new("RGB", (6, 4), (number, 0, 0)).save(path / f"{number}.png")
    return str(path)


def numbers(batches: tf.data.Dataset) -> list[int]:
    return [int(image[0, 0, 0]) for batch in batches.as_numpy_iterator() for image in batch]


def test_photographs_are_unlabelled_batches_in_three_parts(folder):
    parts = photographs(folder, 4, batch_size=16)
    for batches in parts:
        assert batches.element_spec == tf.TensorSpec((None, 4, 4, 3), tf.uint8)
    stream, choosing, promising = map(numbers, parts)
    assert sorted(stream + choosing + promising) == list(range(40))
    assert 0 < len(choosing) < len(promising) < len(stream)


def test_photographs_stream_in_another_order_at_each_pass_and_are_held_back_in_one(folder):
    parts = photographs(folder, 4)
    first, second = numbers(parts.stream), numbers(parts.stream)
    assert first != second
    assert sorted(first) == sorted(second)
    assert numbers(photographs(folder, 4).stream) == first
    assert numbers(photographs(folder, 4, seed=1).stream) != first
    assert numbers(parts.promising) == numbers(parts.promising)


def test_a_folder_without_images_for_the_stream_is_a_user_error(tmp_path):
    with pytest.raises(UserError, match="holds no JPEG, PNG or WebP file"):
        photographs(str(tmp_path), 4)
