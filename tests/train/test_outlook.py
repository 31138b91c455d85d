"""What is said before a training: by hand, and of networks whose work and bytes are counted elsewhere."""

import numpy as np
import pytest

from envise_tf.errors import UserError
from envise_tf.images.halves import is_in_part
from envise_tf.networks.macs import LayerMacs, Macs, macs
from envise_tf.networks.students import residual_student, stored_bytes
from envise_tf.networks.teachers import wide_resnet
from envise_tf.train.outlook import PairOutlook, PromiseOutlook


def work(float_macs: int, binary_macs: int = 0) -> Macs:
    return Macs((LayerMacs("layer", "Conv2D", float_macs, binary_macs),))


def test_a_pair_by_hand():
    pair = PairOutlook(work(2_000_000, 64_000_000), work(100_000_000), 90_000, 2_840_000)
    assert pair.most_gie == pytest.approx(0.97)  # 64 M binary ones are worth 1 M
    assert pair.lines() == [
        "student: 66.0 M (64.0 M of them binary) multiply-accumulates an image, 90 kB of weights",
        "teacher: 100.0 M multiply-accumulates an image, 2,840 kB of weights",
        "this pair saves at most 97 % of the teacher's work (GiE), if nothing is deferred",
    ]


def test_a_student_that_takes_much_of_the_teachers_work_is_warned_of():
    dear = PairOutlook(work(46), work(100), 1, 1)
    assert "the student takes 46 % of the teacher's work, so this pair can hardly pay" in dear.lines()[-1]
    assert PairOutlook(work(26), work(100), 1, 1).is_dear
    assert not PairOutlook(work(24), work(100), 1, 1).is_dear


@pytest.mark.slow
def test_networks_are_counted():
    student, teacher = residual_student(32, 5, (32, 64), (1, 1)), wide_resnet(32, 10, depth=10, width=1)
    pair = PairOutlook.of(student, teacher)
    assert (pair.student, pair.teacher) == (macs(student), macs(teacher))
    assert pair.teacher_bytes == 4 * teacher.count_params()
    binary = 3 * 3 * (32 * 32 + 32 * 64)
    assert pair.student_bytes == 4 * (student.count_params() - binary) + binary / 8
    twin = residual_student(32, 5, (32, 64), (1, 1), binary=False)
    assert stored_bytes(twin) == 4 * twin.count_params()


@pytest.mark.parametrize(("protocol", "own"), [("disjoint", 15_000), ("shared", 30_000)])
def test_images_of_the_promise_are_as_many_as_the_halves_give(protocol, own):
    fingerprints = np.random.default_rng(0).integers(0, 2**62, 30_000)
    promising = int(np.sum(is_in_part(fingerprints, "promising", protocol)))
    found = PromiseOutlook.of(30_000, protocol, held_back=100_000, epsilon=0.01)
    assert found.images == own
    assert found.promising == pytest.approx(promising, rel=0.05)
    assert PromiseOutlook.of(30_000, protocol, held_back=300, epsilon=0.01).promising == 200


def test_too_few_images_for_a_promise_are_told_with_how_many_it_takes():
    few = PromiseOutlook.of(600, "shared", held_back=2000, epsilon=0.01)
    assert few.lines() == [
        "about 80 of some 600 distinct images test the promise, which takes at least 308 for a loss of 1 %",
        "that is too few, and everything will be deferred: give about 2,310 images, or a larger --epsilon",
    ]
    assert len(PromiseOutlook.of(few.wanted + 8, "shared", 2000, 0.01).lines()) == 1
    with pytest.raises(UserError, match="no number of images"):
        PromiseOutlook.of(600, "shared", 2000, 1e-9)
