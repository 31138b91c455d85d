from collections.abc import Collection
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from envise_tf.errors import UserError
from envise_tf.images.digits import Digits
from envise_tf.images.halves import is_in_part
from envise_tf.images.phases import Phase, PhasedFrames, load_phases
from envise_tf.images.source import fingerprint
from envise_tf.images.tfds import TensorFlowDataset

pytestmark = pytest.mark.slow

CLASSES = ("apple", "bus", "cat", "dog", "elm", "pear")
DIGITS = Digits()
LOW, HIGH = {0: 0.5, 1: 0.3, 2: 0.2}, {5: 0.25, 6: 0.25, 9: 0.5}


def phased(*phases: Phase, seed=3, protocol="disjoint") -> PhasedFrames:
    return PhasedFrames(DIGITS, phases, protocol, seed)


@pytest.fixture(scope="module")
def three() -> PhasedFrames:
    """Phases of no whole batches; the second is gradual and the third longer than a pass."""
    return phased(Phase("low", 101, LOW), Phase("high", 90, HIGH, change=50), Phase("low", 230, LOW))


@pytest.fixture(scope="module")
def full(three) -> list[tuple[int, int, int, bytes]]:
    return rows(three)


def rows(frames: PhasedFrames, first: int = 0, batch_size: int = 32) -> list[tuple[int, int, int, bytes]]:
    """Number, truth, phase and pixels of each image."""
    return [
        (int(number), int(truth), int(phase), image.tobytes())
        for batch in frames.batches(first, batch_size)
        for number, truth, phase, image in zip(batch.numbers, batch.truth, batch.phase, batch.images, strict=True)
    ]


def truths(frames: PhasedFrames) -> np.ndarray:
    return np.concatenate([batch.truth for batch in frames.batches(0, 64)])


def part(name: str, labels: Collection[int] = range(10)) -> dict[bytes, int]:
    """Pixels -> label of a part of the digits."""
    examples = DIGITS.examples("train", labels).batch(2000).get_single_element()
    images, truth = examples["image"].numpy(), examples["label"].numpy()
    chosen = is_in_part(examples["fingerprint"], name, "disjoint").numpy()
    return {images[i].tobytes(): int(truth[i]) for i in np.flatnonzero(chosen)}


# The phase file.


def write(folder: Path, text: str, name: str = "phases.yaml") -> str:
    path = folder / name
    path.write_text(text)
    return str(path)


def phase_file(folder: Path, *entries: str) -> str:
    return write(folder, "phases:\n" + "".join(f"  - {entry}\n" for entry in entries))


def farm(folder: Path, outlier="[cat, dog]") -> str:
    fields = f"source: farm\nreason: Because.\ninlier: [elm, apple, bus]\noutlier: {outlier}\n"
    return write(folder, fields, "farm.yaml")


def message(path: str, classes=CLASSES) -> str:
    with pytest.raises(UserError) as caught:
        load_phases(path, classes)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_outliers_and_inliers_each_share_theirs_evenly(tmp_path):
    farm(tmp_path)
    path = phase_file(tmp_path, "{scenario: farm.yaml, images: 70, outliers: 0.1}", "{scenario: farm.yaml, images: 5}")
    first, second = load_phases(path, CLASSES)
    assert (first.name, first.images, first.change) == ("farm", 70, 0)
    assert first.shares == pytest.approx({0: 0.3, 1: 0.3, 4: 0.3, 2: 0.05, 3: 0.05})
    assert second.shares == pytest.approx({0: 1 / 3, 1: 1 / 3, 4: 1 / 3})


def test_a_phase_may_show_outliers_alone(tmp_path):
    farm(tmp_path)
    (phase,) = load_phases(phase_file(tmp_path, "{scenario: farm.yaml, images: 70, outliers: 1}"), CLASSES)
    assert phase.shares == {2: 0.5, 3: 0.5}


def test_a_prior_is_named_by_its_classes_and_divided_by_its_sum(tmp_path):
    entries = ("{prior: {pear: 30, apple: 70}, images: 9}", "{prior: {cat: 1, dog: 1, bus: 2, elm: 4}, images: 9}")
    first, second = load_phases(phase_file(tmp_path, *entries), CLASSES)
    assert first == Phase("apple, pear", 9, {5: 0.3, 0: 0.7})
    assert second == Phase("elm, bus, cat and 1 more", 9, {2: 0.125, 3: 0.125, 1: 0.25, 4: 0.5})


