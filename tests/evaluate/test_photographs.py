"""Which held-back images a report shows, on eight made-up ones whose order is known."""

from types import SimpleNamespace

import numpy as np
import pytest

from envise_tf.deferral.held_back_images import HeldBackImages
from envise_tf.deferral.scores.outputs import Outputs
from envise_tf.evaluate import photographs

NAMES = ("ant", "bee", "cat", "dog", "elk")
TEACHER_CLASSES = [4, 0, 2]  # the student's three are elk, ant and cat
OWN = np.array([0, 0, 1, 1, 2, 2, 0, 1])
TEACHER = np.array([4, 0, 0, 1, 2, 2, 3, 1])  # bee and dog are rare
SCORE = np.array([0.9, 0.5, 0.8, 0.1, 0.7, 0.6, 0.2, 0.75])
CONFIDENCE = np.array([0.99, 0.5, 0.9, 0.6, 0.8, 0.7, 0.95, 0.3])


class Observer:
    """Stands for a student that has answered already."""


@pytest.fixture
def evaluation():
    """An evaluation whose student answers from 0.55 on, with every image of a grey of its own."""
    grey = np.arange(8, dtype=np.uint8) * 30
    images = np.broadcast_to(grey[:, None, None, None], (8, 2, 2, 3))
    pseudo_label = np.array([TEACHER_CLASSES.index(each) if each in TEACHER_CLASSES else -1 for each in TEACHER])
    outputs = Outputs(images, np.eye(3, dtype=np.float32)[OWN], np.zeros((8, 1), np.float32), Observer())
    regret = np.where(pseudo_label == OWN, 0.0, 0.2)
    said = HeldBackImages(outputs, OWN, pseudo_label, regret, TEACHER, CONFIDENCE)
    seen = SimpleNamespace(score=SCORE, student_class=OWN)
    return SimpleNamespace(
        class_names=NAMES,
        finished=SimpleNamespace(teacher_classes=TEACHER_CLASSES),
        choosing=said,
        promising=said,
        score="msp",
        seen={"msp": (seen, seen)},
        threshold=SimpleNamespace(values=np.full(3, 0.55)),
        promising_deferred=SCORE < 0.55,
    )


def captions(pictures):
    return [picture.caption.replace("\N{NO-BREAK SPACE}", " ") for picture in pictures]


def test_the_surest_and_the_least_sure_answers_share_no_image(evaluation, monkeypatch):
    monkeypatch.setattr(photographs, "_SHOWN", 3)
    assert captions(photographs.surest(evaluation)) == [
        "elk, score 0.9",
        "ant, score 0.8",
        "ant, score 0.75; teacher: bee (30 %)",
    ]
    assert captions(photographs.least_sure(evaluation)) == ["cat, score 0.6", "cat, score 0.7"]
    monkeypatch.setattr(photographs, "_SHOWN", 9)
    assert len(photographs.surest(evaluation)) == 5
    assert photographs.least_sure(evaluation) == []


def test_deferred_images_come_with_both_answers_the_lowest_score_first(evaluation):
    assert captions(photographs.deferred(evaluation)) == [
        "teacher: bee (60 %); student: ant, score 0.1",
        "teacher: dog (95 %); student: elk, score 0.2",
        "teacher: ant (50 %); student: elk, score 0.5",
    ]


def test_rare_classes_are_those_that_the_student_lacks(evaluation):
    found = photographs.rare_classes(evaluation)
    assert [(NAMES[each.label], each.images, each.deferred) for each in found] == [("bee", 4, 2), ("dog", 2, 2)]
    assert captions(photographs.rare(evaluation))[::2] == ["dog (95 %)", "bee (60 %)", "bee (30 %)"]


def test_without_a_rare_image_there_is_nothing_to_show(evaluation):
    known = np.flatnonzero(evaluation.promising.pseudo_label >= 0)
    said = evaluation.promising
    some = HeldBackImages(
        said.outputs.chosen(known),
        *(
            getattr(said, name)[known]
            for name in ("own_class", "pseudo_label", "regret", "teacher_class", "confidence")
        ),
    )
    evaluation.choosing = evaluation.promising = some
    seen = SimpleNamespace(score=SCORE[known], student_class=OWN[known])
    evaluation.seen = {"msp": (seen, seen)}
    assert photographs.rare_classes(evaluation) == []
    assert photographs.rare(evaluation) == []


def test_attention_is_shown_of_sure_answers_unsure_ones_and_deferred_images(evaluation, monkeypatch):
    asked = {}

    class Attention:
        def rows(self, images, captions, teacher_class, student_logits):
            asked.update(captions=captions, images=images[:, 0, 0, 0] // 30, teacher=teacher_class.tolist())
            return []

    evaluation.attention = Attention()
    monkeypatch.setattr(photographs, "_ROWS_A_KIND", 2)
    assert photographs.attention_rows(evaluation) == []
    assert asked["captions"] == ["surely answered"] * 2 + ["just answered"] * 2 + ["deferred"] * 2
    assert asked["images"].tolist() == [0, 2, 4, 5, 3, 6]
    assert asked["teacher"] == TEACHER[[0, 2, 4, 5, 3, 6]].tolist()
