"""What a teacher's classes are called, and whether that fits the labels of the images.

A teacher's own names come first, or those that the user gives. A data set has a numbering of its own, which a teacher
without names is taken to follow. Sub-folders have none: their order says nothing of the order in which a teacher was
taught. So before a folder such a teacher's classes are called 0, 1, 2 and so on, and their labels are left alone.

Names that somebody has written down, or that a position has given, may still be in another order than the network's
outputs. Then its answers are a permutation of the labels, which a few hundred images show.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy import optimize

from envise_tf.errors import UserError, some_of
from envise_tf.images.folder import Folder
from envise_tf.images.source import Source
from envise_tf.networks.loading import Classifier

_LOOKED_AT = 500
_BATCH = 64
_LEAST_IMAGES = 4
"""Of a class, to say that the teacher calls it by another's name."""
_MOSTLY, _HARDLY = 0.5, 0.1


def numbered(teacher: Classifier) -> Classifier:
    """Returns a teacher whose classes are called 0, 1, 2 and so on."""
    return dataclasses.replace(teacher, class_names=tuple(map(str, range(teacher.classes))))


def has_comparable_labels(teacher: Classifier, source: Source) -> bool:
    """Returns whether the labels of a source mean something to a teacher: either has names, or the source a numbering.

    Args:
        teacher: as it was loaded, perhaps without names.
        source: with a name for each label.
    """
    return bool(teacher.class_names) or not isinstance(source, Folder)


def named_for(teacher: Classifier, reference: str, source: Source | None, is_given: bool) -> Classifier:
    """Returns the teacher with a name for each class, which the images confirm where nobody else vouches for it.

    Args:
        teacher: perhaps without names.
        reference: what the user calls the teacher.
        source: labelled images with comparable labels; None where there are none.
        is_given: whether the user has given the names.

    Raises:
        UserError: as in `named_as` and `require_fitting_names`.
    """
    labels = ((), "") if source is None else (source.class_names, source.name)
    named = named_as(teacher, reference, *labels)
    if source is not None and (is_given or not teacher.class_names):
        require_fitting_names(named, reference, source)
    return named


def named_as(teacher: Classifier, reference: str, names: Sequence[str], shown: str) -> Classifier:
    """Returns the teacher with a name for each class: its own, those of a data set's numbering, or numbers.

    Args:
        teacher: perhaps without names.
        reference: what the user calls the teacher.
        names: of the data set, in the order of its labels; none where its labels are not comparable.
        shown: what the data set is called.

    Raises:
        UserError: the data set has another number of classes than a teacher without names.
    """
    if teacher.class_names:
        return teacher
    if not names:
        return numbered(teacher)
    if len(names) != teacher.classes:
        raise UserError(
            f"teacher {reference} has {teacher.classes} classes, {shown} has {len(names)}: "
            "say what the teacher's are with --teacher_classes FILE"
        )
    return dataclasses.replace(teacher, class_names=tuple(names))


def require_fitting_names(teacher: Classifier, reference: str, source: Source) -> None:
    """Returns if the teacher calls labelled images by their names, or at least not by each other's.

    Up to 500 images are looked at, test images first.

    Args:
        teacher: with a name for each class.
        reference: what the user calls the teacher.
        source: labelled.

    Raises:
        UserError: some classes are called by each other's names.
    """
    number = {name: index for index, name in enumerate(teacher.class_names)}
    truth_of = np.array([number.get(name, -1) for name in source.class_names])
    answers, truths = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    examples = source.examples("test").concatenate(source.examples("train")).take(_LOOKED_AT)
    for batch in examples.batch(_BATCH).as_numpy_iterator():
        answers.append(teacher(batch["image"]).argmax(axis=-1))
        truths.append(truth_of[batch["label"]])
    answer, truth = np.concatenate(answers), np.concatenate(truths)
    mistaken = mistaken_names(answer[truth >= 0], truth[truth >= 0], teacher.classes)
    if mistaken:
        names = teacher.class_names
        told = some_of([f"{names[truth]} is called {names[answer]}" for truth, answer in mistaken])
        raise UserError(
            f"teacher {reference} calls {len(mistaken)} classes by each other's names ({told}): its "
            "names are in another order than its outputs; give them in that order with --teacher_classes FILE"
        )


def mistaken_names(answer: np.ndarray, truth: np.ndarray, classes: int) -> list[tuple[int, int]]:
    """Returns the classes that are called by each other's names: each with the one that it is called, ascending.

    A class is called by another's name if most of its images are, hardly any by its own, the best assignment of answers
    to labels says so, and the other is called by another's name too (our choice): names in a wrong order are a
    permutation, while a teacher that takes one class for another is merely wrong.

    Args:
        answer: int (n,), what the teacher answers.
        truth: int (n,), the labels.
        classes: how many there are.
    """
    counts = np.zeros((classes, classes), np.int64)
    np.add.at(counts, (truth, answer), 1)
    images = counts.sum(axis=1)
    _, assigned = optimize.linear_sum_assignment(counts, maximize=True)
    share = counts / np.maximum(images, 1)[:, None]
    own, others = share.diagonal(), share[np.arange(classes), assigned]
    is_mistaken = (images >= _LEAST_IMAGES) & (others >= _MOSTLY) & (own <= _HARDLY)
    while (is_mistaken & ~is_mistaken[assigned]).any():
        is_mistaken &= is_mistaken[assigned]
    return [(int(one), int(assigned[one])) for one in np.flatnonzero(is_mistaken)]


def uncommon_names(teacher: Classifier, source: Source) -> tuple[list[str], list[str]]:
    """Returns the teacher's classes of which the source has no label, and the labels that are none of its classes."""
    of_teacher, of_source = teacher.class_names, source.class_names
    return [one for one in of_teacher if one not in of_source], [one for one in of_source if one not in of_teacher]
