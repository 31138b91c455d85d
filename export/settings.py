"""The settings of the commands that write and verify a bundle; light to import, so that `--help` answers at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from envise_tf.settings import Checked, Count, FilePath

Precision = Literal["float32", "float16", "dynamic", "int8"]


@dataclass(frozen=True)
class ExportSettings(Checked):
    """Bundle.

    Args:
        run: folder of an evaluated run of train.
        out: folder of the bundle; default: bundles/ and the name of the run.
        android: folder of an Android app's module, such as app; the bundle goes into its assets, under the name of the
            run, and beside its code what its build needs.
        overwrite: replace a bundle that is already there.
        teacher_precision: of the teacher's weights; float16 halves the file and changes nothing else, dynamic and int8
            quarter it and cost accuracy; int8 also computes in int8.
        data_dir: folder of the prepared data sets; default: that of the run.
    """

    run: FilePath
    out: FilePath | None = None
    android: FilePath | None = None
    teacher_precision: Precision = "float16"
    data_dir: FilePath | None = None
    overwrite: bool = False


@dataclass(frozen=True)
class VerifySettings(Checked):
    """Bundle and images.

    Args:
        bundle: folder of the bundle.
        run: run that the bundle was made from; its Keras networks are compared with the bundle's on real images.
        source: where these images come from, as for train; default: the source of the run.
        data_dir: folder of the prepared data sets; default: that of the run.
        images: most images to compare on.
    """

    bundle: FilePath
    run: FilePath | None = None
    source: FilePath | None = None
    data_dir: FilePath | None = None
    images: Count = 2000
