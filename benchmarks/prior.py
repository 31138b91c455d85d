"""python benchmarks/prior.py --source SOURCE TEACHER ...: what knowing the stream's prior does to a teacher.

For each teacher, scenario of the source, and prior of its inliers (even, or 1, 1/2, 1/3, ... in random order): three
streams of 4,000 images with 5 % outliers, drawn with replacement from what the teacher was not trained on, tell how it
is adapted. Labels come in afterwards: accuracy and confidence are those of the test images, which count as often as
their class occurs in the stream. An ImageNet classifier is restricted to the classes of a source that has WordNet ids;
it has seen what Tiny-ImageNet's images are cut from, and labelled images calibrate it with --calibrate only.

Prints a table and writes its rows to prior.json beside this file, in place of those of the same teacher and source.
What the teachers say of the images is kept in runs/prior, so that a stopped run goes on from there.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
from scipy import special

from envise_tf import progress
from envise_tf.images.loading import load_source
from envise_tf.images.scenario import load_scenario
from envise_tf.images.source import Source
from envise_tf.images.windows import Stream
from envise_tf.networks.labelled import LabelledLogits
from envise_tf.networks.loading import Classifier, load_teacher
from envise_tf.prior.adaptation import adaptation_to
from envise_tf.prior.calibration import reliability
from envise_tf.prior.frequent import frequent_classes
from envise_tf.run import provenance
from envise_tf.runs.teacher import fitted_to

TARGET = Path(__file__).with_suffix(".json")
KEPT = Path("runs/prior")
IMAGES, DRAWS, OUTLIERS, BATCH_SIZE = 4000, 3, 0.05, 100
COVERAGE, MIN_SHARE = 0.99, 0.01
SCENARIOS = {
    "cifar100": ("aquarium", "countryside", "garden", "household", "street", "zoo"),
    "tiny_imagenet": ("kitchen", "road", "safari"),
}


def main() -> None:
    """Measures the teachers and writes their rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("teachers", nargs="+", help="as train takes them: cifar100-disjoint, imagenet-lite0@128, ...")
    parser.add_argument("--source", required=True, help="cifar100 or tiny_imagenet")
    parser.add_argument("--data_dir")
    parser.add_argument(
        "--calibrate", action="store_true", help="by the labelled images of the source that calibrate a teacher"
    )
    flags = parser.parse_args()
    source = load_source(flags.source, flags.data_dir)
    for reference in flags.teachers:
        teacher = fitted_to(source, load_teacher(reference), reference)
        stream, test = (kept_logits(f"{reference}-{part}", teacher, source, part) for part in ("unseen", "test"))
        labelled = kept_logits(f"{reference}-calibration", teacher, source, "calibration") if flags.calibrate else None
        labelled = labelled or teacher.labelled
        rows = [
            {"scenario": name, "prior": kind, "draw": draw, **measured(labelled, stream, test, prior, draw)}
            for name, inlier, outlier in scenarios(source)
            for kind in ("even", "zipf")
            for draw in range(DRAWS)
            for prior in [stream_prior(kind, inlier, outlier, len(source.class_names), draw)]
        ]
        add(rows, f"{reference}, calibrated" if flags.calibrate else reference, flags.source)


def kept_logits(name: str, teacher: Classifier, source: Source, part: str) -> LabelledLogits:
    """Returns what a teacher says of the test images or of those it was not trained on, asked once and kept."""
    path = KEPT / f"{name.replace('/', '_')}-{source.name}.npz"
    if not path.exists():
        if part == "test":
            examples = source.examples("test").map(lambda example: (example["image"], example["label"]))
            pairs = examples.batch(BATCH_SIZE).prefetch(2)
        else:
            pairs = Stream(source, part, "disjoint", None, None, 1000, BATCH_SIZE, 0).labelled_images()
        shown = progress.track(pairs.as_numpy_iterator(), name)
        path.parent.mkdir(parents=True, exist_ok=True)
        LabelledLogits.of(((teacher(images), labels) for images, labels in shown), teacher.classes).save(path)
    return LabelledLogits.load(path)


