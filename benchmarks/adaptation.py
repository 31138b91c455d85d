"""python benchmarks/adaptation.py: does a binary student adapt to a new class prior in fewer steps than its twin?

That is the paper's first claim. Each student learns the zoo from scratch (`before`), then the prior changes to the
street, which shares no class with the zoo: the head is new, the trunk keeps its weights, the optimiser begins anew, and
training goes on (`after`) while agreement with the teacher is measured on held-back images. Binary student and
real-valued twin come from one definition, see the same images in the same order for the same seed, and learn by the
same objectives from the same teacher, as it came.

What keeps the comparison fair (our choices):

- The learning rate is tuned for each kind, width and phase by itself, from one grid for both kinds, on a seed that is
  not reported. Before the change by the agreement reached, as it is a student that has learned whose prior changes;
  after it by the mean agreement over all steps. One minus that mean is, for a rising curve, the number of steps until
  a level is reached, as a share of all steps, averaged over all levels from 0 to 1: no level is preferred. A
  best rate at the edge of the grid is marked in the result.
- After the change the rate is constant but for a short warm-up: a schedule that falls to zero would favour whoever is
  fastest at the length it was made for. Before the change it falls along a cosine, as in train.
- A level counts as reached when the mean of three measurements in a row reaches it. A single measurement would
  flatter the curve that jumps more. It counts at the last of the three, for both alike.
- The verdict is on the number of steps until a level that both reach: one point below the lower of the two final
  levels of a pair. Steps until a student's own final level favour the one that ends lower; they are given too.
- A pair is the binary student and the twin of one width and seed. A level that is not reached counts as later than
  any that is, so that the sign test can still use it; where no pair lacks it, Student's paired t says how large the
  difference is. With six pairs the sign test's p cannot be below 0.03.

The default takes a good hour on 4 hardware threads: 24 students before the change (4 passes over 4,000 images), 28
after it (4.6 passes over 4,200). Convergence takes tens of passes: what is measured is the first 300 steps after a
change. With time to spare, give more windows: --before 20 --after 25 --every 60.
--trial true tries everything in a few minutes, with figures that mean nothing.

It can be killed and started again: what has been trained is kept. Needs CIFAR-100 (TFDS_DATA_DIR or --data_dir).
Writes adaptation.json and adaptation.png beside this file; a trial writes them to --out.
"""

from __future__ import annotations

import dataclasses
import json
import math
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jsonargparse import ArgumentParser
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from scipy import integrate, stats

from envise_tf import progress
from envise_tf.distillation import training
from envise_tf.distillation.adam import adam_for
from envise_tf.distillation.answers import answered
from envise_tf.distillation.distiller import Distiller
from envise_tf.errors import UserError, reports_user_errors
from envise_tf.images.windows import Augmentation
from envise_tf.measures.paired import paired_difference
from envise_tf.networks.loading import load_network
from envise_tf.networks.students import residual_student, with_classes
from envise_tf.report.axes import OUTLIER, STUDENT
from envise_tf.run import Run, provenance
from envise_tf.runs.job import found_adaptation, found_job, learned_classes
from envise_tf.settings import TrainSettings, parsed
from envise_tf.stream.convergence import Convergence

import tensorflow as tf  # isort: skip  (after envise_tf, which asks for Keras 2)

Kind = Literal["binary", "twin"]
Role = Literal["before", "after"]
KINDS: tuple[Kind, ...] = ("binary", "twin")
SCENARIOS: dict[Role, str] = {"before": "cifar100-zoo", "after": "cifar100-street"}
Pair = tuple[float | None, float | None]
"""A figure of a binary student and of its twin, of the same width and seed; None where it was not reached."""

COLOURS: dict[Kind, str] = {"binary": STUDENT, "twin": OUTLIER}
LABELS: dict[Kind, str] = {"binary": "binary student", "twin": "real-valued twin"}
SAID = {"holds": "holds", "reversed": "is reversed", "undecided": "is not decided by these pairs"}

