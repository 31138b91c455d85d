"""The golden file of a bundle: real images with the answers of its files, for a self-test wherever the bundle goes.

Imports neither TensorFlow nor Larq: a board or a phone's emulator can ask the same of its own copy.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterable, Mapping

import numpy as np

from envise_tf.errors import UserError
from envise_tf.export.bundle import Bundle, File, Student
from envise_tf.export.runtime import Cascade, Network, network_of

GOLDEN_IMAGES = 32

NETWORKS: dict[File, str] = {"student": "student", "student_builtin": "builtin", "teacher": "teacher"}
"""The networks of a bundle and what the names of their arrays begin with."""

DECISIONS: dict[Student, tuple[str, str]] = {
    "student": ("label", "by_student"),
    "student_builtin": ("builtin_label", "builtin_by_student"),
}
"""The arrays with the answers of each student's cascade."""


def golden_arrays(bundle: Bundle) -> dict[str, np.ndarray]:
    """Returns the content of the golden file by name; its "images" are uint8 (n, size, size, 3).

    Raises:
        UserError: it is no such file.
    """
    path, size = bundle.path("golden"), bundle.image_size
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{path} is no golden file ({error}): export the bundle again") from None
    images, shape = arrays.get("images", np.zeros(0)), (bundle.manifest["golden"]["images"], size, size, 3)
    if images.dtype != np.uint8 or images.shape != shape:
        raise UserError(
            f"{path} holds images of {images.dtype} with shape {images.shape}: expected uint8 {shape}; export the "
            "bundle again"
        )
    return arrays


def asked(network: Network, outputs: Mapping[str, int], images: Iterable[np.ndarray]) -> dict[str, np.ndarray]:
    """Returns what a network says of images, asked one by one.

    Args:
        network: of a bundle.
        outputs: index of each output, as in the manifest.
        images: n > 0 of uint8 (size, size, 3).

    Returns:
        float32 "logits" (n, classes); of a student also "score" (n,).
    """
    said = [network(image[np.newaxis]) for image in images]
    arrays = {name: np.concatenate([one[outputs[name]] for one in said]) for name in outputs if name != "probabilities"}
    return {name: values[:, 0] if name == "score" else values for name, values in arrays.items()}


def golden_answers(bundle: Bundle, images: np.ndarray) -> dict[str, np.ndarray]:
    """Returns what the files of a bundle say of images: all arrays of the golden file but the images.

    Args:
        bundle: its manifest needs no golden file yet.
        images: uint8 (n, size, size, 3), n > 0.

    Returns:
        float32 student_logits (n, student's classes) and student_score (n,), the same of builtin, teacher_logits (n,
        teacher's classes), which are raw, and adapted_logits of an adapted teacher; the cascade's int64 label (n,), in
        the teacher's classes, and bool by_student (n,), the same as builtin_label and builtin_by_student. What belongs
        to a student that the bundle lacks is left out.
    """
    arrays: dict[str, np.ndarray] = {}
    for which in (which for which in NETWORKS if which in bundle.files):
        said = asked(network_of(bundle, which), bundle.manifest[which]["outputs"], images)
        arrays |= {f"{NETWORKS[which]}_{name}": values for name, values in said.items()}
    if bundle.adaptation is not None:
        arrays["adapted_logits"] = bundle.adaptation.adapted(arrays["teacher_logits"])
    for student in (student for student in DECISIONS if student in bundle.files):
        answers = Cascade(bundle, builtin=student == "student_builtin").classify_batch(images)
        arrays |= dict(zip(DECISIONS[student], (answers.label, answers.by_student), strict=True))
    return arrays


def clear_images(logits: np.ndarray, score: np.ndarray, thresholds: np.ndarray, by_student: np.ndarray) -> np.ndarray:
    """Returns which images to keep in a golden file: at most 32 indices, ascending, half of them deferred if may be.

    Left out are images that are hardly decided: another processor rounds otherwise, and a sign that it turns over in a
    binary network may turn over the answer. These are the quarter with the least lead of the first class over the
    second, and the quarter with scores next to their threshold (our choice).

    Args:
        logits: float32 (n, classes), of the student.
        score: float32 (n,).
        thresholds: float32 (classes,).
        by_student: bool (n,), whether the student answers.
    """
    second, first = np.sort(logits, axis=-1)[:, -2:].T
    distance = np.abs(score - thresholds[np.argmax(logits, axis=-1)])
    is_clear = _is_above_quarter(first - second) & _is_above_quarter(distance)
    order = np.argsort(~is_clear, kind="stable")
    deferred, answered = order[~by_student[order]], order[by_student[order]]
    half = GOLDEN_IMAGES // 2
    halves = np.concatenate([deferred[:half], answered[:half]])
    rest = order[~np.isin(order, halves)]
    return np.sort(np.concatenate([halves, rest])[:GOLDEN_IMAGES])


def _is_above_quarter(values: np.ndarray) -> np.ndarray:
    finite = np.where(np.isfinite(values), values, np.finfo(np.float32).max)
    return finite >= np.quantile(finite, 0.25)
