"""What the settings of a distillation name, found and checked before the long work starts."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from envise_tf import progress
from envise_tf.distillation.objectives import Objective, objective
from envise_tf.errors import UserError, nearest_names
from envise_tf.images.folder import Folder
from envise_tf.images.halves import CHOOSING_EVERY, Part
from envise_tf.images.loading import load_source
from envise_tf.images.scenario import Scenario, load_scenario
from envise_tf.images.source import Source
from envise_tf.images.windows import Stream
from envise_tf.networks.loading import Classifier, load_teacher, teacher_is_own
from envise_tf.prior.adaptation import Adaptation
from envise_tf.prior.adapted import adapted, adapted_to, ending_in_logits, raw_teacher
from envise_tf.prior.frequent import frequent_classes
from envise_tf.runs.names import has_comparable_labels, named_for
from envise_tf.runs.teacher import fitted_to, labelled_by, require_fitting_range, require_size, shared_size
from envise_tf.settings import TrainSettings
from envise_tf.settings.places import NO_TEACHER

_MOST_ESTIMATED = 5000
"""Images of the stream that its prior is estimated on (our choice): a class of 1 % has fifty of them."""


@dataclass(frozen=True)
class Job:
    """Everything that the settings name.

    Attributes:
        settings: what was asked for.
        teacher: as it came, ending in logits, with a name for each class; or adapted, see `adapted_job`.
        tested: the labelled source that networks are tested on; None where nobody has labels, or the teacher has no
            names to compare them with.
        is_named: whether the teacher's classes have names; else they are called 0, 1, 2 and so on.
        scenario: None where all classes are inliers.
        stream: what the student may train on.
        held_back: what the student never trains on, at the stream's prior.
        objectives: by name.
    """

    settings: TrainSettings
    teacher: Classifier
    tested: Source | None
    is_named: bool
    scenario: Scenario | None
    stream: Stream
    held_back: Stream
    objectives: dict[str, Objective]

    @property
    def size(self) -> int:
        """Side of the images in pixels."""
        return int(self.stream.source.size or 0)

    def choosing_images(self, batch_size: int) -> tf.data.Dataset:
        """Returns the held-back images that anything may be chosen by, in uint8 batches; the last may be smaller.

        Agreement is measured on them, scores are fitted on them, and a sweep compares its trials on them.
        """
        return self._of_held_back("choosing", -(-self.settings.held_back // CHOOSING_EVERY), batch_size)

    def promising_images(self, batch_size: int) -> tf.data.Dataset:
        """Returns the held-back images that a threshold's promise is tested on, as `choosing_images` has the others.

        Nothing else may look at them.
        """
        most = self.settings.held_back - -(-self.settings.held_back // CHOOSING_EVERY)
        return self._of_held_back("promising", most, batch_size)

    def _of_held_back(self, part: Part, most: int, batch_size: int) -> tf.data.Dataset:
        return dataclasses.replace(self.held_back, part=part).images().unbatch().take(most).batch(batch_size)

    @property
    def inliers(self) -> tuple[int, ...] | None:
        """The tested source's labels of the inlier classes; None means all."""
        if self.scenario is None or self.tested is None:
            return None
        return self.scenario.labels("inlier", self.tested.class_names)


def found_job(settings: TrainSettings) -> Job:
    """Returns the job that the settings describe, every part of it loaded and checked.

    Raises:
        UserError: a part is missing or does not fit the others.
    """
    if settings.teacher == NO_TEACHER:
        raise UserError(
            "--teacher none given: expected a teacher, without whom there is no cascade; train and teach --student "
            "alone go without one, and train the student by labels"
        )
    objectives = found_objectives(settings)
    if settings.twin and settings.with_twin:
        raise UserError("--twin makes the student itself the twin, --with_twin adds one beside it: give one of the two")
    teacher = load_teacher(settings.teacher, settings.teacher_range, settings.teacher_classes)
    has_own_names = bool(teacher.class_names)
    tested = _tested(settings, teacher)
    scenario = found_scenario(settings, tested)
    stream = _stream(settings, teacher, tested, scenario)
    require_size(teacher, settings.teacher, stream.source.size, stream.source.name)
    teacher = fitted_to(stream.source if tested is None else tested, teacher, settings.teacher)
    teacher = named_for(teacher, settings.teacher, tested, settings.teacher_classes is not None)
    teacher = dataclasses.replace(teacher, model=ending_in_logits(teacher.model))
    if settings.calibrate is not None:
        labelled = labelled_by(settings.calibrate, teacher, stream.source.size or 0)
        teacher = dataclasses.replace(teacher, labelled=labelled)
    if teacher_is_own(settings.teacher):
        images = next(iter(stream.images().take(1).as_numpy_iterator()), np.zeros(0))
        require_fitting_range(
            teacher,
            settings.teacher,
            settings.teacher_range,
            images,
            lambda other: load_teacher(settings.teacher, other, settings.teacher_classes),
        )
    held_back = dataclasses.replace(stream, part="held_back")
    is_named = has_own_names or tested is not None
    return Job(settings, teacher, tested, is_named, scenario, stream, held_back, objectives)


def found_objectives(settings: TrainSettings) -> dict[str, Objective]:
    """Returns the objectives that the settings describe, by name.

    Raises:
        UserError: there is none, or one has a name or an option that does not exist.
    """
    if not settings.objectives:
        raise UserError("no objective is given: expected at least one, such as --objectives.soft_label.weight 1")
    return {name: objective(name, options) for name, options in settings.objectives.items()}


