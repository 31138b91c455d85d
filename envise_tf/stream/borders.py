"""Changes of the prior, and what the lifecycle made of them; where it found no promise to make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from envise_tf.stream.record import Record

_STILL_THE_SAME = 2000
"""Images after a border within which more than one change may be noticed without any of them being false."""


@dataclass(frozen=True)
class Border:
    """The start of a phase other than the first, and what the lifecycle made of it.

    Attributes:
        name: of the phase that begins.
        start: its first image.
        change: over how many images the prior moves, 0 is at once.
        noticed_after: images from the start to the first change noticed, None where none was before the next border.
        serving_after: images from the start until serving began again, None likewise.
        by_reuse: whether it was an earlier student that served again; None where none did.
    """

    name: str
    start: int
    change: int
    noticed_after: int | None
    serving_after: int | None
    by_reuse: bool | None


def borders(record: Record, phases: Sequence[Mapping[str, Any]]) -> tuple[Border, ...]:
    """Returns the borders that the stream has come to.

    Args:
        record: whose events tell what was noticed.
        phases: each with "name", "start" and "change", in order.
    """
    starts = [phase["start"] for phase in phases[1:] if phase["start"] <= record.image[-1]]
    stops = [*starts[1:], np.inf]
    return tuple(
        _border(phase, [event for event in record.events if start <= event["image"] < stop])
        for phase, start, stop in zip(phases[1:], starts, stops, strict=False)
    )


def _border(phase: Mapping[str, Any], events: Sequence[Mapping[str, Any]]) -> Border:
    """Returns a border, by the events between it and the next."""
    start = phase["start"]
    change = next((event for event in events if event["event"] == "change"), None)
    again = next((event for event in events if event["event"] in ("threshold", "reuse")), None)
    return Border(
        phase["name"],
        start,
        phase["change"],
        noticed_after=None if change is None else change["image"] - start,
        serving_after=None if again is None else again["image"] - start,
        by_reuse=None if again is None else again["event"] == "reuse",
    )


def false_alarms(record: Record, phases: Sequence[Mapping[str, Any]]) -> list[int]:
    """Returns the images at which a change was noticed that belongs to no border.

    The first change noticed after a border belongs to it, however late; so do others until 2,000 images after the prior
    has come to rest.

    Args:
        record: whose events tell what was noticed.
        phases: as in `borders`; with none, nothing is known, and nothing is false.
    """
    if not phases:
        return []
    found = borders(record, phases)
    noticed = {border.start + border.noticed_after for border in found if border.noticed_after is not None}
    return [
        image
        for image in changes(record)
        if image not in noticed and not any(b.start <= image < b.start + b.change + _STILL_THE_SAME for b in found)
    ]


def changes(record: Record) -> list[int]:
    """Returns the images at which a change was noticed."""
    return [event["image"] for event in record.events if event["event"] == "change"]


def images_alone(record: Record) -> int:
    """Returns how many images the teacher answered alone because no promise could be made, with no student training."""
    lasting = [event for event in record.events if event["event"] != "postponed"]
    ends = [*(event["image"] for event in lasting[1:]), int(record.image[-1])]
    return sum(end - event["image"] for event, end in zip(lasting, ends, strict=False) if event["event"] == "alone")
