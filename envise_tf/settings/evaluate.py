"""The settings of evaluate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from envise_tf.settings.places import FilePath
from envise_tf.settings.ranges import Checked, Count, Proportion, Seed


@dataclass(frozen=True)
class EvaluateSettings(Checked):
    """Threshold and images.

    Args:
        run: folder of a finished run of train.
        data_dir: folder of the prepared data sets; default: that of the run.
        score: outlier score whose threshold decides who answers; default: regret, or msp where regret cannot be fitted.
        rule: what the threshold promises: accuracy (how much less often than the teacher's the cascade's answers are
            right), risk (disagreement with the teacher among the images that the student answers), recall (share of
            inliers that it answers) or rate (share of images that it defers).
        epsilon: for accuracy and risk, the largest loss or disagreement promised; default: that of the run.
        bound: for accuracy, the upper confidence bound; betting promises more where most answers cost nothing.
        recall: for recall, the smallest share of inliers answered.
        rate: for rate, the largest share of images deferred.
        confidence: probability with which the promise holds.
        calibrate: folder of labelled images, in one sub-folder per class, that no network was trained on, to bound the
            true loss by; default: that of the run.
        per_class: choose a threshold for each class that the student predicts.
        photographs: show images in the report; default: that of the run.
        batch_size: images at a time.
        seed: of the picture of features.
    """

    run: FilePath
    data_dir: FilePath | None = None
    score: str | None = None
    rule: Literal["accuracy", "risk", "recall", "rate"] = "accuracy"
    epsilon: Proportion | None = None
    bound: Literal["betting", "hoeffding_bentkus"] = "betting"
    recall: Proportion = 0.95
    rate: Proportion = 0.2
    confidence: Proportion = 0.95
    calibrate: FilePath | None = None
    per_class: bool = False
    photographs: bool | None = None
    batch_size: Count = 256
    seed: Seed = 0