SMOOTHED_OVER = 3
"""Measurements in a row whose mean has to reach a level."""
FINISHED = "trained.json"
"""File in the run of a finished cell."""


@dataclass(frozen=True)
class AdaptationSettings:
    """What is compared, and for how long.

    Args:
        widths: channels of the stages, for each width that is compared.
        blocks: convolutions of each stage.
        before: windows on the zoo.
        after: windows on the street.
        window: images a window.
        every: steps between measurements of agreement.
        warmup: steps after the change in which the rate rises from zero.
        rates_before: learning rates that are tried before the change.
        rates_after: learning rates that are tried after it.
        tuning_seed: the seed on which they are tried.
        seeds: those that are reported.
        levels: of agreement, until which steps are counted.
        within: how near to a final level counts as having reached it, as a share of all images.
        floor: of the convergence test, as in the settings of a stream; lower, as so few steps lead less far.
        improvement: likewise.
        patience: likewise.
        held_back: most held-back images that agreement is measured on.
        data_dir: folder where data sets are prepared; default is TFDS_DATA_DIR or TensorFlow Datasets' own.
        trial: small networks and few steps, to try the command.
        out: folder that keeps what has been trained; default is runs/adaptation, or runs/adaptation-trial.
    """

    widths: tuple[tuple[int, ...], ...] = ((32, 64, 128), (32, 32, 64))
    blocks: tuple[int, ...] = (2, 2, 2)
    before: int = 4
    after: int = 5
    window: int = 4000
    every: int = 15
    warmup: int = 20
    rates_before: tuple[float, ...] = (0.001, 0.003, 0.01)
    rates_after: tuple[float, ...] = (0.0003, 0.001, 0.003, 0.01)
    tuning_seed: int = 100
    seeds: tuple[int, ...] = (0, 1, 2)
    levels: tuple[float, ...] = (0.25, 0.3, 0.35, 0.4, 0.45, 0.5)
    within: float = 0.01
    floor: float = 0.3
    improvement: float = 0.01
    patience: int = 2
    held_back: int = 1000
    data_dir: str | None = None
    trial: bool = False
    out: str | None = None

    def __post_init__(self) -> None:
        if self.tuning_seed in self.seeds:
            raise UserError(
                f"rates are tuned on seed {self.tuning_seed}, which is also reported: expected another --tuning_seed"
            )
        for name in ("widths", "rates_before", "rates_after", "seeds"):
            if not getattr(self, name):
                raise UserError(f"no {name} are given: expected at least one, such as --{name} [...]")

    def rates(self, role: Role) -> tuple[float, ...]:
        """Returns the learning rates that are tried before or after the change."""
        return self.rates_before if role == "before" else self.rates_after


TRIAL: dict[str, Any] = {
    "widths": ((32,),),
    "blocks": (1,),
    "before": 1,
    "after": 1,
    "window": 640,
    "every": 2,
    "warmup": 2,
    "rates_before": (0.003, 0.01),
    "rates_after": (0.003, 0.01),
    "seeds": (0, 1),
    "levels": (0.05, 0.1, 0.2),
    "floor": 0.05,
    "held_back": 256,
}


# --- figures of a curve ----------------------------------------------------------------------------------------------


def mean_agreement(steps: Sequence[float], agreement: Sequence[float]) -> float:
    """Returns the mean of a curve over its steps, in 0..1, by the trapezoidal rule."""
    return float(integrate.trapezoid(agreement, steps) / (steps[-1] - steps[0]))


def smoothed(agreement: Sequence[float]) -> np.ndarray:
    """Returns the mean of each measurement and the two before it, float64 (n,); NaN for the first two.

    Raises:
        UserError: there are fewer than three.
    """
    if len(agreement) < SMOOTHED_OVER:
        raise UserError(
            f"{len(agreement)} measurements of agreement after the change: expected at least {SMOOTHED_OVER}; "
            "give a lower --every or a higher --after"
        )
    means = np.convolve(agreement, np.full(SMOOTHED_OVER, 1 / SMOOTHED_OVER), "valid")
    return np.concatenate([np.full(SMOOTHED_OVER - 1, np.nan), means])


