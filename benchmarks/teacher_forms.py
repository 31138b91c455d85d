"""python benchmarks/teacher_forms.py --source SOURCE TEACHER ...: what a teacher's TensorFlow Lite forms cost and keep.

For each teacher and form: bytes of the file, float MACs an image, accuracy, and agreement with Keras in float32 (same
top-1 class), on held-back images of the stream, which have labels here. int8 is calibrated on other images of the
stream. An ImageNet classifier is restricted to the classes of a source that has WordNet ids, such as tiny_imagenet.

Adds its rows to teacher_forms.json beside this file, in place of those of the same teacher and source.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import get_args

import numpy as np

from envise_tf.export.conversion import converted_teacher
from envise_tf.export.settings import Precision
from envise_tf.images.loading import load_source
from envise_tf.images.windows import Augmentation, Stream
from envise_tf.networks.loading import load_teacher
from envise_tf.networks.macs import macs
from envise_tf.run import provenance
from envise_tf.runs.teacher import fitted_to

import tensorflow as tf  # isort: skip  (after envise_tf, which asks for Keras 2)

TARGET = Path(__file__).with_suffix(".json")
BATCH_SIZE = 50
CALIBRATION_IMAGES = 200


def main() -> None:
    """Measures the teachers and writes their rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("teachers", nargs="+", help="as train takes them: imagenet-lite0@160, cifar100-disjoint, ...")
    parser.add_argument("--source", required=True)
    parser.add_argument("--data_dir")
    parser.add_argument("--images", type=int, default=2000, help="most held-back images")
    flags = parser.parse_args()
    source = load_source(flags.source, flags.data_dir)
    parts = [Stream(source, part, "disjoint", None, None, 1000, BATCH_SIZE, 0) for part in ("stream", "held_back")]
    calibration = np.concatenate(list(parts[0].batches(Augmentation()).take(CALIBRATION_IMAGES // BATCH_SIZE)))
    pairs = list(parts[1].labelled_images().take(flags.images // BATCH_SIZE).as_numpy_iterator())
    images, labels = (np.concatenate(each) for each in zip(*pairs, strict=True))
    for reference in flags.teachers:
        teacher = fitted_to(source, load_teacher(reference), reference)
        rows = forms(teacher.model, calibration, images, labels)
        add(rows, {"teacher": reference, "source": flags.source, "images": len(images)})


def forms(model: tf.keras.Model, calibration: np.ndarray, images: np.ndarray, labels: np.ndarray) -> list[dict]:
    """Returns a row for Keras and one for each form.

    Args:
        model: a teacher.
        calibration: uint8 (n, size, size, 3).
        images: likewise, those that are answered.
        labels: int (n,), in the order of the teacher's classes.
    """
    answer = tf.function(lambda batch: model(batch, training=False))
    keras = np.concatenate([answer(batch).numpy().argmax(1) for batch in np.split(images, len(images) // BATCH_SIZE)])
    work = {"macs": macs(model).float_macs}
    rows = [{"form": "Keras", "bytes": None, "accuracy": float(np.mean(keras == labels)), "agreement": 1.0, **work}]
    for precision in get_args(Precision):
        flatbuffer = converted_teacher(model, precision, calibration)
        answers = np.concatenate([*map(interpreted(flatbuffer), np.split(images, len(images) // BATCH_SIZE))])
        measured = {"accuracy": float(np.mean(answers == labels)), "agreement": float(np.mean(answers == keras))}
        rows.append({"form": precision, "bytes": len(flatbuffer), **measured, **work})
    return rows


def interpreted(flatbuffer: bytes):
    """Returns a function from uint8 (BATCH_SIZE, size, size, 3) to the classes that a flatbuffer answers."""
    interpreter = tf.lite.Interpreter(model_content=flatbuffer, num_threads=2)
    place = interpreter.get_input_details()[0]
    interpreter.resize_tensor_input(place["index"], (BATCH_SIZE, *place["shape"][1:]))
    interpreter.allocate_tensors()

    def answered(batch: np.ndarray) -> np.ndarray:
        interpreter.set_tensor(place["index"], batch)
        interpreter.invoke()
        return interpreter.get_tensor(interpreter.get_output_details()[0]["index"]).argmax(1)

    return answered


def add(rows: list[dict], measured_on: dict) -> None:
    """Writes the rows of one teacher on one source, and prints them."""
    for row in rows:
        size = "" if row["bytes"] is None else f"{row['bytes'] / 1e6:.2f} MB"
        accuracy, agreement = 100 * row["accuracy"], 100 * row["agreement"]
        print(f"{measured_on['teacher']:28} {row['form']:8} {size:>9} {accuracy:6.1f} % {agreement:6.1f} %", flush=True)
    known = json.loads(TARGET.read_text()) if TARGET.exists() else []
    others = [each for each in known if (each["teacher"], each["source"]) != tuple(measured_on.values())[:2]]
    entry = {**measured_on, "forms": rows, **provenance()}
    entries = sorted([*others, entry], key=lambda each: (each["source"], each["teacher"]))
    TARGET.write_text(json.dumps(entries, indent=2) + "\n")


if __name__ == "__main__":
    main()
