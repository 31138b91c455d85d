"""A user's teacher: whatever Keras can load, brought to one form (uint8 image in, class scores out)."""

from __future__ import annotations

import functools
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from envise_tf.errors import UserError, as_word, nearest_names, reason_of
from envise_tf.networks.code import load_keras
from envise_tf.networks.formats import require_keras2
from envise_tf.networks.imagenet import IMAGENET_NAMES, ImagenetReference, imagenet_classes, imagenet_classifier
from envise_tf.networks.labelled import CALIBRATION_FILE, LabelledLogits
from envise_tf.networks.normalisation import Normalisation, PixelRange
from envise_tf.networks.shipped import card, shipped_labelled, shipped_names, shipped_network
from envise_tf.networks.teachers import APPLICATIONS, IMAGENET_CLASSES, keras_application
from envise_tf.networks.tracing import traced


@dataclass(frozen=True)
class Classifier:
    """A network and what its outputs mean.

    Attributes:
        model: uint8 (batch, size, size, 3) -> float32 (batch, classes), logits or probabilities.
        class_names: the name of each class; empty where they are unknown.
        labelled: what it says of labelled images that it was not trained on; None where there are none.
    """

    model: tf.keras.Model
    class_names: tuple[str, ...]
    labelled: LabelledLogits | None = None

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Returns logits or probabilities, float32 (n, classes), of uint8 images (n, height, width, 3).

        Raises:
            UserError: some are no numbers.
        """
        outputs = self._traced(images)
        if not np.isfinite(outputs).all():
            wrong = np.sum(~np.isfinite(outputs).all(axis=1))
            raise UserError(
                f"the teacher's outputs are no numbers on {wrong} of {len(outputs)} images: expected scores of "
                "classes; look for weights that are too large, or give it its --teacher_range"
            )
        return outputs

    @functools.cached_property
    def _traced(self) -> Callable[[np.ndarray], np.ndarray]:
        return traced(self.model)

    @property
    def size(self) -> int | None:
        """Side of the images that the network takes, in pixels; None when it takes any."""
        return self.model.input_shape[1]

    @property
    def classes(self) -> int:
        return self.model.output_shape[-1]


def load_teacher(reference: str, pixel_range: PixelRange = "raw", classes_file: str | None = None) -> Classifier:
    """Returns the teacher that a reference names.

    Args:
        reference: a shipped teacher, the folder of a run of teach, a .keras or .h5 file, a SavedModel, a Keras
            Application, which comes with its ImageNet weights, or an `ImagenetReference`, for images of any size.
        pixel_range: what a network of the user's expects; those that take uint8 normalise themselves.
        classes_file: text file with one class name per line; its names take precedence over the network's own.

    Raises:
        UserError: nothing is found under that name, Keras 2 cannot load it, or it takes no square RGB images.
    """
    given = () if classes_file is None else _names_in(Path(classes_file))
    names: tuple[str, ...] = ()
    labelled = None
    if reference in shipped_names("teacher"):
        model, labelled = shipped_network(reference, "teacher"), shipped_labelled(reference)
        names = tuple(card(reference, "teacher")["class_names"])
    elif (imagenet := ImagenetReference.of(reference)) is not None:
        model, names = imagenet_classifier(imagenet, size=None), tuple(imagenet_classes().values())
    elif reference in APPLICATIONS and not Path(reference).exists():
        model = keras_application(reference, 224, IMAGENET_CLASSES, "imagenet")
        names = tuple(imagenet_classes().values())
    else:
        path = Path(reference)
        if (path / "teacher.keras").exists():
            names = _names_of_run(path)
            if (path / CALIBRATION_FILE).exists():
                labelled = LabelledLogits.load(path / CALIBRATION_FILE)
            path = path / "teacher.keras"
        model = load_network(path, known=[*shipped_names("teacher"), *IMAGENET_NAMES, *APPLICATIONS])
    return as_classifier(model, reference, pixel_range, given or names, labelled)


def as_classifier(
    model: tf.keras.Model,
    reference: str,
    pixel_range: PixelRange = "raw",
    class_names: tuple[str, ...] = (),
    labelled: LabelledLogits | None = None,
) -> Classifier:
    """Returns a network as a classifier of uint8 images.

    Args:
        model: RGB images -> (batch, classes).
        reference: how the user calls it, for the error.
        pixel_range: what it expects; one that takes uint8 normalises itself.
        class_names: empty where they are unknown.
        labelled: what it says of labelled images, if there are any.

    Raises:
        UserError: it takes no square RGB images, gives no row of class scores, has another number of classes, or
            weights that are not finite.
    """
    return _checked(Classifier(_with_uint8_input(model, pixel_range, reference), class_names, labelled), reference)


def teacher_is_own(reference: str) -> bool:
    """Returns whether a reference names a model file or folder of the user's own, of whose making nothing is known."""
    is_known = reference in shipped_names("teacher") or ImagenetReference.of(reference) is not None
    return not is_known and Path(reference).exists() and not (Path(reference) / "teacher.keras").exists()


