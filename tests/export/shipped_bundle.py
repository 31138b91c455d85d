"""Bundles of trained networks, written in seconds: no run has to be made and evaluated first."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from small_bundle import about, answering
from thresholds import widest_gap

from envise_tf.deferral.scores import outlier_score
from envise_tf.export.bundle import Bundle, File, file_entry, write_manifest
from envise_tf.export.conversion import converted_builtin, converted_student, converted_teacher, output_indices
from envise_tf.export.golden import asked, golden_answers
from envise_tf.export.runtime import network_of
from envise_tf.images.digits import Digits
from envise_tf.images.loading import load_source
from envise_tf.networks.shipped import card, shipped_network

MSP = outlier_score("msp")
_NETWORK = {"float_macs": 1000, "binary_macs": 64000, "flops": 4000.0}


def int8_bundle(folder: Path) -> Path:
    """Writes a bundle of a twin alone: the teacher of digits in int8 defers to itself in float."""
    images = Digits().examples("test").batch(200).take(1).get_single_element()["image"].numpy()
    names = card("digits-disjoint", "teacher")["class_names"]
    teacher = shipped_network("digits-disjoint", "teacher")
    files: dict[File, bytes] = {
        "student_builtin": converted_builtin(teacher, MSP, images[:100]),
        "teacher": converted_teacher(teacher, "float32"),
    }
    return _written(folder, files, images[100:], names, range(len(names)))


def cifar_bundle(folder: Path, data_dir: str) -> Path:
    """Writes a bundle of the shipped networks of CIFAR-100: a binary student, its emulation, a float16 teacher."""
    examples = load_source("cifar100", data_dir).examples("test").batch(96).take(1)
    images = examples.get_single_element()["image"].numpy()
    names = card("cifar100-disjoint", "teacher")["class_names"]
    student = shipped_network("cifar100-disjoint", "student")
    files: dict[File, bytes] = {
        "student": converted_student(student, MSP),
        "student_builtin": converted_builtin(student, MSP),
        "teacher": converted_teacher(shipped_network("cifar100-disjoint", "teacher"), "float16"),
    }
    return _written(folder, files, images, names, card("cifar100-disjoint", "student")["teacher_classes"])


def _written(
    folder: Path, files: dict[File, bytes], images: np.ndarray, names: Sequence[str], classes: Sequence[int]
) -> Path:
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / f"{name}.tflite").write_bytes(content)
    (folder / "labels.txt").write_text("".join(f"{name}\n" for name in names), "utf-8")
    is_twin = "student" not in files
    kinds = {"student": ("lce", "binary"), "student_builtin": ("tflite", "twin_int8" if is_twin else "float_emulation")}
    students = {
        name: {
            **file_entry(folder / f"{name}.tflite"),
            **_NETWORK,
            **answering([0.0] * len(classes), output_indices(files[name])),
            **dict(zip(("runtime", "network"), kinds[name], strict=True)),
        }
        for name in kinds
        if name in files
    }
    manifest = {
        **about(2, images.shape[1], names, classes),
        **students,
        "teacher": {
            **file_entry(folder / "teacher.tflite"),
            **_NETWORK,
            "runtime": "tflite",
            "network": "teacher",
            "precision": "float32" if is_twin else "float16",
            "outputs": output_indices(files["teacher"]),
        },
        "labels": file_entry(folder / "labels.txt"),
    }
    bundle = Bundle(folder, manifest)  # not whole yet, but its networks run
    for name, entry in students.items():
        said = asked(network_of(bundle, name), entry["outputs"], images)
        limit = widest_gap(said["score"])
        entry["threshold"]["values"] = [limit] * len(classes)
    # The least and the most sure, so that no other kernel turns an answer over.
    rows = np.argsort(said["score"])[[*range(16), *range(-16, 0)]]
    np.savez_compressed(folder / "golden.npz", images=images[rows], **golden_answers(bundle, images[rows]))
    manifest["golden"] = {**file_entry(folder / "golden.npz"), "images": len(rows)}
    write_manifest(folder, manifest)
    return folder
