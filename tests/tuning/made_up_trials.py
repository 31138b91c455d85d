"""Records of trials as a sweep of the space distillation might leave them, with a GiE that follows from the values."""

import math
from typing import Any

import numpy as np

from envise_tf.settings import SweepSettings
from envise_tf.tuning.space import Space, load_space
from envise_tf.tuning.trials import BASELINE, TrialRecord, training_settings


def record(trial: str, gie: float | None = 0.5, windows: int = 10, **others: Any) -> TrialRecord:
    """A trial with agreement that rises to 0.8; failed if it has no GiE."""
    failed = gie is None
    figures = {} if failed else {"gie": gie, "auroc": 0.7, "agreement": 0.8}
    return TrialRecord(
        **{
            "trial": trial,
            "status": "failed" if failed else "completed",
            "values": {"learning_rate": 0.001},
            "figures": figures,
            "curve": [0.8 - 0.5 * math.exp(-window / 3) for window in range(windows)],
            "run": f"runs/{trial}",
            "seconds": 90.0,
            "reason": "loss nan in window 2" if failed else "",
            "worker": "tuner0",
            **others,
        }
    )


def sweep_records(count: int, space: Space | None = None, seed: int = 0) -> list[TrialRecord]:
    """The baseline, then trials of which every ninth fails and every seventh is stopped.

    GiE is largest where learning_rate is near 0.002, and grows with the temperature.
    """
    space = space or load_space("distillation")
    base = training_settings(SweepSettings())
    records = [record(BASELINE, 0.55, values=space.row_of(base))]
    chance = np.random.default_rng(seed)
    for number in range(count):
        values = space.row(_drawn(space, chance))
        rate, warmth = (math.log10(values[key]) for key in ("learning_rate", "objectives.soft_label.temperature"))
        gie = 0.5 - 0.25 * (rate + 2.7) ** 2 + 0.15 * warmth + chance.normal(0, 0.01)
        fails, stops = number % 9 == 8, number % 7 == 6
        windows = 2 if fails else 4 if stops else 10
        curve = [0.9 * gie + 0.3 - 0.4 * math.exp(-window / 3) + chance.normal(0, 0.01) for window in range(windows)]
        figures = {} if fails else {"gie": gie - 0.1 * stops, "auroc": 0.7 + 0.2 * gie, "agreement": curve[-1]}
        reason = "hopeless: agreement 41.0 % after 4 windows, half of 7 trials had 52.3 %" * stops
        records.append(
            record(
                f"{number:02d}",
                values=values,
                status="failed" if fails else "stopped" if stops else "completed",
                figures=figures,
                curve=curve,
                seconds=30.0 * windows + number,
                reason="loss became infinite in window 3" if fails else reason,
            )
        )
    return records


def _drawn(space: Space, chance: np.random.Generator) -> dict[str, Any]:
    """Values as KerasTuner gives them, drawn at random."""
    hyperparameters = space.hyperparameters()
    return {one.name: one.random_sample(int(chance.integers(2**31))) for one in hyperparameters.space}
