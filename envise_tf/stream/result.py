"""The figures of a stream as result.json holds them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from envise_tf.stream.borders import borders, false_alarms, images_alone
from envise_tf.stream.record import COUNTS, Record
from envise_tf.stream.summary import Flops, by_phase, stretches, summary


def as_figures(record: Record, result: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what result.json holds of a record; plain values, null for what does not exist and for infinity.

    Args:
        record: of the run.
        result: of the run, with "work" and "phases".
    """
    flops, phases = Flops.of(result), result["phases"]
    counts = dict(zip(COUNTS, record.counts[-1].tolist(), strict=True))
    spent = dict(zip(COUNTS, flops.spent(record.counts[-1]).tolist(), strict=True))
    return {
        "total": dataclasses.asdict(summary(record, flops)),
        "by_phase": [{"name": name, **dataclasses.asdict(found)} for name, found in by_phase(record, flops, phases)],
        "borders": [dataclasses.asdict(border) for border in borders(record, phases)],
        "false_alarms": false_alarms(record, phases),
        "images_alone": images_alone(record),
        "stretches": [_finite(dataclasses.asdict(stretch)) for stretch in stretches(record, flops)],
        "spent": {name: {"images": int(counts[name]), "flops": spent[name]} for name in COUNTS},
    }


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    return {name: None if value == np.inf else value for name, value in values.items()}
