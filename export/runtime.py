"""Runs a bundle where there is no TensorFlow: on boards such as a Raspberry Pi, and in tests of what a phone will do.

    cascade = Cascade.load("bundle")
    cascade.classify(image)           # uint8 (size, size, 3) -> label, by_student, score, promised

It imports NumPy and the interpreters alone. Stock flatbuffers run in ai-edge-litert, or in its predecessor
tflite-runtime where that is what there is. The binary student runs in the compiled interpreter inside of
larq-compute-engine, loaded past that package's own import, which would bring TensorFlow with it. The teacher is loaded
when the first image is deferred.

An adapted teacher answers by the prior in the manifest. `observe` lets the device estimate it anew, and `limit` bounds
how many images are left to the teacher.

Nothing is resized or guessed: an image of another shape or type is refused, because a network would answer it with a
wrong label. `envise_tf.images.photographs.decoded_square` makes such an image of any photograph.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, Protocol

import numpy as np

from envise_tf.deferral import cascade
from envise_tf.deferral.budget import DeferralBudget
from envise_tf.deferral.cascade import Answer, Answers
from envise_tf.errors import UserError
from envise_tf.export.bundle import Bundle, File, Student, load_bundle
from envise_tf.export.flatbuffer import check_flatbuffer
from envise_tf.export.observation import Observation

_TFLITE_MODULES = ("ai_edge_litert.interpreter", "tflite_runtime.interpreter")
"""The first that is installed is taken."""

_LCE_PACKAGE = "larq_compute_engine"
_LCE_MODULE = "larq_compute_engine.tflite.python.interpreter_wrapper_lite"


class TensorSpec(NamedTuple):
    """Type and shape of an input or output."""

    dtype: str
    shape: tuple[int, ...]


class Network(Protocol):
    """A flatbuffer in its interpreter.

    Attributes:
        input: what it takes.
        outputs: what it gives, in the interpreter's order.
    """

    input: TensorSpec
    outputs: list[TensorSpec]

    def __call__(self, image: np.ndarray) -> list[np.ndarray]:
        """Returns all outputs for one image (1, height, width, 3), in the interpreter's order."""


class LceNetwork:
    """A flatbuffer with binary operators, in Larq Compute Engine's interpreter.

    Args:
        content: of the flatbuffer.
        name: what to call it in errors.
        threads: at least 1.
        indirect_bgemm: the kernel of binary convolutions that was four times faster on x86-64, with equal outputs.

    Raises:
        UserError: the interpreter is not installed, or refuses the flatbuffer.
    """

    def __init__(self, content: bytes, name: str, threads: int = 1, indirect_bgemm: bool = True) -> None:
        check_flatbuffer(content, name)
        module = _lce_module()
        with _refusals(name):
            made = module.LiteInterpreter(content, threads, False, indirect_bgemm, False)
        self._interpreter, self._name = made, name
        self.input = TensorSpec(made.input_types[0].name, made.input_shapes[0])
        self.outputs = [
            TensorSpec(dtype.name, shape) for dtype, shape in zip(made.output_types, made.output_shapes, strict=True)
        ]

    def __call__(self, image: np.ndarray) -> list[np.ndarray]:
        with _refusals(self._name):
            return self._interpreter.predict([image])


class TfliteNetwork:
    """A flatbuffer of stock operators, in the interpreter of ai-edge-litert or tflite-runtime.

    Args:
        content: of the flatbuffer.
        name: what to call it in errors.
        threads: at least 1.

    Raises:
        UserError: no interpreter is installed, or it refuses the flatbuffer.
    """

    def __init__(self, content: bytes, name: str, threads: int = 1) -> None:
        check_flatbuffer(content, name)
        interpreter = _tflite_interpreter()
        with _refusals(name):
            self._interpreter = interpreter(model_content=content, num_threads=threads)
            self._interpreter.allocate_tensors()
            # Names of tensors that are no text are refused here.
            taken, given = self._interpreter.get_input_details()[0], self._interpreter.get_output_details()
        self._name = name
        self._input_index: int = taken["index"]
        self._output_indices: list[int] = [output["index"] for output in given]
        self.input = _spec(taken)
        self.outputs = [_spec(output) for output in given]

    def __call__(self, image: np.ndarray) -> list[np.ndarray]:
        self._interpreter.set_tensor(self._input_index, image)
        with _refusals(self._name):  # some operators are prepared when they first run
            self._interpreter.invoke()
        return [self._interpreter.get_tensor(index) for index in self._output_indices]


