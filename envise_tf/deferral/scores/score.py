"""The base class of all outlier scores, and how a score becomes a layer or a file.

Larger = more inlier: this holds for every score of this project, whatever sign its paper gives it. A score is a pure
TensorFlow function of the student's logits and penultimate features, so that Python, TensorFlow Lite and the tests
compute the same one.
"""

from __future__ import annotations

import abc
import json
import zipfile
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from envise_tf.deferral.scores.outputs import Outputs
from envise_tf.errors import UserError


class NotApplicable(UserError):  # noqa: N818 - it is no error of the score
    """The score has no meaning for this student or these images; another one has to be chosen."""


@dataclass
class OutlierScore(abc.ABC):
    """A number for each image, larger = more inlier, and how it is fitted without any label.

    Responsible for the formula and what it has to know of the student. Not for the threshold, nor for running the
    student. Subclasses are dataclasses whose fields are their options; what `fit` finds out is put in `fitted`.

    Attributes:
        runs_on_device: whether a phone can compute it from one forward pass, at a cost small beside it.
        fitted: float32 arrays by name.
    """

    runs_on_device: ClassVar[bool] = True

    fitted: dict[str, np.ndarray] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def name(self) -> str:
        """The name of the file that holds the score."""
        return type(self).__module__.rpartition(".")[2]

    @property
    def options(self) -> dict[str, Any]:
        """The options that the score was made with, by name."""
        return {option.name: getattr(self, option.name) for option in fields(self) if option.init}

    def fit(self, outputs: Outputs, pseudo_label: np.ndarray, regret: np.ndarray) -> None:  # noqa: B027 - most scores need none
        """Finds out what the formula has to know; nothing, unless a subclass says otherwise. No label is used.

        Args:
            outputs: n held-back images of the stream.
            pseudo_label: int64 (n,), the student's class of the teacher's prediction, -1 where the teacher predicts
                a class that the student does not have.
            regret: float32 (n,), 0..1, of the student's answers, see `deferral.regret`.

        Raises:
            NotApplicable: the score has no meaning here.
        """

    @abc.abstractmethod
    def __call__(self, logits: tf.Tensor, features: tf.Tensor) -> tf.Tensor:
        """Returns the score, float32 (n,), larger = more inlier.

        Args:
            logits: float32 (n, classes).
            features: float32 (n, d), penultimate.
        """

    def score(self, outputs: Outputs) -> np.ndarray:
        """Returns the score of n images, float32 (n,), larger = more inlier."""
        return self(tf.constant(outputs.logits), tf.constant(outputs.features)).numpy()

    def layer(self) -> tf.keras.layers.Layer:
        """Returns a layer that takes [logits, features] and gives float32 (batch, 1), for the student's graph.

        Raises:
            UserError: a phone cannot compute the score from one forward pass.
        """
        if not self.runs_on_device:
            raise UserError(f"{self.name} does not run on a phone: expected a score that does, such as energy")
        return _ScoreLayer(self, name="score")

    def save(self, path: str | Path) -> None:
        """Writes name, options and fitted arrays as one .npz, which `envise_tf.deferral.scores.load_score` reads."""
        arrays = {f"{_FITTED}{name}": values for name, values in self.fitted.items()}
        with Path(path).open("wb") as file:
            np.savez(file, name=self.name, options=json.dumps(self.options), **arrays)

    def found(self, name: str) -> np.ndarray:
        """Returns an array that `fit` has found.

        Raises:
            UserError: the score is not fitted.
        """
        if name not in self.fitted:
            raise UserError(f"{self.name} is not fitted: call fit with held-back images first")
        return self.fitted[name]

    def keep(self, **arrays: np.ndarray | float) -> None:
        """Puts arrays in `fitted`, in float32."""
        self.fitted = {name: np.asarray(values, np.float32) for name, values in arrays.items()}

    def known(self, outputs: Outputs, pseudo_label: np.ndarray) -> tuple[Outputs, np.ndarray]:
        """Returns the held-back images that stand for the inliers: those whose pseudo-label the student has.

        Raises:
            NotApplicable: fewer than two.
        """
        is_known = pseudo_label >= 0
        if is_known.sum() < 2:
            raise NotApplicable(
                f"{self.name}: the teacher sees a class of the student's in {is_known.sum()} of {len(is_known)} "
                "held-back images, expected at least 2; hold back more images"
            )
        return outputs.chosen(is_known), pseudo_label[is_known]


_FITTED = "fitted."


def stored(path: str | Path) -> tuple[str, dict[str, Any], dict[str, np.ndarray]]:
    """Returns name, options and fitted arrays of a score that `OutlierScore.save` has written.

    Raises:
        UserError: the file is missing or holds no score.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            fitted = {key.removeprefix(_FITTED): arrays[key] for key in arrays.files if key.startswith(_FITTED)}
            return str(arrays["name"]), json.loads(str(arrays["options"])), fitted
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "not a saved score"
        raise UserError(
            f"cannot read the outlier score in {path} ({reason}): expected a file that save wrote"
        ) from None


class _ScoreLayer(tf.keras.layers.Layer):
    """Any score as a layer; what is fitted becomes constants of the graph."""

    def __init__(self, score: OutlierScore, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._score = score

    def call(self, inputs: list[tf.Tensor]) -> tf.Tensor:
        logits, features = (tf.cast(values, tf.float32) for values in inputs)
        return self._score(logits, features)[:, tf.newaxis]
