"""python benchmarks/step_cost.py: what each objective adds to a step, and whether images come fast enough.

Ratios of steps measured in turn in one process, on the images of a preset of train:

- objectives: a step with each objective's preset over a step with the soft label alone;
- input: training on the stream over training on one batch kept in memory. 1.0 means that the input pipeline never
  lets the networks wait;
- pytorch, where `--python` names an interpreter with torch: a step with the soft label alone over one of a loop in
  PyTorch, with networks, batch and precision of the presets cifar100-zoo and wide-resnet.

Writes step_cost.json beside this file.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import yaml

from envise_tf import progress
from envise_tf.distillation import training
from envise_tf.distillation.adam import adam_for
from envise_tf.distillation.distiller import Distiller
from envise_tf.errors import UserError, reports_user_errors
from envise_tf.images.windows import Augmentation
from envise_tf.networks.students import residual_student
from envise_tf.run import provenance
from envise_tf.runs.job import Job, found_job, found_objectives, learned_classes
from envise_tf.settings import TrainSettings, parsed, preset_file, preset_names

import tensorflow as tf  # isort: skip  (after envise_tf, which asks for Keras 2)

Step = Callable[[Iterator[tf.Tensor]], object]
"""Takes one step on the next batch."""

Steps = Callable[[int], float]
"""Takes so many steps, and returns the seconds that they took."""

PLAIN = "soft-label"
WITH_ATTENTION = "attention-triplet"
WARM_UP = 3
WANTED = 1.5
IN_PYTORCH = Path(__file__).parent / "peers" / "torch_step.py"


@reports_user_errors("start again")
def main() -> None:
    """Measures the ratios and writes them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--preset",
        nargs="+",
        default=["cifar100-zoo", "wide-resnet"],
        help="of train, whose images, networks and batches are taken",
    )
    parser.add_argument("--data_dir")
    parser.add_argument("--objectives", nargs="+", default=objective_presets(), help="presets that are laid over it")
    parser.add_argument("--steps", type=int, default=20, help="steps in a row of each kind")
    parser.add_argument("--rounds", type=int, default=7, help="how often the kinds take turns")
    parser.add_argument("--python", help="interpreter with torch, to compare with a loop in PyTorch")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"), help="the JSON")
    flags = parser.parse_args()
    names = dict.fromkeys([PLAIN, WITH_ATTENTION, *flags.objectives])
    settings = {name: settings_of(flags.preset, name, flags.data_dir) for name in names}
    job = found_job(settings[PLAIN])
    training.prepare(0)
    stream = iter(job.stream.batches(Augmentation(settings[PLAIN].flip, settings[PLAIN].shift)))
    kept = iter(tf.data.Dataset.from_tensors(next(stream)).repeat())
    functions = {name: step_of(job, settings[name]) for name in names}
    kinds: dict[str, Steps] = {name: steps_on(function, kept) for name, function in functions.items()}
    kinds["stream"] = steps_on(functions[WITH_ATTENTION], stream)
    with contextlib.ExitStack() as stack:
        peer = None
        if flags.python:
            sizes = [len(job.teacher.class_names), len(learned_classes(job, None)), settings[PLAIN].batch_size]
            peer, kinds["pytorch"] = stack.enter_context(in_pytorch(flags.python, sizes))
        medians = median_seconds(kinds, flags.rounds, flags.steps)
    result = {
        "objectives": {name: medians[name] / medians[PLAIN] for name in names},
        "input_ratio": medians["stream"] / medians[WITH_ATTENTION],
        **({"peer": peer, "pytorch_ratio": medians[PLAIN] / medians["pytorch"]} if peer else {}),
        "milliseconds_a_step": {name: round(1000 * value, 1) for name, value in medians.items()},
        "batch_size": settings[PLAIN].batch_size,
        "steps": flags.steps,
        "rounds": flags.rounds,
        "command": f"python benchmarks/step_cost.py --steps {flags.steps} --rounds {flags.rounds}"
        + (" --python PYTHON" if peer else ""),
        **provenance(),
    }
    flags.out.write_text(json.dumps(result, indent=2) + "\n")
    for name, ratio in result["objectives"].items():
        print(f"{name:26} {ratio:.3f}   (wanted: at most {WANTED})")
    print(f"a step on the stream / on a kept batch: {result['input_ratio']:.3f}")
    if peer:
        print(f"a step with the soft label alone / one of {peer}: {result['pytorch_ratio']:.3f}")


def objective_presets() -> list[str]:
    """Returns the presets of train that are laid over another one, for they name objectives and no images."""
    settings = {name: yaml.safe_load(preset_file("train", name).read_text()) for name in preset_names("train")}
    return [name for name, of in settings.items() if "objectives" in of and "source" not in of]


def settings_of(presets: Sequence[str], objective: str, data_dir: str | None) -> TrainSettings:
    """Returns the settings of presets with those of an objective's preset laid over them."""
    words = [word for preset in [*presets, objective] for word in ("--preset", preset)] + ["--classes", "pinned"]
    return parsed(TrainSettings, "train", "", [*words, *(["--data_dir", data_dir] if data_dir else [])])[0]


def step_of(job: Job, settings: TrainSettings) -> Step:
    """Returns the compiled training function of a new student."""
    classes = learned_classes(job, None)
    student = residual_student(job.size, len(classes), **settings.shape)
    distiller = Distiller(student, job.teacher.model, classes, found_objectives(settings))
    distiller.compile(adam_for(distiller, settings.learning_rate))
    return distiller.make_train_function()


def steps_on(step: Step, images: Iterator[tf.Tensor]) -> Steps:
    """Returns what takes and times steps of a training function on these images."""

    def seconds(steps: int) -> float:
        began = time.perf_counter()
        for _ in range(steps):
            step(images)
        return time.perf_counter() - began

    return seconds


@contextlib.contextmanager
def in_pytorch(python: str, sizes: list[int]) -> Iterator[tuple[str, Steps]]:
    """Yields the version of torch, and what takes and times steps of the loop in PyTorch.

    Args:
        python: an interpreter with torch.
        sizes: classes of the teacher, classes of the student, images of a batch.

    Raises:
        UserError: the interpreter has no torch.
    """
    command = [python, str(IN_PYTORCH), *map(str, sizes)]
    try:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    except OSError as error:
        raise UserError(f"--python {python} does not start ({error.strerror}): expected an interpreter") from None
    with process:
        assert process.stdin is not None, "piped"
        assert process.stdout is not None, "piped"
        version = process.stdout.readline().strip()
        if not version:
            raise UserError(f"--python {python} cannot run {IN_PYTORCH.name}: expected an interpreter with torch")

        def seconds(steps: int) -> float:
            print(steps, file=process.stdin, flush=True)
            return float(process.stdout.readline())

        yield version, seconds


def median_seconds(kinds: dict[str, Steps], rounds: int, steps: int) -> dict[str, float]:
    """Returns the median seconds of a step of each kind, which take turns."""
    seconds: dict[str, list[float]] = {name: [] for name in kinds}
    for taken in progress.track(list(kinds.values()), "tracing"):
        taken(WARM_UP)
    for _ in progress.track(range(rounds), "rounds"):
        for name, taken in kinds.items():
            seconds[name].append(taken(steps) / steps)
    return {name: statistics.median(values) for name, values in seconds.items()}


if __name__ == "__main__":
    main()
