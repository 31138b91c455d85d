"""An archive of photographs answered by Apache Beam, in as many workers as there are to be had.

The pipeline has two steps: the images are dealt out in groups, and a worker answers a group and writes its file
(`envise_tf.export.shards`). No answer goes through Beam, so a worker may die at any time, and a group may be given
twice. Each worker has one cascade, and so one interpreter for each network.

On this machine the workers are processes of Beam's portable direct runner. (Under the name DirectRunner, Beam first
looks for a program of its own on the network.) Any other runner is chosen by Beam's own options. Its workers must see
images, bundle and answers under the same paths.
"""

from __future__ import annotations

import concurrent.futures
import logging
import shlex
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

import apache_beam
from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions, StandardOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.transforms.environments import SubprocessSDKEnvironment

from envise_tf.errors import UserError, reason_of
from envise_tf.export.runtime import Cascade
from envise_tf.export.shards import Shards

_LOG = "_workers.log"
_LOOKED_EVERY = 0.5
"""Seconds between two looks at how far the workers are."""


@dataclass(frozen=True)
class CascadePlace:
    """Where a worker finds its cascade, by the arguments of `Cascade.load`."""

    folder: str
    builtin: bool = False
    threads: int = 1

    def load(self) -> Cascade:
        """Returns the cascade."""
        return Cascade.load(self.folder, self.builtin, self.threads)


class Answering(apache_beam.DoFn):
    """Answers groups of images in a worker, and writes their files.

    Args:
        place: of the cascade; each worker loads its own, once.
        shards: that it writes.
    """

    def __init__(self, place: CascadePlace, shards: Shards) -> None:
        self._place, self._shards = place, shards

    def setup(self) -> None:
        """Loads the cascade."""
        self._cascade = self._place.load()

    def process(self, paths: list[str]) -> None:
        """Answers the images of one file, and writes it."""
        self._shards.write(self._cascade, paths)


def answered_in_workers(
    place: CascadePlace, shards: Shards, groups: Mapping[str, Sequence[str]], workers: int, options: str = ""
) -> Iterator[str]:
    """Answers images in workers; yields the path of each that has its row in a written file.

    Args:
        place: of the cascade.
        shards: that are written.
        groups: the images of each file, by its name.
        workers: processes on this machine, from 1; 0 is one a processor core.
        options: of Beam, as on a command line. Those that name a runner leave the workers to that runner.

    Raises:
        UserError: Beam has no such runner, or the pipeline fails; what is written stays.
    """
    left = dict(groups)
    running = _begun(_pipeline(place, shards, list(groups.values()), workers, options))
    while left:
        ended = bool(concurrent.futures.wait([running], _LOOKED_EVERY).done)
        for name in shards.written() & left.keys():
            yield from left.pop(name)
        if ended:
            break
    try:
        running.result()
    except Exception as error:
        *_, last = str(error).strip().splitlines() or [""]
        log = shards.folder / _LOG
        raise UserError(
            f"the pipeline failed ({last[:160]}): what is written stays, and the same command goes on from there"
            f"{f'; {log} has what the workers said' if log.exists() else ''}"
        ) from error
    (shards.folder / _LOG).unlink(missing_ok=True)


def _pipeline(
    place: CascadePlace, shards: Shards, groups: list[Sequence[str]], workers: int, options: str
) -> apache_beam.Pipeline:
    given = PipelineOptions(shlex.split(options))
    local = given.view_as(StandardOptions).runner is None
    if local:
        given.view_as(DirectOptions).direct_num_workers = workers
    try:
        pipeline = apache_beam.Pipeline(_local_runner(shards.folder / _LOG) if local else None, given)
    except (ValueError, ImportError, AttributeError) as error:
        raise UserError(f"Apache Beam cannot run with {options!r} ({reason_of(error)}): expected its options") from None
    # Without the shuffle all groups would go to one worker.
    dealt = pipeline | apache_beam.Create([list(group) for group in groups]) | apache_beam.Reshuffle()
    dealt | apache_beam.ParDo(Answering(place, shards))
    return pipeline


def _local_runner(log: Path) -> FnApiRunner:
    """Returns a runner whose workers are processes of this Python, which write their logs into a file."""
    logging.getLogger("apache_beam").setLevel(logging.ERROR)  # it warns of what only other runners need
    # exec: Beam ends a worker by the process that it has started, which else would be the shell.
    words = (sys.executable, "-m", "apache_beam.runners.worker.sdk_worker_main")
    command = f"exec {shlex.join(words)} 2>> {shlex.quote(str(log.absolute()))}"
    return FnApiRunner(default_environment=SubprocessSDKEnvironment.from_command_string(command))


def _begun(pipeline: apache_beam.Pipeline) -> Future[None]:
    """Runs a pipeline in a thread, and so that Ctrl-C reaches neither it nor the processes that it starts.

    It ends with this process: the workers lose their connection, finish the file that they are at, and end.
    """
    ended: Future[None] = Future()

    def run() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            pipeline.run().wait_until_finish()
            ended.set_result(None)
        except BaseException as error:
            ended.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return ended
