"""python benchmarks/stream_cost.py: what serving a stream adds to the bare cascade, in time.

Images a second of a lifecycle in SERVE, with its detectors, its audits and its record written down, over those of the
bare cascade of the same student, threshold and teacher, on the same batches, in turns. Memory over a long stream is
measured by soak.py.

The lifecycle begins to serve early here (after `--longest` images, with a promise that any student keeps): how good the
student is changes how much is deferred, for both alike. Audits are work that a bare cascade does not do; the ratio is
given with and without them.

Writes stream_cost.json beside this file.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rich.progress import track

from envise_tf.distillation import training
from envise_tf.images.frames import Batch
from envise_tf.run import Run, provenance
from envise_tf.settings import StreamSettings, parsed
from envise_tf.stream.lifecycle import Lifecycle
from envise_tf.stream.pipeline import begun_lifecycle, found_sight
from envise_tf.stream.record import Known, Log

FEW_AUDITS = 10**9


def main() -> None:
    """Measures and writes it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="cifar100-four-phases", help="of stream; the default needs CIFAR-100")
    parser.add_argument("--longest", default="1024", help="images after which training ends")
    parser.add_argument("--rounds", type=int, default=15, help="how often both take turns")
    parser.add_argument("--images", type=int, default=2048, help="of a turn")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"), help="the JSON")
    flags = parser.parse_args()
    result = {
        "throughput": {name: throughput(flags, audits) for name, audits in _AUDITS.items()},
        "settings": {name: value for name, value in vars(flags).items() if name != "out"},
        "command": "python benchmarks/stream_cost.py",
        **provenance(),
    }
    flags.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result["throughput"], indent=2))


_AUDITS = {"with audits": {}, "without audits": {"audit_least": FEW_AUDITS, "audit_most": FEW_AUDITS}}


def throughput(flags: argparse.Namespace, audits: dict[str, int]) -> dict[str, float]:
    """Returns images a second of lifecycle and bare cascade, and their ratio: the median over rounds."""
    early = ["--longest", flags.longest, "--floor", "0", "--epsilon", "0.95", "--policy", "never"]
    settings, _ = parsed(StreamSettings, "stream", "", ["--preset", flags.preset, *early])
    seconds: dict[str, list[float]] = {"lifecycle": [], "cascade": []}
    with tempfile.TemporaryDirectory() as folder:
        lifecycle, batches, log = _serving(dataclasses.replace(settings, **audits), Path(folder), flags.images)
        bare, journal = _bare(lifecycle), lifecycle.journal

        def whole(batch: Batch) -> None:
            replies = lifecycle.answer(batch.images)
            known = Known(replies.teacher_class, replies.raw_class, batch.truth)
            log.write(batch, replies, known, journal.tally, journal.taken_events())

        with log:
            for _ in track(range(flags.rounds), "rounds"):
                for name, run in (("lifecycle", whole), ("cascade", lambda batch: bare(batch.images))):
                    begun = time.perf_counter()
                    for batch in batches:
                        run(batch)
                    seconds[name].append(time.perf_counter() - begun)
    images = sum(len(batch.images) for batch in batches)
    rates = {name: images / statistics.median(taken) for name, taken in seconds.items()}
    ratio = statistics.median(np.divide(seconds["cascade"], seconds["lifecycle"]))
    return {**rates, "ratio": ratio, "deferred": journal.tally.deferred / journal.tally.student}


def _serving(settings: StreamSettings, folder: Path, images: int) -> tuple[Lifecycle, list[Batch], Log]:
    """Returns a lifecycle that has come to serve, and some batches of the same phase."""
    sight = found_sight(settings, Run(folder))
    training.prepare(settings.seed)
    lifecycle = begun_lifecycle(settings, sight)
    frames = sight.frames.batches(0, settings.batch_size)
    while lifecycle.state == "adapt":
        lifecycle.answer(next(frames).images)
    batches = [next(frames) for _ in range(images // settings.batch_size)]
    return lifecycle, batches, Log(folder, 0, sight.teacher.class_names, sight.frames.origin)


def _bare(lifecycle: Lifecycle) -> Callable[[np.ndarray], np.ndarray]:
    student, teacher = lifecycle.student, lifecycle.workshop.teacher
    assert student is not None, "it serves"

    def answered(images: np.ndarray) -> np.ndarray:
        said = student.said(images)
        label = student.classes[said.own_class]
        if said.deferred.any():
            label[said.deferred] = teacher.adapted(teacher(images[said.deferred])).argmax(axis=-1)
        return label

    return answered


if __name__ == "__main__":
    main()
