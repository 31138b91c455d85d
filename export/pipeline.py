"""Writes the bundle of an evaluated run: whole, or not at all.

The student comes twice: for Larq Compute Engine, and in stock operators for phones that lack it. The second is the
student's real-valued twin in int8 where the run has one (`train --with_twin true`), or else the binary network computed
in float, which saves nothing and only serves to try the app. A run of the twin alone gives the second alone.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.table import Table
from scipy import special

from envise_tf import progress
from envise_tf.deferral.cascade import is_deferred
from envise_tf.deferral.held_back import HeldBack
from envise_tf.deferral.regret import regret
from envise_tf.deferral.threshold import Threshold, chosen_threshold
from envise_tf.distillation.distiller import student_class_of
from envise_tf.errors import UserError, as_word
from envise_tf.export.app import assets_folder, write_build
from envise_tf.export.bundle import (
    MANIFEST,
    SCHEMA_VERSION,
    Bundle,
    File,
    Student,
    file_entry,
    load_bundle,
    write_manifest,
)
from envise_tf.export.conversion import converted_builtin, converted_student, converted_teacher, output_indices
from envise_tf.export.golden import DECISIONS, asked, clear_images, golden_answers
from envise_tf.export.metadata import Described, with_metadata
from envise_tf.export.originals import Answering, EvaluatedRun, evaluated_run
from envise_tf.export.runtime import network_of
from envise_tf.export.settings import ExportSettings
from envise_tf.files import held, require_writable, whole
from envise_tf.measures.gie import gie, speedup
from envise_tf.networks.macs import Macs, macs
from envise_tf.run import provenance

_FILES: dict[File, str] = {
    "student": "student.tflite",
    "student_builtin": "student_builtin.tflite",
    "teacher": "teacher.tflite",
    "labels": "labels.txt",
    "golden": "golden.npz",
}

_DESCRIPTIONS: dict[File, str] = {
    "student_builtin": "A student of stock operators: answers the frequent classes, and says how sure it is.",
    "teacher": "The teacher: answers what the student defers.",
}
_OUTPUTS = {
    "logits": "The logit of each class.",
    "probabilities": "The probability of each class, among those that the student knows.",
    "score": "The inlier score: the larger, the surer. Below the threshold in the manifest the teacher answers.",
}

_SAMPLES = 256
"""Most held-back images, of the choosing part, that calibrate int8 and that the golden ones are chosen from."""

_BATCH = 256

_NOTES = {
    "float_emulation": (
        "The binary student, computed in float32 for want of a twin: slower than the teacher may be, and only to try "
        "an app without Larq Compute Engine. A run of train --with_twin true gives a small and fast one."
    ),
    "twin_int8": (
        "The student's real-valued twin: int8 up to its features, float32 from its last dense layer on. Its threshold "
        "was chosen on what this file says of the held-back images, by the rule of the run."
    ),
}

_CONSOLE = Console()


def export(settings: ExportSettings) -> Bundle:
    """Writes the bundle of an evaluated run and returns it.

    Raises:
        UserError: the folder of the bundle is taken, or another process is writing it; the run is not evaluated, its
            score does not run on a phone, or a network cannot be converted.
    """
    target = _target(settings)
    _require_free(target, settings.overwrite)
    run = evaluated_run(settings.run, settings.data_dir)
    for answering in run.students.values():
        answering.score.layer()  # a score that no phone can compute is refused before the long work
    with held(target.with_name(f".{target.name}.held"), target), whole(target) as folder:
        folder.mkdir()
        _fill(folder, run, settings)
        load_bundle(folder)
    bundle = load_bundle(target)
    _show(bundle, settings.run)
    if settings.android is not None:
        _show_build(write_build(settings.android), bundle)
    return bundle


def _target(settings: ExportSettings) -> Path:
    if settings.android is None:
        return Path(settings.out or f"bundles/{_name(settings.run)}")
    if settings.out is not None:
        raise UserError(
            f"--out {settings.out} and --android {settings.android}: expected one; the app holds the bundle"
        )
    return assets_folder(settings.android, _name(settings.run))


def _name(run: str) -> str:
    return Path(run).resolve().name


# --- The files -------------------------------------------------------------------------------------------------------


def _fill(folder: Path, run: EvaluatedRun, settings: ExportSettings) -> None:
    job = run.finished.job
    choosing = _held_back(job.choosing_images(_BATCH), "held-back images: choosing")
    samples = choosing[_spread(len(choosing))]
    conversions = _conversions(run, settings, samples)
    for which in progress.track(conversions, "converting", len(conversions)):
        flatbuffer = conversions[which]()
        if which != "student":  # which no tool that reads metadata can run
            flatbuffer = _described(flatbuffer, which, run)
        (folder / _FILES[which]).write_bytes(flatbuffer)
    (folder / _FILES["labels"]).write_text("".join(f"{name}\n" for name in job.teacher.class_names), "utf-8")
    manifest = _manifest(folder, run, settings)
    bundle = Bundle(folder, manifest)  # not whole yet, but its networks run
    if run.students["student_builtin"].is_twin:
        flops = (manifest[which]["flops"] for which in ("student_builtin", "teacher"))
        promising = _held_back(job.promising_images(_BATCH), "held-back images: promising")
        manifest["student_builtin"] |= _threshold_entries(_threshold_in_int8(bundle, run, choosing, promising), *flops)
    images = samples[_golden_rows(bundle, next(iter(run.students)), samples)]
    with (folder / _FILES["golden"]).open("wb") as file:
        np.savez_compressed(file, images=images, **golden_answers(bundle, images))
    manifest["golden"] = {**file_entry(folder / _FILES["golden"]), "images": len(images)}
    write_manifest(folder, manifest)


def _held_back(batches: tf.data.Dataset, about: str) -> np.ndarray:
    """Returns a part of the held-back images that the run was evaluated on, uint8 (n, size, size, 3)."""
    return np.concatenate(list(progress.track(batches.as_numpy_iterator(), about)))


def _spread(images: int) -> np.ndarray:
    """Returns at most 256 indices of so many images, evenly spread."""
    return np.linspace(0, images - 1, min(_SAMPLES, images)).astype(int)


def _conversions(run: EvaluatedRun, settings: ExportSettings, samples: np.ndarray) -> dict[File, Callable[[], bytes]]:
    student, builtin = run.students.get("student"), run.students["student_builtin"]
    conversions: dict[File, Callable[[], bytes]] = {
        "student_builtin": lambda: converted_builtin(
            builtin.network, builtin.score, samples if builtin.is_twin else None
        ),
        "teacher": lambda: converted_teacher(run.raw_teacher, settings.teacher_precision, samples),
    }
    if student is not None:
        conversions["student"] = lambda: converted_student(student.network, student.score)
    return conversions


def _described(flatbuffer: bytes, which: File, run: EvaluatedRun) -> bytes:
    """Returns a flatbuffer with metadata for Android tools; its outputs are named as the manifest names them."""
    names = run.finished.job.teacher.class_names
    labels = names if which == "teacher" else [names[label] for label in run.finished.teacher_classes]
    indices = output_indices(flatbuffer)
    outputs = [Described(name, _OUTPUTS[name], name != "score") for name in sorted(indices, key=indices.__getitem__)]
    return with_metadata(flatbuffer, which, _DESCRIPTIONS[which], run.finished.job.size, outputs, labels)


def _threshold_in_int8(bundle: Bundle, run: EvaluatedRun, choosing: np.ndarray, promising: np.ndarray) -> Threshold:
    """Returns the threshold of the twin in int8, chosen as the twin's own was, but on what the flatbuffer says.

    The promising images have not calibrated int8: a network is surer of those that it was quantised on.
    """
    twin = run.students["student_builtin"]
    network, outputs = network_of(bundle, "student_builtin"), bundle.manifest["student_builtin"]["outputs"]
    classes = np.array(run.finished.teacher_classes)
    student_class = student_class_of(run.finished.teacher_classes, len(bundle.class_names))

    def seen(images: np.ndarray) -> HeldBack:
        said = asked(network, outputs, progress.track(images, "threshold of the twin"))
        own_class, teacher_logits = said["logits"].argmax(axis=-1), run.teacher_said(images)["logits"]
        return HeldBack.of(
            said["score"],
            own_class,
            student_class[teacher_logits.argmax(axis=-1)],
            regret(special.softmax(teacher_logits.astype(np.float64), axis=-1), classes[own_class]),
        )

    return chosen_threshold(
        twin.threshold.rule,
        seen(choosing),
        seen(promising),
        len(bundle.teacher_classes),
        twin.per_class,
        **twin.threshold.options,
    )


def _golden_rows(bundle: Bundle, which: Student, samples: np.ndarray) -> np.ndarray:
    """Returns which samples become golden, by what the flatbuffer of a student says of them."""
    said = asked(network_of(bundle, which), bundle.manifest[which]["outputs"], samples)
    thresholds = bundle.thresholds(which)
    deferred = is_deferred(said["score"], said["logits"].argmax(axis=-1), thresholds)
    return clear_images(said["logits"], said["score"], thresholds, ~deferred)


# --- The manifest ----------------------------------------------------------------------------------------------------


def _manifest(folder: Path, run: EvaluatedRun, settings: ExportSettings) -> dict[str, Any]:
    """Returns the manifest but for the golden file."""
    job = run.finished.job
    made_by = provenance()
    versions = {name: made_by["versions"][name] for name in ("envise_tf", "tensorflow")}
    teacher = macs(run.raw_teacher)
    return {
        "schema_version": SCHEMA_VERSION,
        "name": _name(settings.run),
        "date": made_by["date"],
        "git_commit": made_by["git_commit"],
        "versions": {**versions, "larq_compute_engine": metadata.version("larq-compute-engine")},
        "input": {
            "size": job.size,
            "dtype": "uint8",
            "layout": "NHWC, RGB",
            "range": [0, 255],
            "normalisation": "inside the graph",
            "resizing": "central square, bilinear, antialiased",
        },
        "class_names": list(job.teacher.class_names),
        "teacher_classes": run.finished.teacher_classes,
        **{which: _student_entry(folder, which, answering, teacher) for which, answering in run.students.items()},
        "teacher": {
            **_network_entry(folder, "teacher", teacher),
            "network": "teacher",
            "precision": settings.teacher_precision,
        },
        **({} if run.adaptation is None else {"adaptation": run.adaptation}),
        "labels": file_entry(folder / _FILES["labels"]),
    }


def _student_entry(folder: Path, which: Student, answering: Answering, teacher: Macs) -> dict[str, Any]:
    runs_in_float = which == "student_builtin"
    network = _network_entry(folder, which, macs(answering.network), runs_in_float)
    entry = {
        **network,
        "network": ("twin_int8" if answering.is_twin else "float_emulation") if runs_in_float else "binary",
        "score": answering.score.name,
        **_threshold_entries(answering.threshold, network["flops"], teacher.flops),
    }
    return entry if not runs_in_float else {**entry, "note": _NOTES[entry["network"]]}


def _threshold_entries(threshold: Threshold, flops: float, teacher_flops: float) -> dict[str, Any]:
    """Returns what a manifest says of a threshold, and of the gain to expect from it on the stream it was chosen on."""
    deferral_rate = 1 - threshold.coverage
    gain = float(gie(1, deferral_rate, flops, teacher_flops))
    return {
        "threshold": threshold.as_dict(),
        "expected": {"deferral_rate": deferral_rate, "gie": gain, "speedup": float(speedup(gain))},
    }


def _network_entry(folder: Path, which: File, counted: Macs, runs_in_float: bool = True) -> dict[str, Any]:
    path = folder / _FILES[which]
    float_macs = counted.float_macs + (counted.binary_macs if runs_in_float else 0)
    return {
        **file_entry(path),
        "runtime": "tflite" if runs_in_float else "lce",
        "float_macs": float_macs,
        "binary_macs": counted.float_macs + counted.binary_macs - float_macs,
        "flops": counted.flops_as_float if runs_in_float else counted.flops,
        "outputs": output_indices(path.read_bytes()),
    }


# --- The folder ------------------------------------------------------------------------------------------------------


def _require_free(target: Path, overwrite: bool) -> None:
    require_writable(target)
    if not target.exists():
        return
    if not (target / MANIFEST).exists():
        raise UserError(f"{target} exists and is no bundle: expected a new folder; choose another --out")
    if not overwrite:
        raise UserError(f"{target} holds a bundle: replace it by --overwrite true, or choose another --out")


def _show(bundle: Bundle, run: str) -> None:
    table = Table("file", "kB", "what", title=str(bundle.folder))
    for which in bundle.files:
        entry = bundle.manifest[which]
        table.add_row(entry["file"], f"{entry['bytes'] / 1000:,.1f}", entry.get("precision") or entry.get("network"))
    _CONSOLE.print(table)
    for which in (which for which in DECISIONS if which in bundle.files):
        threshold = bundle.manifest[which]["threshold"]
        reason = threshold["why_all_deferred"]
        told = f"promises: {threshold['promise']}" if reason is None else f"defers everything: {reason}"
        _CONSOLE.print(f"{_FILES[which]} {told}", soft_wrap=True)
    _CONSOLE.print(
        f"next: python -m envise_tf.export.verify {as_word(bundle.folder)} --run {as_word(run)}", soft_wrap=True
    )


def _show_build(written: list[Path], bundle: Bundle) -> None:
    lines, *library = map(str, written)
    built = library[0] if library else "libs/envise-android.aar is missing: build it from the sources (docs/android.md)"
    _CONSOLE.print(f"library: {built}\nnext: copy the lines of {lines} into build.gradle.kts", soft_wrap=True)
    _CONSOLE.print(f'in the app: Bundle.load(AssetFiles(context.assets, "{bundle.folder.name}"))', soft_wrap=True)