def found_scenario(settings: TrainSettings, tested: Source | None) -> Scenario | None:
    """Returns the scenario that the settings name; None where they name none.

    Raises:
        UserError: there is no such scenario, or there are no labels that it could name.
    """
    if settings.scenario is None:
        if settings.classes == "pinned":
            raise UserError("classes are pinned, but by no scenario: give --scenario, or --classes found")
        return None
    if tested is None:
        raise UserError(
            f"scenario {settings.scenario} names classes, but there are no labels: give a labelled --source"
        )
    return load_scenario(settings.scenario, tested.class_names)


def labelled_stream(settings: TrainSettings, source: Source, scenario: Scenario | None) -> Stream:
    """Returns the simulated stream that the settings ask for: the scenario's inliers, or what the prior names.

    Raises:
        UserError: the prior names a class that the source lacks.
    """
    labels = None if scenario is None else scenario.labels("inlier", source.class_names)
    prior = None if settings.prior is None else _prior(settings.prior, source)
    labels = labels if prior is None else tuple(prior)
    shape = (settings.window, settings.batch_size, settings.seed)
    return Stream(source, settings.part, settings.protocol, labels, prior, *shape)


def found_adaptation(job: Job) -> Adaptation:
    """Returns how the teacher is adapted to the stream, from up to 5,000 of the images that train the student.

    Raises:
        UserError: the stream has no image.
    """
    batches = job.stream.images().take(-(-_MOST_ESTIMATED // job.settings.batch_size))
    shown = progress.track(batches.as_numpy_iterator(), "the teacher looks at the stream")
    return adapted_to(job.teacher, shown, job.settings.outlier_rate)[1]


def raw_job(job: Job) -> Job:
    """Returns the job with the teacher that its teacher was before another run adapted it to another stream."""
    return dataclasses.replace(job, teacher=dataclasses.replace(job.teacher, model=raw_teacher(job.teacher.model)))


def adapted_job(job: Job, adaptation: Adaptation) -> Job:
    """Returns the job with the adapted teacher in the teacher's place."""
    return dataclasses.replace(job, teacher=adapted(job.teacher, adaptation))


def learned_classes(job: Job, adaptation: Adaptation | None) -> list[int]:
    """Returns the teacher's class of each class that the student is to learn.

    Args:
        job: names all classes, or those that a scenario pins, or leaves them to be found.
        adaptation: in which frequent classes are found; needed for these alone.

    Raises:
        UserError: fewer than two are found, or the teacher does not know one that the scenario pins.
    """
    settings = job.settings
    if settings.classes == "all":
        classes = list(range(job.teacher.classes))
    elif settings.classes == "pinned" and job.scenario is not None:
        classes = [_teacher_class(job, name) for name in job.scenario.inlier]
    else:
        assert adaptation is not None, "frequent classes are found in the stream's prior"
        classes = frequent_classes(
            adaptation.estimate, adaptation.lower, settings.coverage, settings.min_share
        ).tolist()
    if len(classes) < 2:
        raise UserError(
            f"the teacher sees {len(classes)} class(es) often enough: expected at least 2; "
            "give a lower --min_share, or check that the stream shows what the teacher knows"
        )
    return classes


def _tested(settings: TrainSettings, teacher: Classifier) -> Source | None:
    name = settings.source
    if name is None:
        if settings.stream is None:
            raise UserError("no images are given: expected --source (digits, cifar100, a folder), --stream or --preset")
        return None
    size = teacher.size if Path(name).is_dir() else None
    source = load_source(name, settings.data_dir, settings.image_size or size)
    if not source.class_names:
        return None
    if has_comparable_labels(teacher, source):
        return source
    for flag, value in (("scenario", settings.scenario), ("prior", settings.prior)):
        if value is not None:
            raise UserError(
                f"--{flag} names classes, but teacher {settings.teacher} has no names for its own: give them with "
                "--teacher_classes FILE, one per line in the order of its outputs"
            )
    return None


def _stream(settings: TrainSettings, teacher: Classifier, tested: Source | None, scenario: Scenario | None) -> Stream:
    folder = settings.stream or (settings.source if tested is None else None)
    if folder is not None:
        size = shared_size(teacher, settings.teacher, settings.image_size)
        # The teacher has never seen a user's own photographs: all of them may stream.
        shape = (settings.window, settings.batch_size, settings.seed)
        return Stream(Folder(folder, size, labelled=False), settings.part, "shared", None, None, *shape)
    assert tested is not None
    return labelled_stream(settings, tested, scenario)


def _prior(shares: dict[str, float], source: Source) -> dict[int, float]:
    for name, share in shares.items():
        if name not in source.class_names:
            raise UserError(f"prior names {name}, no class of {source.name}: {nearest_names(name, source.class_names)}")
        if not share > 0:
            raise UserError(f"prior gives {name} the share {share}: expected more than 0")
    return {source.class_names.index(name): share for name, share in shares.items()}


def _teacher_class(job: Job, name: str) -> int:
    if name not in job.teacher.class_names:
        raise UserError(
            f"the scenario pins {name}, which teacher {job.settings.teacher} does not know: "
            + nearest_names(name, job.teacher.class_names)
        )
    return job.teacher.class_names.index(name)
