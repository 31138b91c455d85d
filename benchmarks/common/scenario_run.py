"""A finished run of train on a scenario, opened for what is asked of its test images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from envise_tf.deferral.scores import OutlierScore, load_score
from envise_tf.errors import UserError
from envise_tf.evaluate.test_pass import Examiner
from envise_tf.runs.finished import SCORE_FILE, FinishedRun, Networks, load_run, networks_of


def opened_on_scenario(
    folder: Path, scores: Mapping[str, OutlierScore] | None = None
) -> tuple[FinishedRun, Networks, Examiner]:
    """Returns a run, its networks, and the examiner of its test images, with fitted scores by name or none.

    Raises:
        UserError: the run is not finished, or has no scenario whose test images have labels.
    """
    finished = load_run(str(folder))
    if finished.job.tested is None or finished.job.scenario is None:
        raise UserError(f"{folder} has no scenario whose test images have labels: expected a run on one with outliers")
    networks = networks_of(finished)
    return finished, networks, Examiner(finished, networks, scores or {})


def own_score(folder: Path) -> OutlierScore:
    """Returns the score that a run's threshold is for.

    Raises:
        UserError: the run is not evaluated.
    """
    if not (folder / SCORE_FILE).exists():
        raise UserError(f"{folder} has no score yet: python -m envise_tf.evaluate {folder}")
    return load_score(folder / SCORE_FILE)
