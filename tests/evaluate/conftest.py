"""Evaluations without the parts that a test does not look at; the run of `digits_run` is evaluated with all of them."""

import pytest

from envise_tf.deferral.scores import SCORES
from envise_tf.evaluate import pipeline


@pytest.fixture
def few_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scores that can decide by default, and one more."""
    monkeypatch.setattr(pipeline, "SCORES", {name: SCORES[name] for name in ("regret", "msp", "energy")})


@pytest.fixture
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "write_report", lambda *_: None)
