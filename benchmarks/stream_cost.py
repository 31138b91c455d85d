"""python benchmarks/stream_cost.py: what serving a stream adds to the bare cascade, and whether memory stays bounded.

- throughput: images a second of a lifecycle in SERVE, with its detectors, its audits and its record written down, over
  that of the bare cascade of the same student, threshold and teacher, on the same batches of CIFAR-100's zoo, in turns;
- memory: the resident memory of a process that answers 200,000 images of digits, every 20,000.

The lifecycle begins to serve early here (`longest` 1,024 images, and a promise that any student keeps): how good the
student is changes how much is deferred, for both alike. Audits are work that a bare cascade does not do; the ratio is
given with and without them.

Needs CIFAR-100 (TFDS_DATA_DIR or --data_dir). Writes stream_cost.json beside this file.
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
import psutil
from rich.progress import track

from envise_tf.distillation import training
from envise_tf.images.frames import Batch
from envise_tf.run import Run, provenance
from envise_tf.settings import StreamSettings, parsed
from envise_tf.stream.lifecycle import Lifecycle
from envise_tf.stream.pipeline import begun_lifecycle, found_sight
from envise_tf.stream.record import Log

FEW_AUDITS = 10**9
SAMPLES = 10


def main() -> None:
    """Measures both and writes them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data_dir")
    parser.add_argument("--rounds", type=int, default=15, help="how often both take turns, 16 batches each")
    parser.add_argument("--images", type=int, default=200_000, help="whose memory is measured")
    flags = parser.parse_args()
    result = {
        "throughput": {name: throughput(flags.data_dir, flags.rounds, audits) for name, audits in _AUDITS.items()},
        "memory": memory(flags.images),
        "settings": vars(flags) | {"data_dir": None},
        "command": "python benchmarks/stream_cost.py",
        **provenance(),
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps({name: result[name] for name in ("throughput", "memory")}, indent=2))


_AUDITS = {"with audits": {}, "without audits": {"audit_least": FEW_AUDITS, "audit_most": FEW_AUDITS}}


def throughput(data_dir: str | None, rounds: int, audits: dict[str, int]) -> dict[str, float]:
    """Returns images a second of lifecycle and bare cascade, and their ratio: the median over rounds."""
    words = ["--preset", "cifar100-four-phases", *(["--data_dir", data_dir] if data_dir else [])]
    settings = _settings(words, audits)
    with tempfile.TemporaryDirectory() as folder:
        lifecycle, batches, log = _serving(settings, Path(folder), 2048)
        bare, journal = _bare(lifecycle), lifecycle.journal

        def whole(batch: Batch) -> None:
            replies = lifecycle.answer(batch.images)
            known = replies.teacher_class, replies.teacher_class
            log.write(batch, replies, known, journal.tally, journal.taken_events())

        seconds: dict[str, list[float]] = {"lifecycle": [], "cascade": []}
        for _ in track(range(rounds), "rounds"):
            for name, run in (("lifecycle", whole), ("cascade", lambda batch: bare(batch.images))):
                begun = time.perf_counter()
                for batch in batches:
                    run(batch)
                seconds[name].append(time.perf_counter() - begun)
    images = sum(len(batch.images) for batch in batches)
    rates = {name: images / statistics.median(taken) for name, taken in seconds.items()}
    ratio = statistics.median(np.divide(seconds["cascade"], seconds["lifecycle"]))
    return {**rates, "ratio": ratio, "deferred": journal.tally.deferred / journal.tally.student}


def memory(images: int) -> dict[str, list[float]]:
    """Returns the resident memory in MB after each tenth of the images."""
    settings = _settings(["--preset", "digits"], {})
    settings = dataclasses.replace(settings, checkpoint=2000)
    process, counts, megabytes = psutil.Process(), [], []
    with tempfile.TemporaryDirectory() as folder:
        lifecycle, batches, log = _serving(settings, Path(folder), 2048)
        journal = lifecycle.journal
        for number in track(range(-(-images // 64)), "memory"):
            batch = batches[number % len(batches)]
            replies = lifecycle.answer(batch.images)
            log.write(batch, replies, (replies.label, replies.label), journal.tally, journal.taken_events())
            if (number + 1) % max(images // 64 // SAMPLES, 1) == 0:
                counts.append(journal.position)
                megabytes.append(round(process.memory_info().rss / 1e6, 1))
    return {"images": counts, "megabytes": megabytes}


def _settings(words: list[str], changes: dict[str, int]) -> StreamSettings:
    early = ["--longest", "1024", "--floor", "0", "--epsilon", "0.95", "--policy", "never"]
    settings, _ = parsed(StreamSettings, "stream", "", words + early)
    return dataclasses.replace(settings, **changes)


def _serving(settings: StreamSettings, folder: Path, images: int) -> tuple[Lifecycle, list[Batch], Log]:
    """Returns a lifecycle that has come to serve, and some batches of the same phase."""
    run = Run(folder)
    sight = found_sight(settings, run)
    training.prepare(settings.seed)
    lifecycle = begun_lifecycle(settings, sight)
    frames = sight.frames.batches(0, settings.batch_size)
    while lifecycle.state == "adapt":
        lifecycle.answer(next(frames).images)
    batches = [next(frames) for _ in range(images // settings.batch_size)]
    return lifecycle, batches, Log(folder, 0)


def _bare(lifecycle: Lifecycle) -> Callable[[np.ndarray], np.ndarray]:
    student = lifecycle.student
    assert student is not None, "it serves"

    def answered(images: np.ndarray) -> np.ndarray:
        said = student.said(images)
        label = student.classes[said.own_class]
        if said.deferred.any():
            label[said.deferred] = lifecycle.workshop.answers(images[said.deferred]).argmax(axis=-1)
        return label

    return answered


if __name__ == "__main__":
    main()
