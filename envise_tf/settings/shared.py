"""Settings that several commands have, one dataclass a subject."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from envise_tf.errors import UserError
from envise_tf.settings.places import FilePath, StudentPlace, TeacherPlace
from envise_tf.settings.ranges import Checked, Count, NotAll, Positive, Seed, Share, Side


@dataclass(frozen=True)
class ImageSettings(Checked):
    """Images.

    Args:
        source: digits, tiny_imagenet, a data set of TensorFlow Datasets such as cifar100, or a folder with one
            sub-folder per class.
        data_dir: folder of the prepared data sets; default: TFDS_DATA_DIR, or that of TensorFlow Datasets.
        image_size: side of the images in pixels; default: that of the source, or of the teacher.
        protocol: disjoint gives teacher and stream different halves of the training split, shared gives both all of it.
    """

    source: FilePath | None = None
    data_dir: FilePath | None = None
    image_size: Side | None = None
    protocol: Literal["disjoint", "shared"] = "disjoint"


@dataclass(frozen=True)
class TeacherSettings(Checked):
    """Teacher.

    Args:
        teacher: a shipped teacher such as cifar100-disjoint, a run of teach, a .keras file, a SavedModel, a network of
            Keras Applications such as MobileNetV2, or imagenet-lite0@160, which resizes images to 160 pixels inside;
            none trains the student by the source's labels, without a cascade.
        teacher_classes: text file with one class name per line, for a teacher of your own.
        teacher_range: pixel values that a teacher of your own expects; raw is 0..255, unit 0..1, symmetric -1..1.
        adapt: use the teacher adapted to the class shares of the stream; false takes it as it comes, as papers do.
        outlier_rate: share of the stream that is expected to come from classes that it has not shown yet; the adapted
            teacher keeps this chance for them.
        calibrate: folder of labelled images, in one sub-folder per class, that a teacher of your own was not trained
            on; its confidence is corrected by them.
    """

    teacher: TeacherPlace = "digits-disjoint"
    teacher_classes: FilePath | None = None
    teacher_range: Literal["raw", "unit", "symmetric", "torch", "caffe"] = "raw"
    adapt: bool = True
    outlier_rate: NotAll = 0.05
    calibrate: FilePath | None = None


@dataclass(frozen=True)
class StudentSettings(Checked):
    """Student.

    Args:
        student_init: scratch, generic (the student shipped beside the teacher), the name of another shipped student, of
            whose classes those are kept that have the same name, or the path of a student.keras.
        widths: channels of each stage, multiples of 32 but for the twin; auto takes the widest student whose work is
            at most 6 % of the teacher's.
        blocks: binary convolutions in each stage.
        block: what surrounds each of them; react learns where each sign turns, and costs three more additions of maps.
        stem: what stands before them; deep is two real-valued convolutions in place of one, and halves the grid, so
            that twice the widths take about the same work.
        student_size: side in pixels to which the student shrinks its images; default: their own size.
        twin: use the real-valued counterpart in place of the binary student.
        objectives: losses by name, each with its weight and options, such as --objectives.soft_label.weight 1; see
            docs/objectives.md.
    """

    student_init: StudentPlace = "scratch"
    widths: tuple[Count, ...] | Literal["auto"] = (32, 64, 128)
    blocks: tuple[Count, ...] = (4, 4, 4)
    block: Literal["bireal", "react"] = "bireal"
    stem: Literal["plain", "deep"] = "plain"
    student_size: Side | None = None
    twin: bool = False
    objectives: dict[str, dict[str, Any]] = dataclasses.field(
        default_factory=lambda: {
            "soft_label": {"weight": 1.0, "temperature": 2.0},
            "attention_triplet": {"weight": 1.0, "margin": 0.5},
        }
    )

    @property
    def shape(self) -> dict[str, Any]:
        """What `residual_student` is told beside the sizes of input and output; widths may be "auto"."""
        widths = self.widths if self.widths == "auto" else list(self.widths)
        shape = {"widths": widths, "blocks": list(self.blocks), "binary": not self.twin}
        return {**shape, "block": self.block, "stem": self.stem, "student_size": self.student_size}


@dataclass(frozen=True)
class FitSettings(Checked):
    """Training.

    Args:
        windows: length of the training, in windows.
        window: images per window, which ends with a checkpoint, a measurement and a line in the log.
        batch_size: images per step, over all replicas.
        learning_rate: peak learning rate, from which it falls to zero along a cosine.
        warmup: share of all steps over which the learning rate rises from zero to its peak.
        flip: mirror images at random.
        shift: largest random shift of an image, as a share of its side.
        cutout: side of the grey square that is laid over each image, as a share of the image's side.
        precision: mixed_bfloat16 is about twice as fast on processors with AVX512-BF16 or AMX.
        strategy: devices that train together: one, all GPUs of this machine (mirrored), the processes of TF_CONFIG
            (multi_worker) or a TPU; see docs/distributed.md.
        seed: the same settings and seed give the same network.
    """

    windows: Count = 30
    window: Count = 1000
    batch_size: Count = 64
    learning_rate: Positive = 2e-3
    warmup: NotAll = 0.1
    flip: bool = False
    shift: Share = 0.1
    cutout: Share = 0.0
    precision: Literal["float32", "mixed_bfloat16"] = "float32"
    strategy: Literal["one", "mirrored", "multi_worker", "tpu"] = "one"
    seed: Seed = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.batch_size > self.window:
            raise UserError(
                f"--window {self.window} with --batch_size {self.batch_size} given: "
                "expected at least one batch per window"
            )
