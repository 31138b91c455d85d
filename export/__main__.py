"""python -m envise_tf.export RUN --out BUNDLE: the files that a phone needs, from an evaluated run."""

from __future__ import annotations

from collections.abc import Sequence

from envise_tf.errors import reports_user_errors
from envise_tf.export.settings import ExportSettings
from envise_tf.settings import parsed

ABOUT = "Write the bundle of an evaluated run: both networks as TensorFlow Lite files, with all that an app must know."


@reports_user_errors("nothing was written; start again")
def main(argv: Sequence[str] | None = None) -> None:
    """Reads the settings and writes the bundle."""
    settings, _ = parsed(ExportSettings, "export", ABOUT, argv)
    from envise_tf.export.pipeline import export

    export(settings)


if __name__ == "__main__":
    main()
