"""python benchmarks/detectors.py RUN --python PYTHON: our outlier scores beside pytorch-ood's, on the same features.

RUN is a finished run of train on a scenario with outliers. The student's features of the held-back images that choose
fit both, those of the test images are scored by both, with the same parameters: AUROC of inliers against outliers, and
how alike the two rank all images (Spearman). ODIN is left out: it looks at the network's gradient, not at features.

PYTHON is the interpreter of an environment of the benchmark's own, with torch, pytorch-ood and scikit-learn.

Writes detectors.json beside this file.
"""

from __future__ import annotations

import argparse
import math
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from common.scenario_run import opened_on_scenario
from rich.console import Console
from rich.table import Table
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from envise_tf import progress
from envise_tf.deferral.held_back_images import HeldBackImages, answers_on
from envise_tf.deferral.scores import outlier_score
from envise_tf.deferral.scores.outputs import Outputs
from envise_tf.deferral.scores.score import NotApplicable, OutlierScore
from envise_tf.errors import UserError, reports_user_errors
from envise_tf.run import Run, provenance

TARGET = Path(__file__).with_suffix(".json")
THEIRS = Path(__file__).parent / "peers" / "pytorch_ood_scores.py"
SCORES = (
    *("msp", "max_logit", "energy", "gen", "react", "vim", "knn", "fdbd", "nci"),
    *("mahalanobis", "relative_mahalanobis"),
)
"""Those that both have."""
BATCH = 256


@reports_user_errors("start again")
def main() -> None:
    """Compares the scores of a run and writes what came out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a finished run of train")
    parser.add_argument("--python", required=True, help="interpreter with torch, pytorch-ood and scikit-learn")
    parser.add_argument("--out", type=Path, default=TARGET, help="the JSON")
    flags = parser.parse_args()
    choosing, tested, is_outlier = observed(flags.run)
    ours = {name: score for name in SCORES if (score := fitted(name, choosing)) is not None}
    version, theirs = scores_of_pytorch_ood(flags.python, asked(ours, choosing, tested))
    rows = [compared(name, score.score(tested), -theirs[name], ~is_outlier) for name, score in ours.items()]
    content = {
        "command": f"python benchmarks/detectors.py {flags.run} --python PYTHON",
        "peer": version,
        "images": {
            "fitted": int((choosing.pseudo_label >= 0).sum()),
            "inliers": int((~is_outlier).sum()),
            "outliers": int(is_outlier.sum()),
        },
        "rows": rows,
        **provenance(),
    }
    Run(flags.out.parent).write_json(flags.out.name, content)
    _show(rows, version)


def observed(folder: Path) -> tuple[HeldBackImages, Outputs, np.ndarray]:
    """Returns what a run's networks say of the held-back images that choose, and its student of the test images.

    Returns:
        The third tells which test images are outliers, bool (n,).

    Raises:
        UserError: the run is not finished, or has no scenario.
    """
    finished, networks, examiner = opened_on_scenario(folder)
    batches = progress.track(finished.job.choosing_images(BATCH).as_numpy_iterator(), "held-back images")
    choosing = answers_on(batches, networks.student, networks.teacher, finished.teacher_classes)
    examples = progress.track(examiner.examples().batch(BATCH).as_numpy_iterator(), "test images")
    parts = [(networks.student(batch["image"]), np.isin(batch["label"], examiner.outliers)) for batch in examples]
    outputs, is_outlier = zip(*parts, strict=True)
    return choosing, Outputs.concatenated(outputs), np.concatenate(is_outlier)


def fitted(name: str, choosing: HeldBackImages) -> OutlierScore | None:
    """Returns a score fitted on held-back images, or None where it does not apply."""
    try:
        return choosing.fitted(outlier_score(name))
    except NotApplicable:
        return None


def asked(ours: dict[str, OutlierScore], choosing: HeldBackImages, tested: Outputs) -> dict[str, Any]:
    """Returns the features and the parameters of our scores, as the program of the others takes them."""
    is_known = choosing.pseudo_label >= 0
    features = choosing.outputs.features[is_known]
    options = {name: outlier_score(name).options for name in ("gen", "knn", "nci", "react")}
    residual = ours["vim"].fitted["residual"] if "vim" in ours else np.zeros((features.shape[1], 1))
    return {
        "fitted": features,
        "group": np.unique(choosing.pseudo_label[is_known], return_inverse=True)[1],
        "tested": tested.features,
        "kernel": tested.observer.kernel,
        "bias": tested.observer.bias,
        "gamma": options["gen"]["gamma"],
        "top": options["gen"]["top"],
        "neighbours": math.ceil(options["knn"]["share"] * len(features)),
        "alpha": options["nci"]["alpha"],
        "percentile": options["react"]["percentile"],
        "principal": features.shape[1] - residual.shape[1],
    }


def scores_of_pytorch_ood(python: str, arrays: dict[str, Any]) -> tuple[str, dict[str, np.ndarray]]:
    """Returns the versions of pytorch-ood and torch, and its scores by our names, larger = more outlier.

    Raises:
        UserError: the interpreter cannot run them.
    """
    with tempfile.TemporaryDirectory() as folder:
        features, scores = Path(folder) / "features.npz", Path(folder) / "scores.npz"
        np.savez(features, **arrays)
        command = [python, str(THEIRS), str(features), str(scores)]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            lines = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
            raise UserError(
                f"--python {python} cannot run pytorch-ood ({lines[-1]}): expected an interpreter with torch, "
                "pytorch-ood and scikit-learn"
            ) from None
        with np.load(scores, allow_pickle=False) as file:
            found = {name: file[name] for name in file.files}
    return str(found.pop("version")), found


def compared(name: str, ours: np.ndarray, theirs: np.ndarray, is_inlier: np.ndarray) -> dict[str, Any]:
    """Returns the AUROC of both, and the rank correlation of their scores, all larger = more inlier."""
    return {
        "score": name,
        "ours": float(roc_auc_score(is_inlier, ours)),
        "theirs": float(roc_auc_score(is_inlier, theirs)),
        "rank_correlation": float(spearmanr(ours, theirs).statistic),
    }


def _show(rows: list[dict[str, Any]], version: str) -> None:
    table = Table("score", "AUROC, ours", version, "rank correlation")
    for row in rows:
        table.add_row(row["score"], *(f"{row[name]:.4f}" for name in ("ours", "theirs", "rank_correlation")))
    Console().print(table)


if __name__ == "__main__":
    main()
