"""A small bundle for tests: untrained networks, converted once in a process."""

import functools
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from envise_tf.export.bundle import file_entry, write_manifest
from envise_tf.export.runtime import LceNetwork, TfliteNetwork

SIZE, CLASSES = 32, (5, 0, 9, 3, 1, 8, 2)
NAMES = tuple(f"class {letter}" for letter in "abcdefghij")


def small_bundle(folder: Path, builtin_thresholds=(0.0,) * 7, thresholds=(0.0,) * 7) -> Path:
    """Writes a bundle of a student of seven classes and a teacher of ten; by default the student answers everything."""
    folder.mkdir(parents=True)
    outputs = flatbuffers()["outputs"]
    for name in ("student", "student_builtin", "teacher"):
        (folder / f"{name}.tflite").write_bytes(flatbuffers()[name])
    (folder / "labels.txt").write_text("".join(f"{name}\n" for name in NAMES))
    np.savez(folder / "golden.npz", images=varied_images(2))
    network = {"float_macs": 1000, "binary_macs": 64000, "flops": 4000.0}
    write_manifest(
        folder,
        {
            **about(1, SIZE, NAMES, CLASSES),
            "student": {
                **file_entry(folder / "student.tflite"),
                **network,
                **answering(thresholds, outputs["student"]),
                "runtime": "lce",
                "network": "binary",
            },
            "student_builtin": {
                **file_entry(folder / "student_builtin.tflite"),
                **network,
                **answering(builtin_thresholds, outputs["student_builtin"]),
                "runtime": "tflite",
                "network": "float_emulation",
            },
            "teacher": {
                **file_entry(folder / "teacher.tflite"),
                **network,
                "runtime": "tflite",
                "network": "teacher",
                "precision": "float32",
                "outputs": {"logits": 0},
            },
            "labels": file_entry(folder / "labels.txt"),
            "golden": {**file_entry(folder / "golden.npz"), "images": 2},
        },
    )
    return folder


def about(schema_version: int, size: int, names: Sequence[str], classes: Sequence[int]) -> dict:
    """What a manifest says beside its networks and files."""
    return {
        "schema_version": schema_version,
        "name": "small",
        "date": "2026-01-31",
        "git_commit": None,
        "versions": {"envise_tf": "0.1.0"},
        "input": {
            "size": size,
            "dtype": "uint8",
            "layout": "NHWC, RGB",
            "range": [0, 255],
            "normalisation": "inside the graph",
            "resizing": "central square, bilinear, antialiased",
        },
        "class_names": list(names),
        "teacher_classes": list(classes),
    }


def answering(thresholds, outputs) -> dict:
    return {
        "outputs": outputs,
        "score": "msp",
        "threshold": {
            "values": [None if value is None else float(value) for value in thresholds],
            "rule": "risk",
            "options": {"epsilon": 0.05, "confidence": 0.95},
            "promise": "some",
            "coverage": 0.5,
            "disagreement": None,
            "why_all_deferred": None,
        },
        "expected": {"deferral_rate": 0.5, "gie": 0.4, "speedup": 1.0 / 0.6},
    }


def changed(folder: Path, change) -> None:
    """Lets `change(manifest)` alter the manifest as text, past all checks of the writer, with a checksum that fits."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))
    vouch(folder)


def vouch(folder: Path) -> None:
    """Makes the checksum of the manifest right, as a user would."""
    with (folder / "manifest.sha256").open("w") as file:
        subprocess.run(["sha256sum", "manifest.json"], cwd=folder, stdout=file, check=True)


def replaced(folder: Path, name: str, content: bytes) -> None:
    """Replaces a network and makes the manifest vouch for it."""
    path = folder / f"{name}.tflite"
    path.write_bytes(content)
    changed(folder, lambda manifest: manifest[name].update(file_entry(path)))


def varied_images(count: int) -> np.ndarray:
    """Returns images of different colours and textures, uint8 (count, SIZE, SIZE, 3)."""
    random = np.random.default_rng(7)
    base, texture = random.integers(0, 256, (count, 1, 1, 3)), random.integers(-90, 91, (count, SIZE, SIZE, 3))
    return np.clip(base + texture * random.random((count, 1, 1, 1)), 0, 255).astype(np.uint8)


def python(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False, env={**os.environ})


@functools.cache
def networks() -> tuple:
    """Returns the untrained student and teacher as Keras models: uint8 images -> logits."""
    import tensorflow as tf

    from envise_tf.networks.students import residual_student

    layers = tf.keras.layers
    tf.keras.utils.set_random_seed(3)
    teacher = tf.keras.Sequential(
        [
            layers.Input((SIZE, SIZE, 3), dtype="uint8"),
            layers.Rescaling(1 / 128, -1),
            layers.Conv2D(16, 3, 2, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(len(NAMES), kernel_initializer=tf.keras.initializers.RandomNormal(stddev=3.0)),
        ]
    )
    student = residual_student(SIZE, len(CLASSES), [32], [1])
    # An untrained student says one class with certainty: its logits are moved to where classes and scores vary.
    logits = student.predict(varied_images(24), verbose=0)
    last, scale = student.layers[-1], 2 / logits.std(axis=0).mean()
    last.set_weights([scale * last.kernel.numpy(), -scale * logits.mean(axis=0)])
    return student, teacher


@functools.cache
def flatbuffers() -> dict:
    """Returns the flatbuffers of `networks`, and under "outputs" where each student has its outputs."""
    import larq_compute_engine
    import tensorflow as tf

    from envise_tf.deferral.scores import outlier_score

    student, teacher = networks()
    logits = student.output
    score = outlier_score("msp").layer()([logits, student.layers[-1].input])
    answering = tf.keras.Model(student.input, [logits, tf.keras.layers.Softmax(name="probabilities")(logits), score])
    converted = {
        "student": larq_compute_engine.convert_keras_model(answering),
        "student_builtin": tf.lite.TFLiteConverter.from_keras_model(answering).convert(),
        "teacher": tf.lite.TFLiteConverter.from_keras_model(teacher).convert(),
    }
    networks_run = {"student": LceNetwork, "student_builtin": TfliteNetwork}
    found = {name: _places(run(converted[name], name)(varied_images(1))) for name, run in networks_run.items()}
    return {**converted, "outputs": found}


def _places(outputs: list[np.ndarray]) -> dict[str, int]:
    """Returns the index of each output: the score is one number, and probabilities add up to one."""
    score = next(index for index, output in enumerate(outputs) if output.size == 1)
    others = sorted(set(range(3)) - {score}, key=lambda index: abs(outputs[index].sum() - 1))
    return {"logits": others[1], "probabilities": others[0], "score": score}