def network_of(bundle: Bundle, which: File, threads: int = 1) -> Network:
    """Returns the network in a file of a bundle, in the interpreter that the manifest names.

    Raises:
        UserError: the bundle has no such file, the interpreter is not installed, or refuses it; or the network takes or
            gives something else than the manifest says.
    """
    content, path = bundle.content(which), bundle.path(which)
    kind = LceNetwork if bundle.manifest[which]["runtime"] == "lce" else TfliteNetwork
    network = kind(content, str(path), threads)
    outputs: dict[str, int] = bundle.manifest[which]["outputs"]
    classes = len(bundle.class_names if which == "teacher" else bundle.teacher_classes)
    size = bundle.image_size
    image = TensorSpec("uint8", (1, size, size, 3))
    widths = {name: 1 if name == "score" else classes for name in outputs}
    expected = {outputs[name]: TensorSpec("float32", (1, width)) for name, width in widths.items()}
    found = dict(enumerate(network.outputs))
    if network.input != image or any(found.get(index) != spec for index, spec in expected.items()):
        raise UserError(
            f"{path} takes {_words([network.input])} and gives {_words(network.outputs)}; by the manifest expected "
            f"{_words([image])} and {_words(expected.values())}; export the bundle again"
        )
    return network


@dataclass
class Counters:
    """What a cascade has done so far.

    Attributes:
        answered: images that the student answered under its promise.
        deferred: images that it left to the teacher.
        audited: images that it would have answered and that the teacher answered, see `BundleCascade.observe`.
        unpromised: images that it answered though it would have deferred them, see `BundleCascade.limit`.
        student_milliseconds: that the student took for all images.
        teacher_milliseconds: that the teacher took for those it answered, without loading it.
    """

    answered: int = 0
    deferred: int = 0
    audited: int = 0
    unpromised: int = 0
    student_milliseconds: float = 0.0
    teacher_milliseconds: float = 0.0