def test_a_change_is_read(tmp_path):
    entry = "{prior: {bus: 1}, images: 9, change: 9}"
    assert load_phases(phase_file(tmp_path, "{prior: {cat: 1}, images: 4}", entry), CLASSES)[1].change == 9


def test_shipped_scenarios_go_by_name(tmp_path):
    path = phase_file(tmp_path, "{scenario: digits, images: 70, outliers: 0.3}")
    (phase,) = load_phases(path, DIGITS.class_names)
    assert phase.name == "digits"
    assert phase.shares == pytest.approx(dict.fromkeys(range(10), 0.1))


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ("{prior: {cat: 1}, image: 4}", "phase 2 of 2: unknown key 'image'; nearest: images"),
        ("{prior: {cat: 1}}", "images missing, expected the keys images and either scenario or prior"),
        ("{images: 4}", "neither scenario nor prior given, expected one of them"),
        ("{images: 4, prior: {cat: 1}, scenario: farm.yaml}", "both scenario and prior given"),
        ("{images: 0, prior: {cat: 1}}", "images is 0, expected a whole number of at least 1"),
        ("{images: 2.5, prior: {cat: 1}}", "images is 2.5, expected a whole number"),
        ("{images: true, prior: {cat: 1}}", "images is True, expected a whole number"),
        ("{images: 4, prior: {cat: 1}, change: -1}", "change is -1, expected a whole number of at least 0"),
        ("{images: 4, prior: {cat: 1}, change: 5}", "change is 5, expected at most its 4 images"),
        ("{images: 4, prior: {cat: 1}, outliers: 0}", "outliers given with prior"),
        ("{images: 4, scenario: farm.yaml, outliers: 1.1}", "outliers is 1.1, expected a share of 0..1"),
        ("{images: 4, scenario: farm.yaml, outliers: -0.1}", "outliers is -0.1, expected a share"),
        ("{images: 4, scenario: farm.yaml, outliers: .nan}", "outliers is nan, expected a share"),
        ("{images: 4, scenario: farm.yaml, outliers: few}", "outliers is 'few', expected a share"),
        ("{images: 4, scenario: 3}", "scenario is 3, expected a name or the path"),
        ("{images: 4, scenario: digit}", "no scenario is called digit"),
        ("{images: 4, scenario: nowhere.yaml}", "cannot read the scenario "),
        ("{images: 4, prior: {dogs: 1}}", "prior names 'dogs', no class here; nearest: dog"),
        ("{images: 4, prior: {no: 1}}", "prior names 'False', no class here"),
        ("{images: 4, prior: {cat: 0}}", "prior.cat is 0, expected a number above 0"),
        ("{images: 4, prior: {cat: .inf}}", "prior.cat is inf, expected"),
        ("{images: 4, prior: {cat: true}}", "prior.cat is True, expected"),
        ("{images: 4, prior: {}}", "prior is {}, expected the share of each class"),
        ("{images: 4, prior: [cat]}", "prior is ['cat'], expected the share of each class"),
        ("zoo", "'zoo', expected the keys images and either scenario or prior"),
    ],
)
def test_a_wrong_phase_is_a_user_error(tmp_path, entry, told):
    farm(tmp_path)
    assert told in message(phase_file(tmp_path, "{prior: {apple: 1}, images: 9}", entry))


def test_the_first_phase_has_nothing_to_change_from(tmp_path):
    told = message(phase_file(tmp_path, "{prior: {apple: 1}, images: 9, change: 4}"))
    assert "phase 1 of 1: change 4 given, but there is no prior before it" in told


def test_a_scenario_without_outliers_cannot_show_them(tmp_path):
    farm(tmp_path, outlier="[]")
    assert "scenario farm has none; drop the key" in message(
        phase_file(tmp_path, "{scenario: farm.yaml, images: 4, outliers: 0.1}")
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("phases: [", "is not YAML"),
        ("phases: []", "phases is [], expected a list of at least one phase"),
        ("phases: zoo", "phases is 'zoo', expected a list"),
        ("- a\n", "['a'], expected a list of phases under the key 'phases'"),
        ("", "None, expected a list of phases"),
        ("phases: []\nphase: 1\n", "unknown key 'phase'; nearest: phases"),
    ],
)
def test_what_is_no_phase_file_is_a_user_error(tmp_path, text, told):
    assert told in message(write(tmp_path, text))


