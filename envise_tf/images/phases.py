"""A simulated stream whose prior changes: phases, each a number of images drawn from one prior.

A phase file is YAML:

    phases:
      - {scenario: cifar100-zoo, images: 10000, outliers: 0.05}
      - {scenario: my.yaml, images: 5000}                                  # a path counts from the phase file's folder
      - {prior: {apple: 0.7, pear: 0.3}, images: 3000, change: 500}

`outliers` (default 0) is the share of the scenario's outlier classes, spread evenly over them; its inliers share the
rest evenly. `prior` gives the share of each class by name; the shares are divided by their sum. `change` (default 0,
abrupt) is the number of images over which the prior moves here from the one before: image i = 0, 1, ... of them comes
from the new prior with probability (i + 1) / (change + 1), else from the old one (our choice: a straight line).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from envise_tf.errors import UserError, nearest_names
from envise_tf.images.frames import Frame, Frames
from envise_tf.images.halves import Part, Protocol
from envise_tf.images.scenario import load_scenario
from envise_tf.images.source import Source
from envise_tf.images.windows import Stream
from envise_tf.named_files import named_text, parsed_yaml, require_conforming, shipped_texts

_PART: Part = "unseen"
_PHASE: dict[str, Any] = {
    "description": "the keys images and either scenario or prior",
    "type": "object",
    "properties": {
        "scenario": {"description": "a name or the path of a YAML file", "type": "string"},
        "prior": {
            "description": "the share of each class by its name",
            "type": "object",
            "minProperties": 1,
            "additionalProperties": {"description": "a number above 0", "type": "number", "exclusiveMinimum": 0},
        },
        "images": {"description": "a whole number of at least 1", "type": "integer", "minimum": 1},
        "outliers": {"description": "a share of 0..1", "type": "number", "minimum": 0, "maximum": 1},
        "change": {"description": "a whole number of at least 0", "type": "integer", "minimum": 0},
    },
    "required": ["images"],
    "additionalProperties": False,
}
_FILE: dict[str, Any] = {
    "description": "a list of phases under the key 'phases'",
    "type": "object",
    "properties": {
        "phases": {"description": "a list of at least one phase", "type": "array", "minItems": 1},
    },
    "required": ["phases"],
    "additionalProperties": False,
}
_BATCH = 64
_CLASSES_IN_A_NAME = 3


@dataclass(frozen=True)
class Phase:
    """A stretch of the stream with one prior.

    Args:
        name: of its scenario, or of the most frequent classes of its prior.
        images: how many, >= 1.
        shares: the prior: probability of each label, each above 0, together 1.
        change: over how many of its first images the prior moves here from the one before, 0..images; 0 is abrupt.
    """

    name: str
    images: int
    shares: dict[int, float]
    change: int = 0


def load_phases(name_or_path: str, class_names: Sequence[str]) -> tuple[Phase, ...]:
    """Returns the phases that a YAML file describes (see the module), checked against the classes of a source.

    Args:
        name_or_path: a shipped phase file's name, or the path of a file.
        class_names: the class of each label of the source.

    Raises:
        UserError: it cannot be read, or says something that is not allowed.
    """
    shipped = shipped_texts(resources.files("envise_tf.images") / "phase_files")
    told = f"phase file {name_or_path}"
    content = parsed_yaml(named_text(name_or_path, shipped, "phase file")[1], told, _FILE["description"])
    require_conforming(content, _FILE, told)
    if not class_names:
        raise UserError(f"{told} names classes, but the images have none: choose a labelled source")
    entries = content["phases"]
    places = [f"{told}, phase {number} of {len(entries)}" for number in range(1, len(entries) + 1)]
    for place, entry in zip(places, entries, strict=True):
        require_conforming(entry, _PHASE, place)
    folder = Path(name_or_path).expanduser().parent
    phases = [_phase(*found, folder, class_names) for found in zip(places, entries, strict=True)]
    if phases[0].change:
        raise UserError(f"{places[0]}: change {phases[0].change} given, but there is no prior before it; drop the key")
    return tuple(phases)


class PhasedFrames(Frames):
    """A stream of phases, drawn from the part of the train split that the teacher has not seen.

    Each phase is a window of a `Stream`: shuffled passes over the images that its prior keeps, so that none comes
    twice before all of them have come. A phase that is longer than such a pass shows the same images again, in
    another order; no others of a class that was thinned. Another phase draws anew, even from the same prior.

    Everything depends on the seed and the position alone. What lies before `first` in earlier phases is not read;
    in the phase of `first` it is. To begin a phase takes some passes over the source.

    Args:
        source: a labelled source.
        phases: as of `load_phases` with its class names, at least one.
        protocol: "disjoint" draws from the stream's half, "shared" from the whole train split.
        seed: the same seed gives the same stream.

    Attributes:
        phases: those given.
        distinct: about how many different images each phase draws from, min over labels of (unseen images / share),
            which is the expected length of a pass. The old prior's images in a gradual change come on top.

    Raises:
        UserError: a class of a phase has no image that the teacher has not seen.
    """

    def __init__(self, source: Source, phases: Sequence[Phase], protocol: Protocol, seed: int) -> None:
        if source.size is None:
            raise UserError(f"the images of {source.name} differ in size: give the side in pixels as --image_size")
        self.name, self.class_names, self.size = source.name, source.class_names, source.size
        self.wordnet_ids = source.wordnet_ids
        self.phases = tuple(phases)
        self.phase_names = tuple(phase.name for phase in self.phases)
        ends = np.cumsum([phase.images for phase in self.phases]).tolist()
        self.phase_starts, self.length = (0, *ends[:-1]), ends[-1]
        self._source, self._protocol, self._seed = source, protocol, seed
        counts = self._label_counts()
        self.distinct = tuple(int(min(counts[k] / share for k, share in phase.shares.items())) for phase in self.phases)

    def frames(self, first: int) -> Iterator[Frame]:
        for number, (start, phase) in enumerate(zip(self.phase_starts, self.phases, strict=True)):
            if first < start + phase.images:
                yield from self._frames_of(number, max(first, start))

    def _frames_of(self, number: int, position: int) -> Iterator[Frame]:
        """Returns the frames of a phase from a position in it on."""
        examples = self._examples(number).skip(position - self.phase_starts[number])
        for images, labels in examples.batch(_BATCH).prefetch(2).as_numpy_iterator():
            for image, label in zip(images, labels, strict=True):
                yield Frame(position, image, int(label), number)
                position += 1

    def _examples(self, number: int) -> tf.data.Dataset:
        """Returns the images and labels of a phase, one by one."""
        phase = self.phases[number]
        examples = self._drawn(phase, phase.images, 2 * number)
        if phase.change:
            before = self._drawn(self.phases[number - 1], phase.change, 2 * number + 1)
            changing = tf.data.Dataset.from_tensor_slices(_is_new(phase.change, (self._seed, number)))
            choices = changing.concatenate(tf.data.Dataset.from_tensors(True).repeat())
            examples = tf.data.Dataset.choose_from_datasets(
                [before, examples], choices.map(lambda is_new: tf.cast(is_new, tf.int64))
            )
        return examples.take(phase.images)

    def _drawn(self, phase: Phase, count: int, window: int) -> tf.data.Dataset:
        """Returns at least `count` images and labels of the phase's prior, one by one."""
        # A window is cut to whole batches: round it up and let the caller take what it needs.
        length = math.ceil(count / _BATCH) * _BATCH
        labels = tuple(phase.shares)
        drawn = Stream(self._source, _PART, self._protocol, labels, phase.shares, length, _BATCH, self._seed)
        return drawn.labelled_window(window).unbatch()

    def _label_counts(self) -> np.ndarray:
        """Returns how many unseen images each label has: int64, (labels,); each label of a phase has some."""
        labels = sorted({label for phase in self.phases for label in phase.shares})
        counts = Stream(self._source, _PART, self._protocol, tuple(labels), None, 1, 1, self._seed).label_counts
        missing = [self.class_names[label] for label in labels if not counts[label]]
        if missing:
            raise UserError(
                f"{self.name} has no images of {', '.join(missing)} that the teacher has not seen: drop them"
            )
        return counts


