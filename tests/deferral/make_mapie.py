"""Writes mapie.json, the thresholds that MAPIE's learn-then-test chooses on the streams that test_regret.py asks about.

    python tests/deferral/make_mapie.py

with MAPIE 1.6.0, which is in no extra. A fixed sequence of tests runs from the largest score down, each with the
p-value of Hoeffding and Bentkus; the threshold is the last score whose risk is rejected to be above epsilon.
"""

import json
from importlib import metadata
from pathlib import Path

import numpy as np
from mapie.risk_control.fwer_control import control_fwer
from mapie.risk_control.methods import compute_hoeffding_bentkus_p_value

DELTA = 0.05


def main():
    cases = []
    for seed, images, epsilon in ((0, 400, 0.05), (1, 2000, 0.01), (2, 2000, 0.02), (3, 150, 0.02), (4, 100, 0.02)):
        random = np.random.default_rng(seed)
        score = random.random(images).round(2)
        regret = np.where(random.random(images) < 0.3 * (1 - score) ** 2, random.random(images) * 0.6, 0).round(3)
        levels = np.unique(score)[::-1]
        risks = (regret[:, None] * (score[:, None] >= levels)).mean(axis=0)
        p_values = compute_hoeffding_bentkus_p_value(risks, images, np.array([epsilon]))[:, 0]
        rejected = control_fwer(p_values, DELTA, "fixed_sequence")
        threshold = float(levels[max(rejected)]) if len(rejected) else None
        case = {"epsilon": epsilon, "threshold": threshold, "score": score.tolist(), "regret": regret.tolist()}
        cases.append(case)
    answers = {"made_by": f"tests/deferral/make_mapie.py with MAPIE {metadata.version('mapie')}", "cases": cases}
    Path(__file__).with_name("mapie.json").write_text(json.dumps(answers) + "\n")


if __name__ == "__main__":
    main()
