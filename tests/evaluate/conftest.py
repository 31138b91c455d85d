"""Evaluations without the parts that a test does not look at; the run of `digits_run` is evaluated with all of them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from envise_tf.deferral.scores import SCORES
from envise_tf.evaluate import pipeline

FEW_SCORES = {name: SCORES[name] for name in ("regret", "msp", "energy")}
"""The scores that can decide by default, and one more."""


@pytest.fixture
def few_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "SCORES", FEW_SCORES)


@pytest.fixture(scope="session")
def unlabelled_run(made_once: Callable[[str, Callable[[Path], object]], Path], tmp_path_factory) -> Path:
    """A finished run on a folder of unlabelled digits, adapted to them, three of their classes rare."""
    from fixed_run import photographs_run

    from envise_tf.evaluate import __main__ as evaluate

    def evaluated(run: Path) -> None:
        photographs_run(run, tmp_path_factory.mktemp("photographs") / "digits")
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(pipeline, "SCORES", FEW_SCORES)
            evaluate.main([str(run), "--epsilon", "0.05", "--score", "msp", "--photographs", "true"])

    return made_once("unlabelled_run", evaluated)


@pytest.fixture
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "write_report", lambda *_: None)
