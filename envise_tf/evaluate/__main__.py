"""python -m envise_tf.evaluate RUN: what a finished run's student, teacher and cascade reach."""

from __future__ import annotations

from collections.abc import Sequence

from envise_tf.errors import reports_user_errors
from envise_tf.settings import EvaluateSettings, parsed

ABOUT = "Evaluate a finished run: choose the deferral threshold, test the cascade, and write a report."


@reports_user_errors("start again")
def main(argv: Sequence[str] | None = None) -> None:
    """Reads the settings, evaluates the run, and writes figures and report to its folder."""
    settings, _ = parsed(EvaluateSettings, "evaluate", ABOUT, argv)
    from envise_tf.evaluate.pipeline import evaluate

    evaluate(settings)


if __name__ == "__main__":
    main()
