"""python benchmarks/winner.py SWEEP: does the best trial of a sweep hold up with other seeds?

The winner of many trials had more luck than most. Here its settings and those that the sweep started from are trained
again with seeds that the sweep did not use, for as many windows, and measured on the same held-back images. Both see
the images in the same order for the same seed, so the differences are paired: Student's paired interval of 95 %.

Two trainings a seed; what has been trained is kept in SWEEP/winner, so it can be killed and started again. Writes
winner.json there.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser
from rich.console import Console
from rich.table import Table

from envise_tf import progress
from envise_tf.errors import UserError, reports_user_errors
from envise_tf.measures.paired import paired_difference
from envise_tf.run import Run, provenance
from envise_tf.settings import SweepSettings, TrainSettings
from envise_tf.tuning.pipeline import stored_settings
from envise_tf.tuning.ranking import FIGURES, best_trial
from envise_tf.tuning.report import settings_of, shown
from envise_tf.tuning.runner import Runner
from envise_tf.tuning.space import load_space
from envise_tf.tuning.trials import training_settings, trial_records


def figures(runner: Runner, base: TrainSettings, seeds: tuple[int, ...], first: int) -> list[dict[str, float]]:
    """Returns the figures of a training for each seed; `first` is the number of the first record."""
    found = []
    for number, seed in enumerate(seeds, first):
        settings = dataclasses.replace(base, seed=seed)
        found.append(runner.record(str(number), settings, {}, until=settings.windows, earlier=None).figures)
    return found


def compared(winner: list[float], preset: list[float]) -> dict[str, Any]:
    """Returns both, the mean difference, and its paired interval where there are two seeds or more."""
    found = paired_difference(winner, preset)
    found.pop("p", None)
    return {"winner": winner, "preset": preset, **found}


@reports_user_errors("start again with the same words: what has been trained is kept")
def main() -> None:
    """Trains both settings with every seed and writes the comparison."""
    parser = ArgumentParser(prog="python benchmarks/winner.py", description=__doc__.splitlines()[0])
    parser.add_argument("sweep", help="folder of the sweep")
    parser.add_argument("--seeds", type=tuple[int, ...], default=(1, 2, 3), help="none of them the sweep's own")
    given = parser.parse_args()
    sweep, settings = Run(Path(given.sweep)), stored_settings(given.sweep)
    best = best_trial(trial_records(sweep), settings.objective)
    if best is None:
        raise UserError(f"no trial of {given.sweep} has a figure: expected a sweep that has ended")
    if settings.seed in given.seeds:
        raise UserError(f"seed {settings.seed} is the sweep's own: expected others, such as --seeds [1,2,3]")
    base = training_settings(settings)
    chosen = settings_of(best, load_space(settings.space), base)
    found = _found(sweep, settings, chosen, base, given.seeds)
    comparison = {name: compared(*([each[name] for each in of] for of in found)) for name in FIGURES}
    command = " ".join(["python", "benchmarks/winner.py", *sys.argv[1:]])
    result = {"trial": best.trial, "values": best.values, "seeds": given.seeds, "comparison": comparison}
    Run(sweep.folder / "winner").write_json("winner.json", {**result, "command": command, **provenance()})
    _show(comparison)


def _found(
    sweep: Run, settings: SweepSettings, chosen: TrainSettings, base: TrainSettings, seeds: tuple[int, ...]
) -> tuple[list[dict[str, float]], list[dict[str, float]]]:
    kept = Run(sweep.folder / "winner")
    # On the terminal as it is now: what is printed while a trial runs goes to a file.
    with progress.bar("trainings, time", Console(file=sys.stdout)) as bar:
        task = bar.add_task("", total=2 * len(seeds))

        def told(done: int, of: int) -> None:
            bar.update(task, description=f"window {done}/{of}", completed=len(trial_records(kept)) + done / of)

        runner = Runner(kept, settings, "winner", told)
        return figures(runner, chosen, seeds, 0), figures(runner, base, seeds, len(seeds))


def _show(comparison: dict[str, dict[str, Any]]) -> None:
    table = Table("figure", "winner", "preset", "difference", "95 % interval")
    for name, of in comparison.items():
        each = (" ".join(shown(name, value) for value in of[kind]) for kind in ("winner", "preset"))
        interval = " to ".join(f"{value:.3f}" for value in of.get("interval", []))
        table.add_row(FIGURES[name], *each, f"{of['difference']:.3f}", interval)
    Console().print(table)


if __name__ == "__main__":
    main()
