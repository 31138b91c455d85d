"""What a sweep searches for, measured on held-back stream images: no label and no test image is looked at.

Only the choosing part of the held-back images is looked at: the other part tests the promise of the winner's threshold,
and a promise would be broken far too often if the winner had been chosen on the same images. The score that decides by
default is fitted and measured on the same choosing images, which flatters all trials alike by a little: it has four
weights. The figures are:

- agreement: share of the images that the teacher puts in one of the student's classes, on which both agree;
- auroc: probability that the score of an image on which both agree is above that of one on which they do not. An image
  that the teacher puts elsewhere is one of the latter, so rare classes count too;
- gie: the largest gain in efficiency of any threshold at which the cascade answers a given share of all images as the
  teacher does [our choice]; on a deferred image it always does. The best threshold is picked on the images that it is
  measured on, which again flatters all trials alike; the threshold of a finished student is chosen with a guarantee,
  by python -m envise_tf.evaluate.
"""

from __future__ import annotations

import numpy as np

from envise_tf.deferral.held_back_images import answers_on
from envise_tf.deferral.scores import fitted_default_score
from envise_tf.errors import UserError
from envise_tf.measures.gie import gie
from envise_tf.measures.outlier_metrics import outlier_metrics
from envise_tf.networks.macs import macs
from envise_tf.runs.finished import FinishedRun, networks_of

_BATCH = 256


def objective_figures(finished: FinishedRun, faithful: float) -> dict[str, float]:
    """Returns "agreement", "auroc" (NaN where both agree on all images, or on none) and "gie" of a finished run.

    Args:
        finished: run of train.
        faithful: for gie, the least share of images on which the cascade answers as the teacher does, in 0..1.
    """
    networks = networks_of(finished)
    batches = finished.job.choosing_images(_BATCH).as_numpy_iterator()
    choosing = answers_on(batches, networks.student, networks.teacher, finished.teacher_classes)
    seen = choosing.seen_by(fitted_default_score(choosing.outputs, choosing.pseudo_label, choosing.regret))
    flops = (float(macs(network).flops) for network in (finished.student, finished.job.teacher.model))
    return {
        "agreement": float(seen.agrees[seen.is_inlier].mean()),
        "auroc": auroc(seen.score, seen.agrees),
        "gie": best_gie(seen.score, seen.agrees, faithful, *flops),
    }


def auroc(score: np.ndarray, agrees: np.ndarray) -> float:
    """Returns the probability that an image on which both agree scores above one on which they do not, ties half.

    Args:
        score: float (n,), finite.
        agrees: bool (n,).

    Returns:
        0..1; NaN where one of the two kinds is missing.
    """
    if agrees.all() or not agrees.any():
        return float("nan")
    return outlier_metrics(score[agrees], score[~agrees])["auroc"]


def best_gie(
    score: np.ndarray, agrees: np.ndarray, faithful: float, student_flops: float, teacher_flops: float
) -> float:
    """Returns the largest gain in efficiency of any threshold at which the cascade is as faithful as asked.

    Args:
        score: float (n,), finite, n >= 1; larger = more inlier.
        agrees: bool (n,), whether the student's answer is the teacher's.
        faithful: least share of the n images on which the cascade's answer is the teacher's, in 0..1.
        student_flops: of an image, > 0.
        teacher_flops: likewise.

    Raises:
        UserError: `faithful` is out of range.
    """
    if not 0 <= faithful <= 1:
        raise UserError(f"--faithful {faithful:g} given: expected a share of 0..1, such as 0.95")
    images = len(score)
    descending = np.argsort(-score, kind="stable")
    wrong = np.cumsum(~agrees[descending])
    # A threshold answers all images of one score or none of them.
    is_last_of_its_score = np.append(np.diff(score[descending]) != 0, True)
    allowed = is_last_of_its_score & (wrong <= (1 - faithful) * images + 1e-9)
    answered = int(np.flatnonzero(allowed).max(initial=-1)) + 1
    return float(gie(images, images - answered, student_flops, teacher_flops))