def test_a_file_that_cannot_be_read_is_a_user_error(tmp_path):
    assert "cannot read the phase file" in message(str(tmp_path / "nowhere.yaml"))
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\xfa")
    assert "not UTF-8" in message(str(tmp_path / "binary.yaml"))


def test_unlabelled_images_have_no_phases(tmp_path):
    assert "choose a labelled source" in message(phase_file(tmp_path, "{prior: {cat: 1}, images: 4}"), ())


# The stream.


def test_the_phases_follow_each_other_and_nothing_is_lost(three, full):
    assert three.length == 421
    assert three.phase_starts == (0, 101, 191)
    assert three.phase_names == ("low", "high", "low")
    assert (three.name, three.class_names, three.size) == ("digits", DIGITS.class_names, 32)
    assert [number for number, *_ in full] == list(range(421))
    assert [phase for _, _, phase, _ in full] == [0] * 101 + [1] * 90 + [2] * 230


def test_batches_cross_the_borders_of_phases(three):
    batches = list(three.batches(160, 32))
    assert [len(batch.numbers) for batch in batches] == [32] * 8 + [5]
    assert batches[0].phase.tolist() == [1] * 31 + [2]
    for column in (batches[0].numbers, batches[0].truth, batches[0].phase):
        assert column.dtype == np.int64
    assert batches[0].images.dtype == np.uint8
    assert batches[0].images.shape == (32, 32, 32, 3)


@pytest.mark.parametrize("first", [1, 101, 130, 191, 300, 421, 999])
def test_a_stream_goes_on_from_any_position(three, full, first):
    tf.keras.utils.set_random_seed(first)  # as a training may, which is none of the stream's business
    assert rows(three, first, 50) == full[first:]


def test_another_seed_gives_another_stream(three, full):
    other = next(phased(*three.phases, seed=4).batches(0, 50))
    assert [image.tobytes() for image in other.images] != [row[3] for row in full[:50]]


def test_earlier_phases_are_not_read():
    asked = []

    class Asked(Digits):
        def examples(self, split, labels=None):
            asked.append(tuple(labels))
            return super().examples(split, labels)

    frames = PhasedFrames(Asked(), [Phase("low", 60, LOW), Phase("high", 60, HIGH)], "disjoint", 0)
    asked.clear()
    assert len(rows(frames, 70)) == 50
    assert set(asked) == {tuple(HIGH)}


def test_another_phase_of_the_same_prior_draws_anew(full):
    assert [row[3] for row in full[:101]] != [row[3] for row in full[191:292]]


def test_each_image_comes_with_its_label_and_the_teacher_has_seen_none(full):
    unseen, taught = part("unseen"), part("teacher")
    assert all(unseen[pixels] == truth for _, truth, _, pixels in full)
    assert not {pixels for *_, pixels in full} & taught.keys()


def test_what_is_unseen_is_stream_and_held_back_together():
    assert part("unseen").keys() == part("stream").keys() | part("held_back").keys()
    prints = tf.constant(np.random.default_rng(0).integers(0, 2**62, 1000))
    of_teacher = is_in_part(prints, "teacher", "disjoint") | is_in_part(prints, "calibration", "disjoint")
    np.testing.assert_array_equal(is_in_part(prints, "unseen", "disjoint"), ~of_teacher)
    assert is_in_part(prints, "unseen", "shared").numpy().all()


def test_the_prior_is_followed():
    shares = {0: 0.4, 1: 0.2, 2: 0.1, 3: 0.1, 4: 0.1, 5: 0.1}
    # Shorter than a pass, so that no image comes twice; some phases in place of a long one.
    frames = phased(*[Phase("all", 150, shares)] * 2)
    assert min(frames.distinct) > 150
    counts = np.bincount(truths(frames), minlength=10)
    assert counts[6:].sum() == 0
    assert stats.chisquare(counts[:6], 300 * np.array(list(shares.values()))).pvalue > 0.001


def test_an_image_comes_once_before_any_comes_again():
    known = part("unseen", {5})
    (count,) = phased(Phase("five", 1, {5: 1.0})).distinct
    assert count == len(known)
    shown = [pixels for *_, pixels in rows(phased(Phase("five", 2 * count, {5: 1.0})))]
    assert set(shown[:count]) == set(shown[count:]) == known.keys()