def steps_until(steps: Sequence[int], agreement: Sequence[float], level: float) -> int | None:
    """Returns the steps until the smoothed agreement first reaches a level; None where it never does."""
    reached = np.flatnonzero(smoothed(agreement) >= level - 1e-9)
    return int(steps[reached[0]]) if len(reached) else None


def converged_after(
    steps: Sequence[int], agreement: Sequence[float], floor: float, improvement: float, patience: int
) -> int | None:
    """Returns the steps until the convergence test of a stream passes, see `Convergence`; None where it never does."""
    test = Convergence(floor, improvement, patience)
    return next((int(step) for step, value in zip(steps, agreement, strict=True) if test.is_reached(value)), None)


def best_rate(figure_of: Mapping[float, float]) -> float:
    """Returns the learning rate with the largest figure; the lower one of two alike."""
    return max(sorted(figure_of), key=lambda rate: figure_of[rate])


# --- comparison of pairs ---------------------------------------------------------------------------------------------


def compared(pairs: Sequence[Pair], fewer_is_better: bool) -> dict[str, Any]:
    """Returns how much better the binary students did than their twins.

    Args:
        pairs: a figure of the binary student and of its twin; None where it was not reached.
        fewer_is_better: True for steps, of which None is more than any.

    Returns:
        "binary_better", "twin_better", "equal": numbers of pairs; "sign_p": p of the two-sided sign test, None where
        all are equal. Where no figure is missing also "difference", the mean advantage of the binary students in the
        figure's own unit, and with two pairs or more "interval", Student's paired interval of 95 %, and "p" of the
        two-sided paired t test, None where all pairs differ by the same.
    """
    sign = -1.0 if fewer_is_better else 1.0
    values = np.array([[-math.inf if x is None else sign * x for x in pair] for pair in pairs])
    better, worse = int((values[:, 0] > values[:, 1]).sum()), int((values[:, 0] < values[:, 1]).sum())
    result: dict[str, Any] = {
        "binary_better": better,
        "twin_better": worse,
        "equal": len(pairs) - better - worse,
        "sign_p": float(stats.binomtest(better, better + worse).pvalue) if better + worse else None,
    }
    return result | (paired_difference(*values.T) if np.isfinite(values).all() else {})


def verdict(comparison: Mapping[str, Any]) -> str:
    """Returns "holds", "reversed" or "undecided": whether the interval of the advantage lies on one side of zero."""
    low, high = comparison.get("interval", (-math.inf, math.inf))
    return "holds" if low > 0 else "reversed" if high < 0 else "undecided"


# --- what has been trained -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cell:
    """One student in one phase.

    Attributes:
        kind: "binary" or "twin".
        widths: of its stages.
        role: "before" or "after" the change.
        rate: learning rate.
        seed: of weights and images.
    """

    kind: Kind
    widths: tuple[int, ...]
    role: Role
    rate: float
    seed: int

    @property
    def name(self) -> str:
        """Tells the cell from all others; also the name of its file."""
        return f"{self.kind}-{width_name(self.widths)}-{self.role}-{self.rate:g}-{self.seed}"


@dataclass(frozen=True)
class Trained:
    """How a cell went.

    Attributes:
        steps: at which agreement was measured.
        agreement: measured there, 0..1.
    """

    steps: list[int]
    agreement: list[float]

    @property
    def mean(self) -> float:
        return mean_agreement(self.steps, self.agreement)

    @property
    def final(self) -> float:
        """The last measurement, or the mean of the last three where agreement was followed."""
        return float(smoothed(self.agreement)[-1]) if len(self.agreement) > 1 else self.agreement[0]


def width_name(widths: Sequence[int]) -> str:
    """Returns "32-64-128"."""
    return "-".join(map(str, widths))


