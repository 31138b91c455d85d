"""envise-tf: turn a trained Keras image classifier into a cheap cascade for phones.

    import envise_tf as et

    teacher = et.load_teacher("teacher.keras")
    stream, choosing, promising = et.photographs("photographs", teacher.size)

Every name of the public face is imported when it is first used (PEP 562). Importing the package is light: it imports
neither TensorFlow nor Larq, because the mobile runtime lives under the same name. It only asks TensorFlow, should it be
imported later, for Keras 2, which Larq needs.
"""

import importlib
import os
from typing import TYPE_CHECKING

from envise_tf import keras2

keras2.choose()
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

if TYPE_CHECKING:  # what `_HOMES` says, for type checkers and editors
    from envise_tf.deferral.cascade import Answer as Answer
    from envise_tf.deferral.cascade import Answers as Answers
    from envise_tf.deferral.cascade import Cascade as Cascade
    from envise_tf.deferral.held_back import HeldBack as HeldBack
    from envise_tf.deferral.held_back_images import HeldBackImages as HeldBackImages
    from envise_tf.deferral.held_back_images import answers_on as answers_on
    from envise_tf.deferral.keras_cascade import keras_cascade as keras_cascade
    from envise_tf.deferral.promise import Kept as Kept
    from envise_tf.deferral.promise import kept as kept
    from envise_tf.deferral.scores import fitted_default_score as fitted_default_score
    from envise_tf.deferral.scores import load_score as load_score
    from envise_tf.deferral.scores.agreement import Agreement as Agreement
    from envise_tf.deferral.scores.energy import Energy as Energy
    from envise_tf.deferral.scores.fdbd import Fdbd as Fdbd
    from envise_tf.deferral.scores.gen import Gen as Gen
    from envise_tf.deferral.scores.inlier_mass import InlierMass as InlierMass
    from envise_tf.deferral.scores.knn import Knn as Knn
    from envise_tf.deferral.scores.mahalanobis import Mahalanobis as Mahalanobis
    from envise_tf.deferral.scores.margin import Margin as Margin
    from envise_tf.deferral.scores.max_logit import MaxLogit as MaxLogit
    from envise_tf.deferral.scores.msp import Msp as Msp
    from envise_tf.deferral.scores.nci import Nci as Nci
    from envise_tf.deferral.scores.odin import Odin as Odin
    from envise_tf.deferral.scores.outputs import Observer as Observer
    from envise_tf.deferral.scores.outputs import Outputs as Outputs
    from envise_tf.deferral.scores.react import React as React
    from envise_tf.deferral.scores.regret import Regret as Regret
    from envise_tf.deferral.scores.relative_mahalanobis import RelativeMahalanobis as RelativeMahalanobis
    from envise_tf.deferral.scores.score import NotApplicable as NotApplicable
    from envise_tf.deferral.scores.score import OutlierScore as OutlierScore
    from envise_tf.deferral.scores.vim import Vim as Vim
    from envise_tf.deferral.threshold import Threshold as Threshold
    from envise_tf.deferral.threshold import chosen_threshold as chosen_threshold
    from envise_tf.deferral.threshold import threshold_on as threshold_on
    from envise_tf.distillation.adam import adam_for as adam_for
    from envise_tf.distillation.distiller import Distiller as Distiller
    from envise_tf.distillation.labelled import LabelledStudent as LabelledStudent
    from envise_tf.distillation.objectives.amc import Amc as Amc
    from envise_tf.distillation.objectives.amd import Amd as Amd
    from envise_tf.distillation.objectives.attention_transfer import AttentionTransfer as AttentionTransfer
    from envise_tf.distillation.objectives.attention_triplet import AttentionTriplet as AttentionTriplet
    from envise_tf.distillation.objectives.deep_gambler import DeepGambler as DeepGambler
    from envise_tf.distillation.objectives.embedding_triplet import EmbeddingTriplet as EmbeddingTriplet
    from envise_tf.distillation.objectives.hard_label import HardLabel as HardLabel
    from envise_tf.distillation.objectives.hint import Hint as Hint
    from envise_tf.distillation.objectives.mix_kd import MixKd as MixKd
    from envise_tf.distillation.objectives.mixed_label import MixedLabel as MixedLabel
    from envise_tf.distillation.objectives.objective import Objective as Objective
    from envise_tf.distillation.objectives.orthogonal_sphere import OrthogonalSphere as OrthogonalSphere
    from envise_tf.distillation.objectives.oskd import Oskd as Oskd
    from envise_tf.distillation.objectives.soft_label import SoftLabel as SoftLabel
    from envise_tf.distillation.training import cosine_rate as cosine_rate
    from envise_tf.errors import UserError as UserError
    from envise_tf.export.bundle import load_bundle as load_bundle
    from envise_tf.export.runtime import BundleCascade as BundleCascade
    from envise_tf.images.photographs import decoded_square as decoded_square
    from envise_tf.images.windows import Photographs as Photographs
    from envise_tf.images.windows import photographs as photographs
    from envise_tf.measures.gie import gie as gie
    from envise_tf.measures.gie import speedup as speedup
    from envise_tf.networks.loading import Classifier as Classifier
    from envise_tf.networks.loading import load_teacher as load_teacher
    from envise_tf.networks.macs import macs as macs
    from envise_tf.networks.shipped import shipped_names as shipped_names
    from envise_tf.networks.shipped import shipped_network as shipped_network
    from envise_tf.networks.students import residual_student as residual_student
    from envise_tf.networks.students import with_classes as with_classes
    from envise_tf.prior.adaptation import Adaptation as Adaptation
    from envise_tf.prior.adapted import adapted_to as adapted_to
    from envise_tf.prior.calibration import Calibration as Calibration
    from envise_tf.prior.calibration import fitted_calibration as fitted_calibration
    from envise_tf.prior.estimation import WindowPrior as WindowPrior
    from envise_tf.prior.estimation import estimated_prior as estimated_prior
    from envise_tf.prior.frequent import frequent_classes as frequent_classes
    from envise_tf.runs.finished import load_cascade as load_cascade
    from envise_tf.runs.finished import load_run as load_run

