"""Several workers: signs of life, and trials of lost workers given out again.

KerasTuner's chief gives each worker its trials over the network, but a worker that dies keeps its trial forever. So
each worker touches a file in the sweep's folder, which all share, and the chief takes a trial back when the file has
stood still for a while. Files rather than clocks are compared, for the clocks of two machines may differ.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from keras_tuner.engine.oracle import Oracle
from keras_tuner.engine.trial import TrialStatus

WORKERS = "workers"
"""Folder of the files that workers touch, in the sweep's."""

_SIGNS = 4
"""Signs of life in the time after which a worker counts as lost."""


@contextmanager
def repeated(every: float, act: Callable[[], None]) -> Iterator[None]:
    """Calls a function at once and then at a fixed interval of seconds, in a thread, until the block ends."""
    ended = threading.Event()

    def run() -> None:
        act()
        while not ended.wait(every):
            act()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@contextmanager
def sign_of_life(sweep: Path, worker: str, lost_after: float) -> Iterator[None]:
    """Touches the worker's file for as long as the block runs, or the process lives."""
    file = sweep / WORKERS / worker
    file.parent.mkdir(parents=True, exist_ok=True)
    with repeated(lost_after / _SIGNS, file.touch):
        yield


class LostWorkers:
    """Takes trials back from workers that give no sign of life.

    Args:
        sweep: folder of the sweep.
        oracle: the chief's.
        lost_after: seconds without a sign, after which a worker counts as lost.
        told: called with a line for each worker that is lost.
    """

    def __init__(self, sweep: Path, oracle: Oracle, lost_after: float, told: Callable[[str], None]) -> None:
        self._folder, self._oracle, self._lost_after, self._told = sweep / WORKERS, oracle, lost_after, told
        self._seen: dict[str, tuple[float, float]] = {}

    def take_back(self) -> None:
        """Gives the trials of lost workers out again: the next worker that asks gets them."""
        for worker in [worker for worker in self._oracle.tuner_ids.copy() if self._is_lost(worker)]:
            del self._seen[worker]
            # One that was waiting for the others has none.
            if trial := self._oracle.ongoing_trials.get(worker):
                self._told(f"worker {worker} is lost: trial {trial.trial_id} is given out again")
                trial.status, trial.message = TrialStatus.INVALID, f"worker {worker} was lost"
                self._oracle.end_trial(trial)
            self._oracle.tuner_ids.discard(worker)

    def _is_lost(self, worker: str) -> bool:
        now = time.monotonic()
        sign = self._sign(worker)
        last, since = self._seen.get(worker, (None, now))
        if sign != last:
            since = now
        self._seen[worker] = (sign, since)
        return now - since > self._lost_after

    def _sign(self, worker: str) -> float:
        file = self._folder / worker
        return file.stat().st_mtime if file.exists() else 0.0
