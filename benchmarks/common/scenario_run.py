"""A finished run of train on a scenario, opened for what is asked of its test images."""

from __future__ import annotations

from pathlib import Path

from envise_tf.errors import UserError
from envise_tf.evaluate.test_pass import Examiner
from envise_tf.runs.finished import FinishedRun, Networks, load_run, networks_of


def opened_on_scenario(folder: Path) -> tuple[FinishedRun, Networks, Examiner]:
    """Returns a run, its networks, and the examiner of its test images, without scores.

    Raises:
        UserError: the run is not finished, or has no scenario whose test images have labels.
    """
    finished = load_run(str(folder))
    if finished.job.tested is None or finished.job.scenario is None:
        raise UserError(f"{folder} has no scenario whose test images have labels: expected a run on one with outliers")
    networks = networks_of(finished)
    return finished, networks, Examiner(finished, networks, {})
