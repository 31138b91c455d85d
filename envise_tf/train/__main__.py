"""python -m envise_tf.train: distil a student, online, from a frozen teacher."""

from __future__ import annotations

from collections.abc import Sequence

from envise_tf.errors import NOTHING_LEFT, reports_user_errors
from envise_tf.settings import TrainSettings, parsed

ABOUT = "Distil a binary student from a frozen teacher, on an unlabelled stream of images."


@reports_user_errors("resume with --resume RUN", before=NOTHING_LEFT)
def main(argv: Sequence[str] | None = None) -> None:
    """Reads the settings, distils the student into the run's folder and evaluates it."""
    settings, resumed = parsed(TrainSettings, "train", ABOUT, argv)
    from envise_tf.train.pipeline import distilled_and_evaluated

    distilled_and_evaluated(settings, resumed)


if __name__ == "__main__":
    main()
