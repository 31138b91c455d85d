"""Files to answers: what a cascade says of a photograph, or why that file is no photograph."""

from __future__ import annotations

from envise_tf.deferral.cascade import Answer
from envise_tf.errors import reason_of
from envise_tf.export.runtime import Cascade
from envise_tf.images.photographs import decoded_square, read_photograph

COLUMNS = ("origin", "class", "by_student", "score")
"""Of every table of answers, by the words of a stream's answers.csv: path, class name, who answered, inlier score."""


class Unreadable(Exception):  # noqa: N818 - no error of the program: it is counted and named
    """A file that cannot be read as an image; its text is the reason."""


def answered(cascade: Cascade, path: str) -> Answer:
    """Returns what a cascade says of a JPEG, PNG or WebP file of any size and orientation.

    Raises:
        Unreadable: the file cannot be opened, or is damaged or no image.
    """
    try:
        image = decoded_square(read_photograph(path), cascade.bundle.image_size)
    except Exception as error:  # whatever a broken file makes a decoder raise
        raise Unreadable(reason_of(error)) from None
    return cascade.classify(image)