def test_distinct_is_the_length_of_a_thinned_pass():
    """Three labels, of which the prior keeps all images of the scarcest."""
    counts = np.bincount(list(part("unseen").values()), minlength=10)
    frames = phased(Phase("thin", 600, {1: 0.8, 2: 0.15, 3: 0.05}))
    assert frames.distinct == (int(counts[1] / 0.8),)
    shown = {pixels for *_, pixels in rows(frames)}
    kept = np.array([0.15 / 0.8 * counts[1] / counts[2], 0.05 / 0.8 * counts[1] / counts[3]])
    deviation = np.sqrt((counts[2:4] * kept * (1 - kept)).sum())
    assert abs(len(shown) - frames.distinct[0]) <= 4 * deviation + 1


def test_an_abrupt_change_is_exact(full):
    truth = [row[1] for row in full]
    assert set(truth[:101]) == set(LOW)
    assert set(truth[151:191]) == set(HIGH)
    assert set(truth[101:151]) == set(LOW) | set(HIGH)  # the gradual one between them
    assert set(truth[191:]) == set(LOW)


def test_a_gradual_change_rises_in_a_straight_line():
    length, blocks = 400, 5
    gradual = (Phase("high", 410, HIGH, length), Phase("low", 410, LOW, length))
    of = truths(phased(Phase("low", 10, LOW), *gradual))[10:].reshape(2, 410)
    is_new = np.stack([np.isin(of[0], list(HIGH)), np.isin(of[1], list(LOW))])
    assert is_new[:, length:].all()
    chance = (np.arange(length) + 1) / (length + 1)
    counts = is_new[:, :length].reshape(2, blocks, -1).sum((0, 2))
    expected = 2 * chance.reshape(blocks, -1).sum(1)
    deviation = np.sqrt(2 * (chance * (1 - chance)).reshape(blocks, -1).sum(1))
    np.testing.assert_array_less(np.abs(counts - expected), 4 * deviation)
    assert (np.diff(counts) > 0).all()
    assert (is_new[0] != is_new[1]).any()  # each phase by draws of its own


def test_a_class_that_the_teacher_has_seen_all_of_is_a_user_error_before_anything_is_drawn():
    class NoFive(Digits):
        def examples(self, split, labels=None):
            return super().examples(split, labels).filter(lambda example: example["label"] != 5)

    with pytest.raises(UserError, match="digits has no images of five that the teacher has not seen: drop them"):
        PhasedFrames(NoFive(), [Phase("high", 10, HIGH)], "disjoint", 0)


def test_the_zoo_of_cifar100_has_its_outliers_and_none_of_the_teachers_images(tmp_path, tfds_dir):
    source = TensorFlowDataset("cifar100", tfds_dir)
    path = phase_file(tmp_path, "{scenario: cifar100-zoo, images: 2000, outliers: 0.05}")
    frames = PhasedFrames(source, load_phases(path, source.class_names), "disjoint", 0)
    shares = frames.phases[0].shares
    assert (len(shares), frames.phase_names) == (30, ("cifar100-zoo",))
    batches = list(frames.batches(0, 64))
    truth = np.concatenate([batch.truth for batch in batches])
    images = np.concatenate([batch.images for batch in batches])
    assert len(truth) == 2000 < 4000 < frames.distinct[0] < 6000
    outliers = np.isin(truth, [label for label, share in shares.items() if share < 0.01]).mean()
    assert abs(outliers - 0.05) < 4 * np.sqrt(0.05 * 0.95 / 2000)
    shown = tf.data.Dataset.from_tensor_slices(images).map(fingerprint).batch(2000).get_single_element().numpy()
    known = (
        source.examples("train", shares).map(lambda example: (example["fingerprint"], example["label"])).batch(20000)
    )
    prints, labels = known.get_single_element()
    assert is_in_part(tf.constant(shown), "unseen", "disjoint").numpy().all()
    assert len(set(shown)) == 2000
    expected = dict(zip(prints.numpy(), labels.numpy(), strict=True))
    assert [expected[key] for key in shown] == truth.tolist()


def test_the_shipped_phase_files_fit_their_sources(tfds_dir):
    cifar = TensorFlowDataset("cifar100", tfds_dir)
    assert [phase.name for phase in load_phases("cifar100-four", cifar.class_names)] == [
        "cifar100-zoo",
        "cifar100-street",
        "cifar100-zoo",
        "cifar100-household",
    ]
    with pytest.raises(UserError, match=r"no phase file is called cifar100-fuor: .* nearest: cifar100-four"):
        load_phases("cifar100-fuor", cifar.class_names)
