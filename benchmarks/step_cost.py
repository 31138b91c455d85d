"""python benchmarks/step_cost.py: what the attention triplet adds to a step, and whether images come fast enough.

Two ratios, each of things measured in turn in one process on CIFAR-100 (TFDS_DATA_DIR or --data_dir):

- attention: a step with soft label and attention triplet over a step with the soft label alone;
- input: training on the stream over training on one batch kept in memory. 1.0 means that the input pipeline never
  lets the networks wait.

Writes step_cost.json beside this file.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

from envise_tf.distillation import training
from envise_tf.distillation.distiller import Distiller
from envise_tf.distillation.objectives import objective
from envise_tf.images.windows import Augmentation
from envise_tf.networks.students import residual_student
from envise_tf.run import provenance
from envise_tf.runs.job import found_job
from envise_tf.settings import TrainSettings, parsed

import tensorflow as tf  # isort: skip  (after envise_tf, which asks for Keras 2)

WARM_UP = 3


def main() -> None:
    """Measures both ratios and writes them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data_dir")
    parser.add_argument("--steps", type=int, default=20, help="steps in a row of each kind")
    parser.add_argument("--rounds", type=int, default=7, help="how often the kinds take turns")
    flags = parser.parse_args()
    words = ["--preset", "cifar100-zoo", *(["--data_dir", flags.data_dir] if flags.data_dir else [])]
    settings, _ = parsed(TrainSettings, "train", "", words)
    job = found_job(settings)
    training.prepare(settings.seed)
    stream = iter(job.stream.batches(Augmentation(settings.flip, settings.shift, settings.cutout)))
    kept = iter(tf.data.Dataset.from_tensors(next(stream)).repeat())
    plain = _step(job.teacher.model, settings, ["soft_label"])
    attentive = _step(job.teacher.model, settings, ["soft_label", "attention_triplet"])
    kinds = {"soft label, kept batch": (plain, kept), "attention, kept batch": (attentive, kept)}
    kinds["attention, stream"] = (attentive, stream)
    seconds = {name: [] for name in kinds}
    for step, images in kinds.values():
        _seconds(step, images, WARM_UP)
    for _ in range(flags.rounds):
        for name, (step, images) in kinds.items():
            seconds[name].append(_seconds(step, images, flags.steps) / flags.steps)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    result = {
        "attention_ratio": medians["attention, kept batch"] / medians["soft label, kept batch"],
        "input_ratio": medians["attention, stream"] / medians["attention, kept batch"],
        "milliseconds_a_step": {name: round(1000 * value, 1) for name, value in medians.items()},
        "batch_size": settings.batch_size,
        "steps": flags.steps,
        "rounds": flags.rounds,
        "command": f"python benchmarks/step_cost.py --steps {flags.steps} --rounds {flags.rounds}",
        **provenance(),
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(result, indent=2) + "\n")
    print(f"a step with attention / without: {result['attention_ratio']:.3f}   (wanted: at most 1.25)")
    print(f"a step on the stream / on a kept batch: {result['input_ratio']:.3f}")


def _step(teacher: tf.keras.Model, settings: TrainSettings, names: list[str]) -> tf.types.experimental.Callable:
    """Returns the compiled training function of a new student with these objectives."""
    student = residual_student(32, 20, settings.widths, settings.blocks)
    distiller = Distiller(student, teacher, range(20), {name: objective(name, {}) for name in names})
    distiller.compile()
    return distiller.make_train_function()


def _seconds(step: tf.types.experimental.Callable, images: Iterator[tf.Tensor], steps: int) -> float:
    began = time.perf_counter()
    for _ in range(steps):
        step(images)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
