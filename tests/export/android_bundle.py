"""A small real bundle for Kotlin's tests: a twin in int8 that knows seven digits, and a teacher of ten.

    python tests/export/android_bundle.py      # writes it anew, with other weights

Kotlin's tests run it on TensorFlow Lite 2.6, the newest with a Java interface for Linux, which lacks the operators of a
binary student computed in float; tests/export/test_android.py asks whether Python says what the golden file says.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from small_bundle import about, answering

from envise_tf.export.bundle import Bundle, file_entry, load_bundle, write_manifest
from envise_tf.export.golden import asked, clear_images, golden_answers
from envise_tf.export.runtime import network_of

FOLDER = Path(__file__).parents[2] / "export/android/envise-android/src/test/assets/digits"
SIZE, CLASSES = 16, (0, 1, 2, 3, 4, 5, 6)
NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def write_bundle(folder: Path) -> None:
    import tensorflow as tf

    from envise_tf.deferral.scores import outlier_score
    from envise_tf.export.conversion import converted_builtin, converted_teacher, output_indices
    from envise_tf.networks.students import residual_student

    tf.keras.utils.set_random_seed(1)
    images, labels = _digits()
    known = np.isin(labels, CLASSES)
    layers = tf.keras.layers
    teacher = tf.keras.Sequential(
        [
            layers.Input((SIZE, SIZE, 3), dtype="uint8"),
            layers.Rescaling(1 / 128, -1),
            layers.Conv2D(16, 3, 2, activation="relu"),
            layers.Conv2D(32, 3, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(len(NAMES)),
        ]
    )
    student = residual_student(SIZE, len(CLASSES), [32], [1], binary=False)
    for network, at in ((teacher, slice(None)), (student, known)):
        network.compile("adam", tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        network.fit(images[at], labels[at], epochs=60 if network is teacher else 12, verbose=0)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    flatbuffers = {
        "student_builtin": converted_builtin(student, outlier_score("msp"), images[known][:256]),
        "teacher": converted_teacher(teacher, "float16"),
    }
    outputs = {}
    for name, flatbuffer in flatbuffers.items():
        (folder / f"{name}.tflite").write_bytes(flatbuffer)
        outputs[name] = output_indices(flatbuffer)
    (folder / "labels.txt").write_text("".join(f"{name}\n" for name in NAMES))
    manifest = _manifest(folder, outputs)
    bundle = Bundle(folder, manifest)
    said = asked(network_of(bundle, "student_builtin"), outputs["student_builtin"], images[:512])
    threshold = float(np.quantile(said["score"], 0.4))
    manifest["student_builtin"]["threshold"]["values"] = [threshold] * len(CLASSES)
    thresholds = np.float32([threshold] * len(CLASSES))
    golden = images[:512][clear_images(said["logits"], said["score"], thresholds, said["score"] >= threshold)]
    with (folder / "golden.npz").open("wb") as file:
        np.savez_compressed(file, images=golden, **golden_answers(bundle, golden))
    write_manifest(folder, manifest | {"golden": {**file_entry(folder / "golden.npz"), "images": len(golden)}})
    load_bundle(folder)


def _digits() -> tuple[np.ndarray, np.ndarray]:
    """Returns scikit-learn's digits, uint8 (n, SIZE, SIZE, 3), and their labels."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    grey = np.rint(255 / 16 * digits.images).astype(np.uint8).repeat(2, axis=1).repeat(2, axis=2)
    return grey[..., np.newaxis].repeat(3, axis=3), digits.target


def _manifest(folder: Path, outputs: dict[str, dict[str, int]]) -> dict:
    network = {"float_macs": 1000, "binary_macs": 0, "flops": 1000.0, "runtime": "tflite"}
    prior = np.array([6] * 7 + [1] * 3) / 45
    return {
        **about(2, SIZE, NAMES, CLASSES),
        "name": "digits",
        "student_builtin": {
            **file_entry(folder / "student_builtin.tflite"),
            **network,
            **answering([0.0] * len(CLASSES), outputs["student_builtin"]),
            "network": "twin_int8",
        },
        "teacher": {
            **file_entry(folder / "teacher.tflite"),
            **network,
            "flops": 3000.0,
            "network": "teacher",
            "precision": "float16",
            "outputs": outputs["teacher"],
        },
        "adaptation": {
            "temperature": 1.5,
            "bias": [0.0] * len(NAMES),
            "prior": prior.tolist(),
            "source_prior": [0.1] * len(NAMES),
            "images": 500,
            "calibration_images": 50,
        },
        "labels": file_entry(folder / "labels.txt"),
    }


if __name__ == "__main__":
    write_bundle(FOLDER)
