"""python -m envise_tf.export.verify BUNDLE: whether the files of a bundle answer as they should, here and now.

1. The manifest, size and SHA-256 of every file, the class map: `load_bundle`.
2. The golden file: the files answer its images as they did when it was written.
3. With --run, Keras: on real images of the run's source, the bundle's networks predict the same class and defer the
   same images as the networks that they were made from. The teacher's class is that of its adapted logits.

A binary network amplifies rounding: where a pre-activation is next to zero, two runtimes may give it different signs.
So agreement is asked for on 99.8 % of the images, not on all, and on all but one where they are fewer than 500; the
median difference of logits is shown, not the largest. Quantised networks are other networks than the ones in Keras; for
them 90 % only tells a wrong file from a right one (our choice), and the figure shown is what counts.

The first two steps need neither TensorFlow nor Larq, so they run on a board too. Exit code 1 says that the bundle
failed, and one line says which file, which image, by how much.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from envise_tf.deferral.cascade import is_deferred
from envise_tf.errors import UserError, reports_user_errors
from envise_tf.export.bundle import Bundle, File, load_bundle
from envise_tf.export.golden import DECISIONS, NETWORKS, asked, golden_answers, golden_arrays
from envise_tf.export.runtime import network_of
from envise_tf.export.settings import VerifySettings
from envise_tf.settings import parsed

if TYPE_CHECKING:
    from envise_tf.export.originals import EvaluatedRun

ABOUT = "Verify a bundle: its files, its golden images and, with --run, its agreement with Keras on real images."

REQUIRED_AGREEMENT = 0.998
REQUIRED_AGREEMENT_QUANTISED = 0.9
ALLOWED_GOLDEN_DIFFERENCE = 0.01
"""Largest median difference from the golden logits, as a share of their standard deviation (our choice)."""

_QUANTISED = frozenset({"twin_int8", "dynamic", "int8"})

_CONSOLE = Console()


class Failed(Exception):  # noqa: N818 - it is the verdict
    """The bundle is not as it should be: one line that says which file, which image, by how much."""


@dataclass(frozen=True)
class Comparison:
    """How far a file of a bundle answers as its network in Keras does.

    Attributes:
        file: its name.
        images: how many were compared.
        same_class: share of them with the same prediction.
        same_decision: share that both defer or both answer; None for the teacher.
        median_difference: of the logits.
        required: the least share asked for.
        first_difference: the first image answered otherwise, and how; None where there is none.
    """

    file: str
    images: int
    same_class: float
    same_decision: float | None
    median_difference: float
    required: float
    first_difference: str | None

    def require(self) -> None:
        """Raises Failed if a share is less than required, by more than one image."""
        least = min(self.required, (self.images - 1) / self.images)
        for what, share in (("predicts the same class", self.same_class), ("defers the same", self.same_decision)):
            if share is not None and not share >= least:
                raise Failed(
                    f"{self.file} {what} as Keras on {100 * share:.2f} % of {self.images} images, expected "
                    f"{100 * self.required:.1f} %; first difference: {self.first_difference}"
                )


@reports_user_errors("start again")
def main(argv: Sequence[str] | None = None) -> None:
    """Reads the settings and verifies the bundle; exit code 1 if it fails."""
    settings, _ = parsed(VerifySettings, "export.verify", ABOUT, argv)
    try:
        verify(settings)
    except Failed as failure:
        print(f"failed: {failure}", file=sys.stderr)
        sys.exit(1)


def verify(settings: VerifySettings) -> list[Comparison]:
    """Verifies a bundle; returns how each network agrees with Keras, nothing where no run is given.

    Raises:
        Failed: the bundle is not as it should be.
        UserError: the run does not fit the bundle, or its images are gone.
    """
    if settings.run is None and settings.source is not None:
        raise UserError(
            "--source given without --run: expected the run of the bundle too, whose networks are compared on them"
        )
    try:
        bundle = load_bundle(settings.bundle)
        count = verify_golden(bundle)
    except UserError as error:
        raise Failed(str(error)) from None
    _CONSOLE.print(f"{bundle.folder}: {len(bundle.files)} files whole, {count} golden images reproduced")
    if settings.run is None:
        return []
    comparisons = compared_with_keras(bundle, settings)
    _CONSOLE.print(_table(comparisons))
    for comparison in comparisons:
        comparison.require()
    return comparisons


# --- The golden file -------------------------------------------------------------------------------------------------


def verify_golden(bundle: Bundle) -> int:
    """Answers the golden images again; returns how many there are.

    Raises:
        Failed: an answer is another, or the logits are, or the golden file lacks some.
        UserError: the golden file is damaged, or an interpreter is missing or refuses a file.
    """
    golden = golden_arrays(bundle)
    found = golden_answers(bundle, golden["images"])
    for name in found:
        if name not in golden or golden[name].shape != found[name].shape:
            raise Failed(f"{bundle.path('golden')} has no {name} of shape {found[name].shape}; export the bundle again")
    for student, names in DECISIONS.items():
        for name in names if student in bundle.files else ():
            _require_same(bundle, student, name, golden, found)
    for network, prefix in NETWORKS.items():
        if network in bundle.files:
            _require_close(bundle, network, f"{prefix}_logits", golden, found)
    if "adapted_logits" in found:
        _require_close(bundle, "teacher", "adapted_logits", golden, found)
    return len(golden["images"])


def _require_same(
    bundle: Bundle, network: File, name: str, golden: dict[str, np.ndarray], found: dict[str, np.ndarray]
) -> None:
    differing = np.flatnonzero(golden[name] != found[name])
    if len(differing):
        row, logits = differing[0], f"{NETWORKS[network]}_logits"
        difference = np.abs(golden[logits][row] - found[logits][row]).max()
        raise Failed(
            f"{bundle.path(network)} answers {len(differing)} of {len(golden[name])} golden images otherwise: image "
            f"{row} has {name} {found[name][row]}, expected {golden[name][row]}; its logits differ by {difference:.2g}"
        )


def _require_close(
    bundle: Bundle, network: File, name: str, golden: dict[str, np.ndarray], found: dict[str, np.ndarray]
) -> None:
    difference = np.abs(golden[name] - found[name])
    allowed = ALLOWED_GOLDEN_DIFFERENCE * golden[name].std()
    if not np.median(difference) <= allowed:
        row = int(np.argmax(difference.max(axis=-1)))
        raise Failed(
            f"{bundle.path(network)} gives other logits than the golden ones: median difference "
            f"{np.median(difference):.2g}, expected at most {allowed:.2g}; largest in image {row}, "
            f"{difference[row].max():.2g}"
        )


# --- Keras -----------------------------------------------------------------------------------------------------------


def compared_with_keras(bundle: Bundle, settings: VerifySettings) -> list[Comparison]:
    """Returns how each network of a bundle agrees with Keras on real images.

    Raises:
        UserError: the run is not the one that the bundle was made from, or has been evaluated again since; or there
            is no image.
    """
    from envise_tf.export.originals import evaluated_run, real_images  # they bring TensorFlow

    run = evaluated_run(str(settings.run), settings.data_dir)
    _require_made_from(bundle, run, str(settings.run))
    images = real_images(run.finished.job, settings.source, settings.data_dir, settings.images)
    said: dict[File, dict[str, np.ndarray]] = {which: one.said(images) for which, one in run.students.items()}
    said["teacher"] = run.teacher_said(images)
    thresholds: dict[File, np.ndarray] = {which: one.threshold.values for which, one in run.students.items()}
    return [
        _comparison(bundle, which, _asked(bundle, which, images), said[which], thresholds.get(which)) for which in said
    ]


def _require_made_from(bundle: Bundle, run: EvaluatedRun, folder: str) -> None:
    made_from = {
        which: (one.score.name, one.threshold.options, None if one.is_twin else one.threshold.as_dict()["values"])
        for which, one in run.students.items()
    }
    said = {which: _decided_by(bundle.manifest[which]) for which in DECISIONS if which in bundle.files}
    classes, adaptation = list(bundle.teacher_classes), bundle.manifest.get("adaptation")
    if said != made_from or classes != run.finished.teacher_classes or adaptation != run.adaptation:
        raise UserError(
            f"{bundle.folder} has other classes, scores, thresholds or another prior than {folder}: expected the run "
            "that it was made from, as it was then; if the run has been evaluated again, export it again"
        )


def _decided_by(entry: dict[str, Any]) -> tuple[str, dict[str, Any], list[float | None] | None]:
    """Returns a student's score, the options of its threshold, and its values unless they are int8's own."""
    threshold = entry["threshold"]
    return entry["score"], threshold["options"], None if entry["network"] == "twin_int8" else threshold["values"]


def _asked(bundle: Bundle, which: File, images: np.ndarray) -> dict[str, np.ndarray]:
    shown = track(images, f"asking {bundle.path(which).name}", console=_CONSOLE, transient=True)
    said = asked(network_of(bundle, which), bundle.manifest[which]["outputs"], shown)
    if which == "teacher" and bundle.adaptation is not None:
        said["logits"] = bundle.adaptation.adapted(said["logits"])
    return said


def _comparison(
    bundle: Bundle,
    which: File,
    found: dict[str, np.ndarray],
    keras: dict[str, np.ndarray],
    keras_thresholds: np.ndarray | None,
) -> Comparison:
    """Returns how a file and its network in Keras agree; each decides by its own thresholds, a teacher by none."""
    entry = bundle.manifest[which]
    classes, keras_classes = (said["logits"].argmax(axis=-1) for said in (found, keras))
    differs = classes != keras_classes
    same_decision = None
    if which in ("student", "student_builtin") and keras_thresholds is not None:
        deferred = is_deferred(found["score"], classes, bundle.thresholds(which))
        other_decision = deferred != is_deferred(keras["score"], keras_classes, keras_thresholds)
        same_decision = float(1 - other_decision.mean())
        differs = differs | other_decision
    return Comparison(
        file=entry["file"],
        images=len(classes),
        same_class=float((classes == keras_classes).mean()),
        same_decision=same_decision,
        median_difference=float(np.median(np.abs(found["logits"] - keras["logits"]))),
        required=_required(entry),
        first_difference=_difference(int(np.argmax(differs)), found, keras) if differs.any() else None,
    )


def _required(entry: dict[str, Any]) -> float:
    is_quantised = not _QUANTISED.isdisjoint((entry["network"], entry.get("precision")))
    return REQUIRED_AGREEMENT_QUANTISED if is_quantised else REQUIRED_AGREEMENT


def _difference(row: int, found: dict[str, np.ndarray], keras: dict[str, np.ndarray]) -> str:
    said = []
    for arrays in (found, keras):
        score = f" with score {arrays['score'][row]:.4g}" if "score" in arrays else ""
        said.append(f"class {arrays['logits'][row].argmax()}{score}")
    largest = np.abs(found["logits"][row] - keras["logits"][row]).max()
    return f"image {row} is {said[0]}, in Keras {said[1]}; its logits differ by up to {largest:.2g}"


def _table(comparisons: list[Comparison]) -> Table:
    table = Table("file", "images", "same class", "same decision", "logits differ by", title="against Keras")
    for one in comparisons:
        decision = "" if one.same_decision is None else f"{100 * one.same_decision:.2f} %"
        table.add_row(
            one.file, str(one.images), f"{100 * one.same_class:.2f} %", decision, f"{one.median_difference:.2g}"
        )
    return table


if __name__ == "__main__":
    main()