def _is_new(change: int, seed: tuple[int, int]) -> np.ndarray:
    """Returns whether each image of a gradual change comes from the new prior: bool, (change,)."""
    draws = tf.random.stateless_uniform((change,), seed).numpy()
    return draws < np.arange(1, change + 1) / (change + 1)


def _phase(place: str, entry: dict[str, Any], folder: Path, class_names: Sequence[str]) -> Phase:
    images, change = entry["images"], entry.get("change", 0)
    if change > images:
        raise UserError(f"{place}: change is {change}, expected at most its {images} images")
    if ("scenario" in entry) == ("prior" in entry):
        given = "both scenario and prior" if "prior" in entry else "neither scenario nor prior"
        raise UserError(f"{place}: {given} given, expected one of them")
    if "scenario" in entry:
        name, shares = _of_scenario(place, entry["scenario"], entry.get("outliers", 0), folder, class_names)
    elif "outliers" in entry:
        raise UserError(f"{place}: outliers given with prior, which says the share of every class; drop outliers")
    else:
        name, shares = _of_prior(place, entry["prior"], class_names)
    return Phase(name, images, shares, change)


def _of_scenario(
    place: str, name_or_path: str, outliers: float, folder: Path, class_names: Sequence[str]
) -> tuple[str, dict[int, float]]:
    """Returns the scenario's name, and label -> probability."""
    is_path = name_or_path.endswith((".yaml", ".yml"))
    scenario = load_scenario(str(folder / Path(name_or_path).expanduser()) if is_path else name_or_path, class_names)
    if outliers and not scenario.outlier:
        raise UserError(f"{place}: outliers {outliers} given, but scenario {scenario.name} has none; drop the key")
    rare, usual = scenario.labels("outlier", class_names), scenario.labels("inlier", class_names)
    shares = {label: (1 - outliers) / len(usual) for label in usual} | {label: outliers / len(rare) for label in rare}
    return scenario.name, {label: share for label, share in shares.items() if share}


def _of_prior(place: str, prior: dict[str, float], class_names: Sequence[str]) -> tuple[str, dict[int, float]]:
    """Returns the names of the most frequent classes, and label -> probability."""
    for name in prior:
        if name not in class_names:
            raise UserError(f"{place}: prior names '{name}', no class here; {nearest_names(str(name), class_names)}")
    total = math.fsum(prior.values())
    named = sorted(prior, key=prior.__getitem__, reverse=True)[:_CLASSES_IN_A_NAME]
    rest = f" and {len(prior) - len(named)} more" if len(prior) > len(named) else ""
    return ", ".join(named) + rest, {class_names.index(name): share / total for name, share in prior.items()}