class Ledger:
    """The cells in a folder: a run each, and in the run of a finished one how it went.

    Args:
        folder: holds settings.json and the runs.
        settings: with which the cells are made.

    Raises:
        UserError: the folder holds cells of other settings.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self._folder, run = folder, Run(folder)
        plain = json.loads(json.dumps(settings))
        if (folder / "settings.json").exists() and run.read_json("settings.json") != plain:
            raise UserError(f"{folder} holds what was trained with other settings: give another --out, or remove it")
        run.write_json("settings.json", plain)

    def __contains__(self, cell: Cell) -> bool:
        return (self.run(cell).folder / FINISHED).exists()

    def __getitem__(self, cell: Cell) -> Trained:
        return Trained(**self.run(cell).read_json(FINISHED))

    @property
    def steps(self) -> int:
        """Steps of all finished cells."""
        return sum(json.loads(file.read_text())["steps"][-1] for file in self._folder.glob(f"*/{FINISHED}"))

    def run(self, cell: Cell) -> Run:
        """Returns the run of a cell."""
        return Run(self._folder / cell.name)

    def add(self, cell: Cell, trained: Trained, student: tf.keras.Model | None) -> None:
        """Writes how a cell went, and first its student where one is given; its checkpoints are removed."""
        run = self.run(cell)
        if student is not None:
            run.save("student.keras", student.save)
        run.write_json(FINISHED, asdict(trained))
        shutil.rmtree(run.checkpoints, ignore_errors=True)

    def student(self, cell: Cell) -> tf.keras.Model:
        """Returns the student that was given with a cell."""
        return load_network(self.run(cell).folder / "student.keras", [])


# --- training --------------------------------------------------------------------------------------------------------


class Task:
    """What a student learns before or after the change, and the held-back images that its agreement is measured on.

    Args:
        settings: of such a distillation; the seed is given later.
        held_back: most held-back images.
    """

    def __init__(self, settings: TrainSettings, held_back: int) -> None:
        self.job = found_job(settings)
        self.classes = learned_classes(self.job, found_adaptation(self.job))
        images = self.job.held_back.images().unbatch().take(held_back).batch(settings.batch_size)
        self._held_back = answered(images, self.job.teacher)
        self._batches: dict[int, tf.data.Dataset] = {}

    @property
    def steps(self) -> int:
        """Steps of a training."""
        return self.job.settings.windows * self.job.stream.batches_a_window

    def trained(
        self,
        student: tf.keras.Model,
        rate: tf.keras.optimizers.schedules.LearningRateSchedule,
        seed: int,
        every: int,
        run: Run,
        callbacks: Sequence[tf.keras.callbacks.Callback] = (),
    ) -> Trained:
        """Returns how a training went, which is resumed from the latest checkpoint of its run.

        It depends on the weights that the student comes with, the rate and the seed alone.

        Args:
            student: with a logit for each class; trained in place.
            rate: learning rate of each step.
            seed: of the images.
            every: steps between measurements of agreement, each of which comes with a checkpoint.
            run: where checkpoints and log are kept.
            callbacks: of Keras.
        """
        distiller = Distiller(student, self.job.teacher.model, self.classes, self.job.objectives)
        distiller.compile(adam_for(distiller, rate))
        first = distiller.evaluate(self._held_back, verbose=0, return_dict=True)["agreement"]
        entries = training.fitted(
            distiller,
            lambda measured: self._stream(seed).skip(measured * every),
            run,
            self.steps // every,
            every,
            self._held_back,
            callbacks,
        )
        agreement = [first, *(entry["val_agreement"] for entry in entries)]
        return Trained([every * number for number in range(len(agreement))], agreement)

    def _stream(self, seed: int) -> tf.data.Dataset:
        """Returns the batches of a seed from the first on, the same for every student; kept in memory once read."""
        if seed not in self._batches:
            settings, stream = self.job.settings, dataclasses.replace(self.job.stream, seed=seed)
            self._batches[seed] = stream.batches(Augmentation(settings.flip, settings.shift, settings.cutout))
        return self._batches[seed]


def task_settings(settings: AdaptationSettings, role: Role) -> TrainSettings:
    """Returns the settings of a distillation before or after the change: those of the zoo, but shorter."""
    preset, _ = parsed(TrainSettings, "train", "", ["--preset", "cifar100-zoo", "--preset", "wide-resnet"])
    return dataclasses.replace(
        preset,
        scenario=SCENARIOS[role],
        data_dir=settings.data_dir,
        windows=settings.before if role == "before" else settings.after,
        window=settings.window,
        mixup=0.0,  # it is against learning images by heart, which takes longer than this
    )


class Training:
    """Trains all cells that are still to be trained.

    Args:
        settings: what is compared.
        ledger: of the finished ones.
        tasks: what is learned before the change and after it.
        progress: shows how far it has come.
    """

    def __init__(
        self, settings: AdaptationSettings, ledger: Ledger, tasks: Mapping[Role, Task], progress: Progress
    ) -> None:
        self._settings, self._ledger, self._tasks, self._progress = settings, ledger, tasks, progress
        students = {role: len(settings.rates(role)) + len(settings.seeds) for role in SCENARIOS}
        steps = sum(students[role] * task.steps for role, task in tasks.items())
        total = len(KINDS) * len(settings.widths) * steps
        self._bar = progress.add_task("", total=total, completed=ledger.steps)

    def train(self, kind: Kind, widths: tuple[int, ...]) -> None:
        """Trains the students of one kind and width: each rate on the tuning seed, then the best on every seed."""
        rates: dict[Role, float] = {}
        for role in SCENARIOS:
            for rate in self._settings.rates(role):
                self._finish(Cell(kind, widths, role, rate, self._settings.tuning_seed), rates)
            rates[role] = best_rate(tuning(self._settings, self._ledger, kind, widths, role))
            for seed in self._settings.seeds:
                self._finish(Cell(kind, widths, role, rates[role], seed), rates)

    def _finish(self, cell: Cell, rates: Mapping[Role, float]) -> None:
        """Trains a cell unless that is done."""
        if cell in self._ledger:
            return
        self._progress.update(self._bar, description=cell.name)
        task, run = self._tasks[cell.role], self._ledger.run(cell)
        training.prepare(cell.seed, task.job.settings.precision)
        student = self._start(cell, rates)
        shown = tf.keras.callbacks.LambdaCallback(on_train_batch_end=lambda *_: self._progress.advance(self._bar))
        if cell.role == "before":
            rate = training.cosine_rate(cell.rate, task.steps, task.job.settings.warmup)
            curve = task.trained(student, rate, cell.seed, task.job.stream.batches_a_window, run, [shown])
            trained = Trained(curve.steps[-1:], curve.agreement[-1:])
            self._ledger.add(cell, trained, student)
        else:
            # A line from 0 to the rate, which it then keeps.
            steps = max(self._settings.warmup, 1)
            rate = tf.keras.optimizers.schedules.PolynomialDecay(0.0, steps, end_learning_rate=cell.rate)
            trained = task.trained(student, rate, cell.seed, self._settings.every, run, [shown])
            self._ledger.add(cell, trained, None)
        self._progress.print(f"{cell.name}: agreement {100 * trained.final:.1f} %", soft_wrap=True)

    def _start(self, cell: Cell, rates: Mapping[Role, float]) -> tf.keras.Model:
        task = self._tasks[cell.role]
        student = residual_student(
            task.job.size, len(task.classes), cell.widths, self._settings.blocks, cell.kind == "binary"
        )
        if cell.role == "after":
            earlier = dataclasses.replace(cell, role="before", rate=rates["before"])
            with_classes(student, self._ledger.student(earlier), task.classes, self._tasks["before"].classes)
        return student


# --- the result ------------------------------------------------------------------------------------------------------


def steps_of(settings: AdaptationSettings, after: Trained) -> dict[str, int | None]:
    """Returns the steps of a student until each event, None where it did not come."""
    steps, agreement = after.steps, after.agreement
    return {
        **{f"level {level:g}": steps_until(steps, agreement, level) for level in settings.levels},
        "own final level": steps_until(steps, agreement, after.final - settings.within),
        "converged": converged_after(steps, agreement, settings.floor, settings.improvement, settings.patience),
    }


def pairs_of(settings: AdaptationSettings, binary: Trained, twin: Trained) -> dict[str, Pair]:
    """Returns the figures that are compared, by name."""
    common = min(binary.final, twin.final) - settings.within
    of_binary, of_twin = (
        {"common level": steps_until(each.steps, each.agreement, common), **steps_of(settings, each)}
        for each in (binary, twin)
    )
    return {name: (of_binary[name], of_twin[name]) for name in of_binary} | {
        "mean agreement": (binary.mean, twin.mean),
        "final agreement": (binary.final, twin.final),
    }


def comparison(pairs: Sequence[Mapping[str, Pair]]) -> dict[str, dict[str, Any]]:
    """Returns `compared` of each figure, by name; `pairs_of` of every pair is given."""
    return {
        name: compared([figure[name] for figure in pairs], fewer_is_better=not name.endswith("agreement"))
        for name in pairs[0]
    }


def result(settings: AdaptationSettings, ledger: Ledger, batch_size: int) -> dict[str, Any]:
    """Returns what adaptation.json holds of the finished cells, but for where they come from."""
    networks: dict[str, Any] = {}
    pairs: dict[str, list[dict[str, Pair]]] = {}
    for widths in settings.widths:
        name = width_name(widths)
        rates = {kind: best_rates(settings, ledger, kind, widths) for kind in KINDS}
        networks[name] = {kind: _kind_figures(settings, ledger, kind, widths, batch_size) for kind in KINDS}
        pairs[name] = [
            pairs_of(settings, *(ledger[Cell(kind, widths, "after", rates[kind]["after"], seed)] for kind in KINDS))
            for seed in settings.seeds
        ]
    of_all = comparison([pair for of_width in pairs.values() for pair in of_width])
    return {
        "verdict": verdict(of_all["common level"]),
        "comparison": {"all widths": of_all} | {name: comparison(of_width) for name, of_width in pairs.items()},
        "networks": networks,
    }


def best_rates(settings: AdaptationSettings, ledger: Ledger, kind: Kind, widths: tuple[int, ...]) -> dict[Role, float]:
    """Returns the learning rate that was best on the tuning seed, by phase."""
    return {role: best_rate(tuning(settings, ledger, kind, widths, role)) for role in SCENARIOS}


def tuning(
    settings: AdaptationSettings, ledger: Ledger, kind: Kind, widths: tuple[int, ...], role: Role
) -> dict[float, float]:
    """Returns the figure by which a rate is chosen, by rate."""
    trials = {rate: ledger[Cell(kind, widths, role, rate, settings.tuning_seed)] for rate in settings.rates(role)}
    return {rate: trial.final if role == "before" else trial.mean for rate, trial in trials.items()}


def _kind_figures(
    settings: AdaptationSettings, ledger: Ledger, kind: Kind, widths: tuple[int, ...], batch_size: int
) -> dict[str, Any]:
    """Returns what is reported of one kind and width: rates, agreement, the curve, and steps by seed."""
    rates = best_rates(settings, ledger, kind, widths)
    before, after = (
        [ledger[Cell(kind, widths, role, rates[role], seed)] for seed in settings.seeds] for role in SCENARIOS
    )
    curves = np.array([trained.agreement for trained in after])
    by_seed = [steps_of(settings, trained) for trained in after]
    steps = {name: [of_seed[name] for of_seed in by_seed] for name in by_seed[0]}
    return {
        "rate": rates,
        "rate_is_at_edge": {
            role: rate in (min(settings.rates(role)), max(settings.rates(role))) for role, rate in rates.items()
        },
        "tuning": {role: tuning(settings, ledger, kind, widths, role) for role in SCENARIOS},
        "agreement_before": [trained.final for trained in before],
        "final_agreement": [trained.final for trained in after],
        "mean_agreement": [trained.mean for trained in after],
        "steps": steps,
        "images": {name: [None if n is None else n * batch_size for n in counts] for name, counts in steps.items()},
        "curve": {
            "steps": after[0].steps,
            "mean": curves.mean(axis=0).tolist(),
            "low": curves.min(axis=0).tolist(),
            "high": curves.max(axis=0).tolist(),
        },
    }


def picture(networks: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Returns agreement against steps after the change: a panel a width, the mean over seeds and their range."""
    figure = Figure(figsize=(4.2 * len(networks), 3.3), layout="constrained")
    panels = figure.subplots(1, len(networks), sharey=True, squeeze=False)[0]
    for axes, (name, kinds) in zip(panels, networks.items(), strict=True):
        for kind in KINDS:
            curve = kinds[kind]["curve"]
            mean, low, high = (100 * np.array(curve[key]) for key in ("mean", "low", "high"))
            axes.plot(curve["steps"], mean, color=COLOURS[kind], label=LABELS[kind])
            axes.fill_between(curve["steps"], low, high, color=COLOURS[kind], alpha=0.2, lw=0)
        axes.set(title=f"widths {name}", xlabel="steps after the change")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    panels[0].set_ylabel("agreement with the teacher [%]")
    panels[0].legend(frameon=False)
    return figure


