"""Writes quapy.json, QuaPy's answers to the streams that test_estimation.py asks about. Needs QuaPy, in no extra.

python tests/prior/make_quapy.py
"""

import json
from pathlib import Path

import numpy as np
import quapy
from gaussians import Gaussians
from quapy.method.aggregative import ACC, EMQ
from scipy.special import softmax

CLASSES = 6


def main():
    rng = np.random.default_rng(5)
    teacher = Gaussians.random(CLASSES, dimensions=3, seed=4)
    cases = []
    for images, source in ((400, np.full(CLASSES, 1 / CLASSES)), (150, np.array([0.3, 0.2, 0.2, 0.1, 0.1, 0.1]))):
        stream = rng.dirichlet(np.full(CLASSES, 0.7))
        logits, _ = teacher.draw(stream, images, seed=6)
        labelled, labels = teacher.draw(source, 300, seed=7)
        probabilities = softmax(logits + np.log(source), axis=1).round(6)
        predictions, stream_predictions = labelled.argmax(axis=1), logits.argmax(axis=1)
        EMQ.MAX_ITER = 20_000
        emq, _ = EMQ.EM(source, probabilities, epsilon=1e-9)
        rates = ACC.getPteCondEstim(np.arange(CLASSES), labels, predictions)
        shares = np.bincount(stream_predictions, minlength=CLASSES) / images
        cases.append(
            {
                "source_prior": source.tolist(),
                "probabilities": probabilities.tolist(),
                "labels": labels.tolist(),
                "predictions": predictions.tolist(),
                "stream_predictions": stream_predictions.tolist(),
                "emq": emq.tolist(),
                "bbse": ACC.solve_adjustment(rates, shares, "inversion", "minimize").tolist(),
            }
        )
    answers = {"made_by": f"tests/prior/make_quapy.py with QuaPy {quapy.__version__}", "cases": cases}
    Path(__file__).with_name("quapy.json").write_text(json.dumps(answers) + "\n")


if __name__ == "__main__":
    main()
