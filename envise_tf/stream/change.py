"""Notices that a stream has changed, from what serving tells for free.

Five signals, each a number in 0..1 that rises when the student fits the stream less than it did:

- deferral: 1 for a deferred image;
- score: the share of calibration images that scored higher, uniform as long as nothing changes;
- foreign: of images that the student deferred, 1 for a class that the student does not have;
- unlikelihood: of the same images, how much less likely they are under the class shares that are served;
- disagreement: of images that were audited, 1 where the student's class is not the teacher's.

Each goes to an ADWIN [Bifet and Gavalda 2007], by river. ADWIN keeps a window of the past and cuts it where the means
of two parts differ by more than chance explains: no width has to be chosen, and large changes are noticed after few
images.

False alarms. At each check ADWIN cuts a window of constant mean with chance at most delta, and it checks every 32
numbers. By the union bound there are at most 10,000 / 32 * 5 * delta false alarms in 10,000 images, and delta is chosen
so that this is the rate asked for. The bound holds for independent numbers: frames of a video that resemble each other
alarm more often.

Only a change for the worse is an alarm. When a signal falls, because the stream has become easier, ADWIN forgets the
harder past, and that is all.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
from river.drift import ADWIN
from river.drift.adwin_c import Bucket
from scipy import special

from envise_tf.prior.adaptation import Adaptation
from envise_tf.prior.estimation import log_likelihood

SIGNALS = ("deferral", "score", "foreign", "unlikelihood", "disagreement")

_CLOCK = 32
_PER = 10_000
_LAST = 64
_BUCKETS = 40
"""Most buckets of one size between which ADWIN looks for a cut. With river's default of 5 it cuts a
rise from 0.4 to 0.9 after 263 numbers, with 40 after 119, and takes 10 microseconds a number in place of 3."""


def unlikelihood(logits: np.ndarray, adaptation: Adaptation) -> np.ndarray:
    """Returns the chance that each image is of the source's prior rather than of the one served: float64 (n,), 0..1.

    Our choice: at even odds, so that it is the logistic function of the difference in log-likelihood.

    Args:
        logits: float (n, classes), the teacher's, as it came.
        adaptation: to the prior that is served.
    """
    calibrated = adaptation.calibration.logits(logits)
    return special.expit(-log_likelihood(calibrated, adaptation.estimate, adaptation.source_prior))


class ChangeDetector:
    """Watches the signals of a stream since a student has begun to serve it.

    Args:
        false_alarms: most alarms expected in 10,000 images of an unchanged stream, > 0.
    """

    def __init__(self, false_alarms: float) -> None:
        delta = min(false_alarms * _CLOCK / (_PER * len(SIGNALS)), 0.5)
        self._sums = dict.fromkeys(SIGNALS, (0, 0.0))
        self._last: dict[str, deque[float]] = {name: deque(maxlen=_LAST) for name in SIGNALS}
        self._windows = {name: ADWIN(delta=delta, clock=_CLOCK, max_buckets=_BUCKETS) for name in SIGNALS}

    def noticed(self, signals: Mapping[str, np.ndarray]) -> str | None:
        """Takes the next numbers of some signals; returns why the stream has changed, or None.

        Args:
            signals: by name, float (n,) in 0..1, in the order of the stream; n may differ from signal to signal.
        """
        for name, values in signals.items():
            for value in np.asarray(values, float).tolist():
                reason = self._cut(name, value)
                if reason is not None:
                    return reason
        return None

    def snapshot(self) -> dict[str, Any]:
        """Returns all that `restore` needs as plain values and arrays."""
        return {
            "sums": self._sums,
            "last": {name: list(last) for name, last in self._last.items()},
            "windows": {name: _numbers(window) for name, window in self._windows.items()},
        }

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Makes this the detector, of the same arguments, that `snapshot` was taken of."""
        self._sums = {name: (count, total) for name, (count, total) in snapshot["sums"].items()}
        for name in SIGNALS:
            self._last[name].extend(snapshot["last"][name])
            _set_numbers(self._windows[name], snapshot["windows"][name])

    def _cut(self, name: str, value: float) -> str | None:
        window = self._windows[name]
        before, (count, total) = window.estimation, self._sums[name]
        self._sums[name] = count + 1, total + value
        self._last[name].append(value)
        window.update(value)
        if not window.drift_detected or window.estimation <= before:
            return None
        return (
            f"the mean {name} rose to {np.mean(self._last[name]):.2f} in the last {len(self._last[name])} images that "
            f"tell it, from {total / count:.2f} in all {count} before"
        )


def _numbers(window: ADWIN) -> dict[str, Any]:
    """Returns the numbers that an ADWIN consists of: its own, and those of its buckets, a row for each size.

    River gives them away by Python's protocol for copying alone. To feed the past in again would take all of it.
    """
    *own, buckets = window._helper.__reduce__()[2]
    rows = [bucket.__reduce__()[2] for bucket in buckets["bucket_deque"]]
    names = ("counts", "sizes", "totals", "variances")
    return {
        "own": own,
        "has_cut": window.drift_detected,
        **{name: np.array(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)},
    }


def _set_numbers(window: ADWIN, numbers: Mapping[str, Any]) -> None:
    """Gives a new ADWIN the numbers of another one."""
    rows = zip(*(numbers[name] for name in ("counts", "sizes", "totals", "variances")), strict=True)
    buckets = deque(_bucket(*row) for row in rows)
    window._helper.__setstate_cython__((*numbers["own"], {"bucket_deque": buckets}))
    window._drift_detected = numbers["has_cut"]


def _bucket(count: int, size: int, totals: np.ndarray, variances: np.ndarray) -> Bucket:
    bucket = Bucket(size)
    bucket.__setstate_cython__((int(count), int(size), totals.copy(), variances.copy()))
    return bucket