def load_network(path: Path, known: list[str]) -> tf.keras.Model:
    """Returns the Keras model in a file or SavedModel folder.

    Args:
        path: what to load.
        known: names that the user may have meant, for the error.

    Raises:
        UserError: it does not exist, is a network of Keras 3 or of something else, holds code, see `networks.code`, or
            Keras 2 cannot load it.
    """
    if not path.exists():
        raise UserError(
            f"no teacher {path}: expected a .keras file, a SavedModel, a run, or a name; "
            + nearest_names(str(path), known)
        )
    require_keras2(path)
    try:
        return load_keras(path)
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"Keras 2 cannot load {path} ({reason_of(error)}): save it with tf_keras, as .keras or SavedModel"
        ) from error


@dataclass(frozen=True, eq=False)
class Generic:
    """A student of many classes that others start from.

    Attributes:
        network: with a logit for each of its classes.
        classes: the teacher's class of each of its logits, -1 where the teacher has none; None for all the teacher's
            classes in the teacher's order.
    """

    network: tf.keras.Model
    classes: list[int] | None


def load_generic(init: str, teacher: str, class_names: Sequence[str], twin: bool) -> Generic | None:
    """Returns the student that another starts from; None for "scratch".

    Args:
        init: "scratch", "generic" for the one that is shipped beside the teacher, the name of another shipped one,
            whose classes are the teacher's of the same name, or the path of a student.keras of all the teacher's
            classes.
        teacher: a shipped teacher's name, or any other reference, beside which no student is shipped.
        class_names: of the teacher.
        twin: whether a real-valued one is wanted, none of which is shipped.

    Raises:
        UserError: none is shipped, or Keras cannot load the file.
    """
    if init == "scratch":
        return None
    if init in shipped_names("student") and not twin:
        number = {name: label for label, name in enumerate(class_names)}
        classes = [number.get(name, -1) for name in card(init, "student")["class_names"]]
        return Generic(shipped_network(init, "student"), classes)
    if init != "generic":
        return Generic(load_network(Path(init), shipped_names("student")), None)
    require_generic(init, teacher, twin)
    return Generic(shipped_network(teacher, "student"), None)


def require_generic(init: str, teacher: str, twin: bool) -> None:
    """Returns if the generic student is shipped, where that is asked for; arguments and errors as in `load_generic`."""
    if init == "generic" and (twin or teacher not in shipped_names("student")):
        what = "twin" if twin else f"student of {teacher}"
        raise UserError(f"no generic {what} is shipped: give --student_init scratch or the path of a student.keras")


def _with_uint8_input(model: tf.keras.Model, pixel_range: PixelRange, reference: str) -> tf.keras.Model:
    shape = getattr(model, "input_shape", None)
    if not isinstance(shape, tuple) or len(shape) != 4 or shape[-1] != 3:
        raise UserError(f"{reference} takes input of shape {shape}: expected (batch, height, width, 3), RGB images")
    if model.inputs[0].dtype == tf.uint8:
        return model
    images = tf.keras.layers.Input(shape[1:], dtype="uint8", name="image")
    return tf.keras.Model(images, model(Normalisation(pixel_range, name="pixel_range")(images)), name=model.name)


def _checked(classifier: Classifier, reference: str) -> Classifier:
    for weight in classifier.model.weights:
        if weight.dtype.is_floating and not np.isfinite(tf.cast(weight, tf.float32)).all():
            raise UserError(
                f"{reference} has weights that are no numbers, in {weight.name}: expected a trained network; give a "
                "file from before they became so"
            )
    height, width = classifier.model.input_shape[1:3]
    if height != width:
        raise UserError(f"{reference} takes images of {height}x{width} pixels: expected square ones, or of any size")
    output = classifier.model.output_shape
    if not isinstance(output, tuple) or len(output) != 2:
        raise UserError(f"{reference} gives output of shape {output}: expected (batch, classes)")
    if classifier.classes == 1:
        raise UserError(
            f"{reference} gives one number per image, as a sigmoid of one unit does: expected one for each class; end "
            "it in Dense(2, activation='softmax') instead, its first unit zeros and its second the one it has now"
        )
    if classifier.class_names and len(classifier.class_names) != classifier.classes:
        raise UserError(
            f"{reference} has {classifier.classes} classes, but {len(classifier.class_names)} names are given: "
            "expected one name per line for each, in the network's order"
        )
    twice = sorted(name for name, count in Counter(classifier.class_names).items() if count > 1)
    if twice:
        raise UserError(
            f"{reference} has more than one class of the name {twice[0]}: expected different names, as an answer is one"
        )
    return classifier


def _names_of_run(run: Path) -> tuple[str, ...]:
    try:
        if (run / "classes.json").exists():  # a run of train, whose result names the student's classes
            classes = json.loads((run / "classes.json").read_text())
            return tuple(classes["teacher_names"]) if classes.get("is_named", True) else ()
        return tuple(json.loads((run / "result.json").read_text())["class_names"])
    except FileNotFoundError:
        raise UserError(f"{run} holds no finished run of teach: resume it with --resume {as_word(run)}") from None


def _names_in(path: Path) -> tuple[str, ...]:
    try:
        names = tuple(line.strip() for line in path.read_text().splitlines() if line.strip())
    except OSError as error:
        raise UserError(f"cannot read class names from {path} ({error.strerror}): expected one name per line") from None
    if not names:
        raise UserError(f"{path} is empty: expected one class name per line")
    return names