__version__ = "0.1.0"

_HOMES = {
    # Teachers and students
    "load_teacher": "networks.loading",
    "Classifier": "networks.loading",
    "residual_student": "networks.students",
    "with_classes": "networks.students",
    "shipped_names": "networks.shipped",
    "shipped_network": "networks.shipped",
    "macs": "networks.macs",
    # Images
    "photographs": "images.windows",
    "Photographs": "images.windows",
    "decoded_square": "images.photographs",
    # The classes that really occur in them, and the teacher that knows it
    "adapted_to": "prior.adapted",
    "Adaptation": "prior.adaptation",
    "frequent_classes": "prior.frequent",
    "estimated_prior": "prior.estimation",
    "WindowPrior": "prior.estimation",
    "Calibration": "prior.calibration",
    "fitted_calibration": "prior.calibration",
    # Distillation
    "Distiller": "distillation.distiller",
    "LabelledStudent": "distillation.labelled",
    "adam_for": "distillation.adam",
    "cosine_rate": "distillation.training",
    "Objective": "distillation.objectives.objective",
    "AttentionTriplet": "distillation.objectives.attention_triplet",
    "HardLabel": "distillation.objectives.hard_label",
    "SoftLabel": "distillation.objectives.soft_label",
    "Amc": "distillation.objectives.amc",
    "Amd": "distillation.objectives.amd",
    "AttentionTransfer": "distillation.objectives.attention_transfer",
    "DeepGambler": "distillation.objectives.deep_gambler",
    "EmbeddingTriplet": "distillation.objectives.embedding_triplet",
    "Hint": "distillation.objectives.hint",
    "MixKd": "distillation.objectives.mix_kd",
    "MixedLabel": "distillation.objectives.mixed_label",
    "OrthogonalSphere": "distillation.objectives.orthogonal_sphere",
    "Oskd": "distillation.objectives.oskd",
    # What both networks say of held-back images
    "Observer": "deferral.scores.outputs",
    "Outputs": "deferral.scores.outputs",
    "answers_on": "deferral.held_back_images",
    "HeldBackImages": "deferral.held_back_images",
    "HeldBack": "deferral.held_back",
    # Scores: larger = more inlier
    "OutlierScore": "deferral.scores.score",
    "NotApplicable": "deferral.scores.score",
    "fitted_default_score": "deferral.scores",
    "load_score": "deferral.scores",
    "Agreement": "deferral.scores.agreement",
    "Energy": "deferral.scores.energy",
    "Fdbd": "deferral.scores.fdbd",
    "Gen": "deferral.scores.gen",
    "InlierMass": "deferral.scores.inlier_mass",
    "Knn": "deferral.scores.knn",
    "Mahalanobis": "deferral.scores.mahalanobis",
    "Margin": "deferral.scores.margin",
    "MaxLogit": "deferral.scores.max_logit",
    "Msp": "deferral.scores.msp",
    "Nci": "deferral.scores.nci",
    "Odin": "deferral.scores.odin",
    "React": "deferral.scores.react",
    "Regret": "deferral.scores.regret",
    "RelativeMahalanobis": "deferral.scores.relative_mahalanobis",
    "Vim": "deferral.scores.vim",
    # The threshold and its promise
    "threshold_on": "deferral.threshold",
    "chosen_threshold": "deferral.threshold",
    "Threshold": "deferral.threshold",
    "kept": "deferral.promise",
    "Kept": "deferral.promise",
    # The cascade, and what it saves
    "keras_cascade": "deferral.keras_cascade",
    "Cascade": "deferral.cascade",
    "Answer": "deferral.cascade",
    "Answers": "deferral.cascade",
    "gie": "measures.gie",
    "speedup": "measures.gie",
    # What the commands have left
    "load_run": "runs.finished",
    "load_cascade": "runs.finished",
    "load_bundle": "export.bundle",
    "BundleCascade": "export.runtime",
    "UserError": "errors",
}
"""The public names, by subject, and the module that each is imported from when it is first used."""

__all__ = list(_HOMES)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
