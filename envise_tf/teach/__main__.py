"""python -m envise_tf.teach: train or fine-tune a teacher; with --student, distil its generic student."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from envise_tf.errors import NOTHING_LEFT, reports_user_errors
from envise_tf.settings import TeachSettings, TrainSettings, parsed

ABOUT = "Train or fine-tune a teacher on labelled images; with --student, distil a generic student of it."
ABOUT_STUDENT = "Distil a generic student over all the teacher's classes, on the teacher's own images."
SWITCHES = {"student": "distil a generic student, one over all the teacher's classes; --student --help lists its flags"}


@reports_user_errors("resume with --resume RUN", before=NOTHING_LEFT)
def main(argv: Sequence[str] | None = None) -> None:
    """Reads the settings, trains the network and writes it to the run's folder."""
    words = list(sys.argv[1:] if argv is None else argv)
    if "--student" in words:
        words.remove("--student")
        student_settings, resumed = parsed(TrainSettings, "teach --student", ABOUT_STUDENT, words)
        from envise_tf.train.pipeline import distilled_and_evaluated

        distilled_and_evaluated(student_settings, resumed)
    else:
        settings, resumed = parsed(TeachSettings, "teach", ABOUT, words, SWITCHES)
        from envise_tf.teach.pipeline import teach

        teach(settings, resumed)


if __name__ == "__main__":
    main()