# --- the command -----------------------------------------------------------------------------------------------------


@reports_user_errors("start again with the same words: what has been trained is kept")
def main() -> None:
    """Trains what is still to be trained, and writes the result and the picture."""
    settings = _parsed_settings()
    folder = Path(settings.out or ("runs/adaptation-trial" if settings.trial else "runs/adaptation"))
    # Where the files lie makes no difference to what is found.
    asked = {name: value for name, value in asdict(settings).items() if name not in ("data_dir", "out")}
    ledger = Ledger(folder, asked)
    tasks = {role: Task(task_settings(settings, role), settings.held_back) for role in SCENARIOS}
    batch_size = tasks["before"].job.settings.batch_size
    with progress.bar("steps, time") as shown:
        training = Training(settings, ledger, tasks, shown)
        for widths in settings.widths:
            for kind in KINDS:
                training.train(kind, widths)
    found = result(settings, ledger, batch_size)
    sources = {"settings": asked, "batch_size": batch_size, "command": _command(), **provenance()}
    place = Run(folder if settings.trial else Path(__file__).parent)
    place.write_json("adaptation.json", found | sources)
    place.save("adaptation.png", lambda path: picture(found["networks"]).savefig(path, dpi=150))
    _show(found, place.folder)


def _parsed_settings() -> AdaptationSettings:
    """Returns the settings of the command line; a trial's own are what its other flags do not say."""
    parser = ArgumentParser(prog="python benchmarks/adaptation.py", description=__doc__.splitlines()[0])
    parser.add_class_arguments(AdaptationSettings)
    if parser.parse_args().trial:
        parser.set_defaults(TRIAL)
    return AdaptationSettings(**parser.parse_args().as_dict())


def _command() -> str:
    return shlex.join(["python", "benchmarks/adaptation.py", *sys.argv[1:]])


def _show(found: Mapping[str, Any], folder: Path) -> None:
    table = Table(title="steps after the change, by seed", caption=f"written to {folder}/adaptation.json and .png")
    for column in ("widths", "network", "rate", "mean agreement [%]", "final agreement [%]", "own final level"):
        table.add_column(column)
    for name, kinds in found["networks"].items():
        for kind, of_kind in kinds.items():
            agreement = (
                " ".join(f"{100 * x:.1f}" for x in of_kind[key]) for key in ("mean_agreement", "final_agreement")
            )
            own = " ".join("-" if n is None else str(n) for n in of_kind["steps"]["own final level"])
            table.add_row(name, LABELS[kind], f"{of_kind['rate']['after']:g}", *agreement, own)
    console = Console()
    console.print(table)
    console.print(f"fewer steps than the twin until a common level: the claim {SAID[found['verdict']]}")


if __name__ == "__main__":
    main()