def scenarios(source: Source) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Returns name, inlier labels and outlier labels of each shipped scenario of a source."""
    found = []
    for name in SCENARIOS[source.name]:
        scenario = load_scenario(f"{source.name.replace('_', '-')}-{name}", source.class_names)
        inlier, outlier = (np.array(scenario.labels(side, source.class_names)) for side in ("inlier", "outlier"))
        found.append((name, inlier, outlier))
    return found


def stream_prior(kind: str, inlier: np.ndarray, outlier: np.ndarray, classes: int, draw: int) -> np.ndarray:
    """Returns the shares of a stream, float64 (classes,)."""
    shares = np.ones(len(inlier)) if kind == "even" else 1 / np.arange(1, len(inlier) + 1)
    prior = np.zeros(classes)
    prior[np.random.default_rng(draw).permutation(inlier)] = (1 - OUTLIERS) * shares / shares.sum()
    prior[outlier] = OUTLIERS / len(outlier)
    return prior


def measured(
    labelled: LabelledLogits | None, stream: LabelledLogits, test: LabelledLogits, prior: np.ndarray, draw: int
) -> dict:
    """Returns the figures of one stream, shares in 0..1."""
    random = np.random.default_rng(1000 + draw)
    shown = random.choice(len(stream), IMAGES, p=weights(stream.labels, prior))
    began = time.perf_counter()
    adaptation = adaptation_to(stream.logits[shown], labelled)
    seconds = time.perf_counter() - began
    found = set(frequent_classes(adaptation.estimate, adaptation.lower, COVERAGE, MIN_SHARE).tolist())
    frequent = set(np.flatnonzero(prior >= MIN_SHARE).tolist())
    counts = weights(test.labels, prior)
    is_right = test.logits.argmax(axis=1) == test.labels
    adapted = special.softmax(adaptation.logits(test.logits), axis=1)
    is_right_adapted, confidence = adapted.argmax(axis=1) == test.labels, adapted.max(axis=1)
    # In equal parts of the stream, each test image as often as the stream shows it.
    seen = random.choice(len(test), 20_000, p=counts)
    return {
        "raw": float(counts @ is_right),
        "adapted": float(counts @ is_right_adapted),
        "own_estimate": float(counts @ confidence),
        "calibration_error": reliability(confidence[seen], is_right_adapted[seen]).calibration_error,
        "temperature": adaptation.calibration.temperature,
        "missed": len(frequent - found),
        "false": len(found - frequent),
        "frequent": len(frequent),
        "seconds": seconds,
    }


def weights(labels: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """Returns how often each image counts, so that its class has its share: float64 (n,), of sum 1."""
    share = prior / np.maximum(np.bincount(labels, minlength=len(prior)), 1)
    return share[labels] / share[labels].sum()


def add(rows: list[dict], teacher: str, source: str) -> None:
    """Writes the rows of one teacher on one source, and prints their means."""
    print(f"{teacher}: accuracy raw, adapted, gain (least), own estimate less accuracy (least .. most), missed, false")
    for kind in ("even", "zipf"):
        for name in sorted({row["scenario"] for row in rows}):
            print(f"{name:26} {kind} {line([row for row in rows if (row['scenario'], row['prior']) == (name, kind)])}")
        print(f"{'all':26} {kind} {line([row for row in rows if row['prior'] == kind])}", flush=True)
    known = json.loads(TARGET.read_text()) if TARGET.exists() else []
    others = [each for each in known if (each["teacher"], each["source"]) != (teacher, source)]
    entry = {"teacher": teacher, "source": source, "images": IMAGES, "outliers": OUTLIERS, "rows": rows, **provenance()}
    entries = sorted([*others, entry], key=lambda each: (each["source"], each["teacher"]))
    TARGET.write_text(json.dumps(entries, indent=1) + "\n")


def line(rows: list[dict]) -> str:
    """Returns the means of some rows as a line of the table."""
    raw, adapted, own = (np.array([row[key] for row in rows]) * 100 for key in ("raw", "adapted", "own_estimate"))
    gain, gap = adapted - raw, own - adapted
    missed, false = (sum(row[key] for row in rows) for key in ("missed", "false"))
    return (
        f"{raw.mean():5.1f} {adapted.mean():5.1f} {gain.mean():+5.1f} ({gain.min():+5.1f}) "
        f"{gap.mean():+5.1f} ({gap.min():+5.1f} .. {gap.max():+5.1f}) {missed:3} {false:3} of {len(rows)} streams"
    )


if __name__ == "__main__":
    main()
