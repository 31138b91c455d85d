"""The settings of the commands that write and verify a bundle; light to import, so that `--help` answers at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Precision = Literal["float32", "float16", "dynamic", "int8"]


@dataclass(frozen=True)
class ExportSettings:
    """How a bundle is made.

    Args:
        run: folder of an evaluated run of train.
        out: folder of the bundle; default is bundles/ and the run's name.
        teacher_precision: of the teacher's weights; float16 halves the file and changes nothing else, dynamic and int8
            make it a quarter and cost accuracy; int8 computes in int8 too.
        data_dir: folder where data sets are prepared; default is the one that the run was trained with.
        overwrite: replace a bundle that is there.
    """

    run: str
    out: str | None = None
    teacher_precision: Precision = "float16"
    data_dir: str | None = None
    overwrite: bool = False


@dataclass(frozen=True)
class VerifySettings:
    """How a bundle is verified.

    Args:
        bundle: folder of the bundle.
        run: the run that it was made from; its Keras networks are compared with the bundle's on real images.
        source: where these images come from; default is the run's own.
        data_dir: folder where data sets are prepared; default is the one that the run was trained with.
        images: most images to compare on.
    """

    bundle: str
    run: str | None = None
    source: str | None = None
    data_dir: str | None = None
    images: int = 2000
