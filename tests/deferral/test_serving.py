"""A serving student: when an earlier one fits a stream, and that it comes back from a snapshot as it was."""

from collections.abc import Sequence

import numpy as np
import pytest
from cells import CLASSES, cell_network, images_of

from envise_tf.deferral.serving import ScoredStudent, ServingStudent, Shown
from envise_tf.prior.adaptation import unadapted
from envise_tf.stream.store import read_tree, write_tree

KNOWN = np.array([0, 1, 2, 3, 4])
MOSTLY_KNOWN = [0, 1, 2, 3, 4] * 8 + [7]
ADAPTATION = unadapted(CLASSES)


def shown(classes: Sequence[int], count: int, seed: int) -> Shown:
    """Images of these classes, as a teacher that is right and sure sees them."""
    labels = np.random.default_rng(seed).choice(classes, count)
    return Shown(images_of(labels, seed), 20 * np.eye(CLASSES, dtype=np.float32)[labels])


def made(classes: Sequence[int] = MOSTLY_KNOWN, epsilon: float = 0.05, delta: float = 0.05, images: int = 300):
    choosing, promising = shown(classes, images, 100), shown(classes, images, 101)
    scored = ScoredStudent.fitted(cell_network(KNOWN), KNOWN, choosing)
    options = {"epsilon": epsilon, "confidence": 0.95}
    return scored.serving("risk", options, scored.seen(choosing), scored.seen(promising), delta, ADAPTATION)


@pytest.fixture(scope="module")
def student() -> ServingStudent:
    """Its threshold was chosen on a stream of the classes that it knows, and a few others."""
    return made()


def test_its_threshold_answers_what_it_knows(student):
    known = shown([0, 1, 2, 3, 4], 300, seed=1)
    said = student.said(known.images)
    assert said.deferred.mean() < 0.1
    np.testing.assert_array_equal(student.classes[said.own_class], known.teacher_class)
    foreign = shown([5, 6, 8, 9], 300, seed=2)
    assert student.said(foreign.images).deferred.mean() > 2 * said.deferred.mean()


def test_it_fits_the_stream_that_it_was_made_for_and_no_other(student):
    fits = [student.fits(shown(MOSTLY_KNOWN, 128, seed)) for seed in range(20)]
    assert np.mean(fits) >= 0.9
    assert not any(student.fits(shown([5, 6, 7, 8, 9], 128, seed)) for seed in range(20))
    assert not any(student.fits(shown([0, 1, 7, 8], 128, seed)) for seed in range(20))


def test_calibration_images_are_outscored_by_half_of_them(student):
    share = student.outscored(student.said(shown(MOSTLY_KNOWN, 600, seed=3).images).score)
    assert 0 <= share.min() <= share.max() <= 1
    assert share.mean() == pytest.approx(0.5, abs=0.08)
    assert student.outscored(np.array([-np.inf, np.inf], np.float32)).tolist() == [1, 0]


def test_a_try_that_may_spend_less_asks_for_more_and_promises_the_same():
    """440 images without disagreement promise 1 % with confidence 95 % (299 would do), but not with 99 % (459)."""
    one, other = (made(KNOWN, 0.01, delta, images=440) for delta in (0.05, 0.01))
    assert one.threshold.why_all_deferred is None
    assert "confidence 95 %" in one.threshold.promise
    assert "confidence 99 %" in str(other.threshold.why_all_deferred)
    assert other.threshold.options == one.threshold.options == {"epsilon": 0.01, "confidence": 0.95}


def test_one_image_of_each_use_is_enough_to_say_that_there_is_no_promise():
    student = made(KNOWN, images=1)
    assert "with confidence 95 %; about 59 such images would" in str(student.threshold.why_all_deferred)
    assert student.said(shown(KNOWN, 10, 0).images).deferred.all()
    assert student.outscored(np.zeros(1, np.float32)).shape == (1,)


def test_it_comes_back_from_a_snapshot(student, tmp_path):
    write_tree(tmp_path / "student.npz", student.snapshot())
    copy = ServingStudent.restored(
        read_tree(tmp_path / "student.npz"), lambda classes: cell_network(range(classes), scale=0.0)
    )
    seen = shown(list(range(10)), 100, seed=4)
    for one, other in zip(vars(student.said(seen.images)).values(), vars(copy.said(seen.images)).values(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert copy.fits(seen) == student.fits(seen)
    assert copy.adaptation.as_dict() == ADAPTATION.as_dict()


def test_what_it_said_is_compared_with_the_teacher_by_agreement_and_regret(student):
    seen = shown(list(range(10)), 200, seed=5)
    said, chosen = student.said(seen.images), np.arange(200) % 3 == 0
    compared = student.compared(said, seen.logits[chosen], chosen)
    agrees = student.classes[said.own_class] == seen.teacher_class
    np.testing.assert_array_equal(compared.agrees, agrees[chosen])
    np.testing.assert_allclose(compared.regret, ~agrees[chosen], atol=1e-6)  # the teacher is sure