class BundleCascade:
    """The cascade of a bundle.

    Responsible for running both networks, one image at a time, and for counting. Who answers is decided by
    `envise_tf.deferral.cascade`.

    Attributes:
        bundle: what it was loaded from.
        counters: since it was loaded.
        observation: of the stream's prior; None unless `observe` was called.
        budget: for the teacher; all images until `limit` is called.
    """

    def __init__(self, bundle: Bundle, builtin: bool = False, threads: int = 1) -> None:
        which: Student = "student_builtin" if builtin else "student"
        if threads < 1:
            raise UserError(f"{threads} threads given: expected at least 1")
        self.bundle = bundle
        self.counters = Counters()
        self.observation: Observation | None = None
        self.budget = DeferralBudget(1.0, window=1)
        self._threads = threads
        self._student = network_of(bundle, which, threads)
        self._outputs: dict[str, int] = bundle.manifest[which]["outputs"]
        self._teacher: Network | None = None
        self._adaptation = bundle.adaptation
        self._cascade = cascade.Cascade(
            self._ask_student,
            self._ask_teacher,
            bundle.thresholds(which),
            bundle.teacher_classes,
            bundle.class_names,
            self._open_for,
        )

    @classmethod
    def load(cls, folder: str | Path, builtin: bool = False, threads: int = 1) -> BundleCascade:
        """Returns the cascade of the bundle in a folder, once every file of it has been checked.

        Args:
            folder: of the bundle.
            builtin: True takes the student of stock operators, for boards without Larq Compute Engine.
            threads: that each interpreter may use.

        Raises:
            UserError: see `load_bundle`; or an interpreter is missing, or refuses a file.
        """
        return cls(load_bundle(folder), builtin, threads)

    def observe(
        self,
        audit_share: float = 0.05,
        window: int = 1000,
        state: Mapping[str, Any] | None = None,
        seed: int | None = None,
    ) -> None:
        """Estimates the stream's prior from now on, and adapts the teacher to it once the window is full.

        Some of the images that the student would answer are audited: the teacher answers them, which costs its time.
        To survive a restart, keep `observation.state()` and give it here. The thresholds stay, and so does the stream
        for which their promise was made; see `envise_tf.export.observation`.

        Args:
            audit_share: chance of such an image to be audited, in (0, 1].
            window: number of the latest images before the teacher that count, at least 100.
            state: of an earlier observation of this bundle, as JSON gives it back; None begins anew.
            seed: of the audits' draw; None draws anew.

        Raises:
            UserError: the bundle's teacher is not adapted, a number is out of its range, or the state is damaged or
                another teacher's.
        """
        observation = Observation(self.bundle, audit_share, window, seed)
        if state is not None:
            observation.restore(state)
        self.observation = observation

    def limit(self, most_deferred: float, window: int = 1000) -> None:
        """Bounds the teacher's work from now on, whatever images come.

        While the budget is spent the student answers what it would have deferred, and says so: such an answer is not
        `promised`. Audits are made only while it is open, so the estimated prior stays a fair one.

        Args:
            most_deferred: share of any `window` images in a row that may be deferred, in (0, 1].
            window: images, at least 1.

        Raises:
            UserError: a number is out of its range, or the share of the window is less than one image.
        """
        self.budget = DeferralBudget(most_deferred, window)

    def classify(self, image: np.ndarray) -> Answer:
        """Returns the answer for one image.

        Args:
            image: uint8 (size, size, 3), RGB, 0..255.

        Raises:
            UserError: the image has another shape or type, or the teacher's file is damaged.
        """
        return self.classify_batch(np.asarray(image)[np.newaxis]).first(self.bundle.class_names)

    def classify_batch(self, images: np.ndarray) -> Answers:
        """Returns the answers for n images, looked at one after the other.

        Args:
            images: uint8 (n, size, size, 3), RGB, 0..255.

        Raises:
            UserError: the images have another shape or type, or the teacher's file is damaged.
        """
        images = np.asarray(images)
        self._check(images)
        answers = self._cascade.classify_batch(images)
        self.counters.deferred += int((~answers.by_student).sum())
        if self.observation is not None:
            answers = self._audited(self.observation, images, answers)
        self.counters.answered += int((answers.by_student & answers.promised).sum())
        self.counters.unpromised += int((~answers.promised).sum())
        return answers

    def _open_for(self, deferred: np.ndarray) -> np.ndarray:
        self._is_open = self.budget.open_for(deferred)
        return self._is_open

    def _check(self, images: np.ndarray) -> None:
        size = self.bundle.image_size
        if images.dtype != np.uint8 or images.shape[1:] != (size, size, 3):
            raise UserError(
                f"images of {images.dtype} with shape {images.shape[1:]}: expected uint8 RGB in 0..255 with shape "
                f"{(size, size, 3)}; envise_tf.images.photographs.decoded_square makes one of any photograph"
            )

    def _audited(self, observation: Observation, images: np.ndarray, answers: Answers) -> Answers:
        """Returns the answers with those of the teacher where it was asked for an audit: they have been paid for."""
        rows = np.flatnonzero(answers.by_student & self._is_open)
        rows = rows[observation.audited(len(rows))]
        if not len(rows):
            return answers
        logits = self._raw_logits(images[rows])
        label, by_student = answers.label.copy(), answers.by_student.copy()
        label[rows], by_student[rows] = self._adapted(logits).argmax(axis=-1), False
        observation.see_audited(logits)
        self.counters.audited += len(rows)
        return Answers(label, by_student, answers.score, answers.promised)

    def _ask_student(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        logits = np.zeros((len(images), len(self.bundle.teacher_classes)), np.float32)
        score = np.zeros(len(images), np.float32)
        begun = time.perf_counter()
        for row, image in enumerate(images):
            outputs = self._student(image[np.newaxis])
            logits[row] = outputs[self._outputs["logits"]]
            score[row] = outputs[self._outputs["score"]].item()
        self.counters.student_milliseconds += 1000 * (time.perf_counter() - begun)
        # Without knowing the class there is no threshold: such an image is deferred, whatever its score.
        score[np.isnan(logits).any(axis=-1)] = np.nan
        return logits, score

    def _ask_teacher(self, images: np.ndarray) -> np.ndarray:
        logits = self._raw_logits(images)
        adapted = self._adapted(logits)
        if self.observation is not None:
            self.observation.see_deferred(logits)
        return adapted

    def _adapted(self, logits: np.ndarray) -> np.ndarray:
        if self._adaptation is None:
            return logits
        return self._adaptation.adapted(logits, None if self.observation is None else self.observation.prior)

    def _raw_logits(self, images: np.ndarray) -> np.ndarray:
        if self._teacher is None:
            self._teacher = network_of(self.bundle, "teacher", self._threads)
        logits = np.zeros((len(images), len(self.bundle.class_names)), np.float32)
        output = self.bundle.manifest["teacher"]["outputs"]["logits"]
        begun = time.perf_counter()
        for row, image in enumerate(images):
            logits[row] = self._teacher(image[np.newaxis])[output]
        self.counters.teacher_milliseconds += 1000 * (time.perf_counter() - begun)
        if np.isnan(logits).any():
            raise UserError(
                f"{self.bundle.path('teacher')} gave logits that are not numbers: expected numbers; "
                "look for the image with python -m envise_tf.export.verify"
            )
        return logits


Cascade = BundleCascade
"""The name that apps know it by."""


def _spec(details: dict[str, Any]) -> TensorSpec:
    return TensorSpec(np.dtype(details["dtype"]).name, tuple(map(int, details["shape"])))


def _words(specs: Iterable[TensorSpec]) -> str:
    return ", ".join(f"{spec.dtype} {spec.shape}" for spec in specs)


@contextmanager
def _refusals(name: str) -> Iterator[None]:
    """Turns the refusal of a flatbuffer by its interpreter into a user's error."""
    try:
        yield
    except (ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split()) or "without a reason"
        raise UserError(
            f"the interpreter refuses {name} ({reason}): expected a network that runs on this version; "
            "export the bundle again"
        ) from None


def _tflite_interpreter() -> Callable[..., Any]:
    for name in _TFLITE_MODULES:
        try:
            return importlib.import_module(name).Interpreter
        except ModuleNotFoundError as error:
            if error.name not in (name, name.partition(".")[0]):
                raise
    raise UserError(
        "no interpreter of TensorFlow Lite is installed: expected ai-edge-litert or tflite-runtime; "
        "pip install ai-edge-litert"
    )


def _lce_module() -> ModuleType:
    """Returns the compiled interpreter of Larq Compute Engine, without importing the package around it."""
    if _LCE_MODULE in sys.modules:
        return sys.modules[_LCE_MODULE]
    package = importlib.util.find_spec(_LCE_PACKAGE)
    folders = [] if package is None else package.submodule_search_locations or []
    stem = Path("tflite", "python", _LCE_MODULE.rpartition(".")[2])
    files = [Path(folder, f"{stem}{suffix}") for folder in folders for suffix in importlib.machinery.EXTENSION_SUFFIXES]
    found = [file for file in files if file.is_file()]
    if not found:
        raise UserError(
            "Larq Compute Engine is not installed, which runs the binary student: pip install larq-compute-engine, "
            "or take the built-in student (builtin=True, --builtin true)"
        )
    spec = importlib.util.spec_from_file_location(_LCE_MODULE, found[0])
    assert spec is not None, "it ends as extension modules do"
    assert spec.loader is not None, "so it has their loader"
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    # Under its own name, so that a later import of the package does not load it a second time.
    sys.modules[_LCE_MODULE] = module
    return module
