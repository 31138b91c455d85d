"""A sweep in TensorBoard: `tensorboard --logdir SWEEP/tensorboard` compares its trials on the page HParams."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tensorboard.plugins.hparams import api as hp

from envise_tf.files import whole
from envise_tf.tuning.ranking import FIGURES
from envise_tf.tuning.space import Choices, Dimension, Space, setting_text
from envise_tf.tuning.trials import TrialRecord

import tensorflow as tf  # isort: skip  (after envise_tf, which asks for Keras 2)

_SPACE = "space"
"""Folder of the search space, beside those of the trials."""


def write_hparams(sweep: Path, space: Space, records: Sequence[TrialRecord]) -> None:
    """Writes tensorboard/space and tensorboard/TRIAL, each whole or not at all; what is already there stays.

    Args:
        sweep: its folder.
        space: what it varies.
        records: of the trials, in any order; a failed one has no figures.
    """
    folder = sweep / "tensorboard"
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / _SPACE).exists():
        with _events(folder / _SPACE):
            _tell_space(space)
    for record in records:
        if not (folder / record.trial).exists():
            with _events(folder / record.trial):
                _tell_trial(space, record)


@contextmanager
def _events(target: Path) -> Iterator[None]:
    """Writes what is logged inside the block to a new folder, which gets its name once all is written."""
    # Not inside of tensorboard/, where a TensorBoard that is open would take it for a run.
    with (
        whole(target, beside=target.parent.parent) as unfinished,
        tf.summary.create_file_writer(str(unfinished)).as_default(),
    ):
        yield


def _tell_space(space: Space) -> None:
    hp.hparams_config(
        hparams=[hp.HParam(key, _domain(dimension)) for key, dimension in space.dimensions.items()],
        metrics=[hp.Metric(name, display_name=shown) for name, shown in FIGURES.items()],
    )


def _tell_trial(space: Space, record: TrialRecord) -> None:
    values = {key: _plain(record.values[key]) for key in space.dimensions}
    # The baseline may lack a setting, which is then left out.
    hp.hparams({key: value for key, value in values.items() if value is not None}, trial_id=record.trial)
    for name, value in record.figures.items():
        if math.isfinite(value):
            tf.summary.scalar(name, value, step=record.windows)


def _domain(dimension: Dimension) -> hp.Domain:
    if isinstance(dimension, Choices):
        return hp.Discrete([_plain(value) for value in dimension.values])
    interval = hp.IntInterval if isinstance(dimension.least, int) else hp.RealInterval
    return interval(dimension.least, dimension.most)


def _plain(value: Any) -> Any:
    """Returns a value as TensorBoard takes it, which knows no lists."""
    return setting_text(value) if isinstance(value, list | tuple) else value
