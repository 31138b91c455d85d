"""python -m envise_tf.convert MODEL: a network saved by Keras 3 as one of Keras 2, which --teacher takes."""

from __future__ import annotations

from collections.abc import Sequence

from envise_tf.errors import reports_user_errors
from envise_tf.settings import ConvertSettings, parsed

ABOUT = "Convert an image classifier that Keras 3 has saved into one of Keras 2, for --teacher, and compare the two."


@reports_user_errors("nothing was written; start again")
def main(argv: Sequence[str] | None = None) -> None:
    """Reads the settings and converts the network."""
    settings, _ = parsed(ConvertSettings, "convert", ABOUT, argv)
    from envise_tf.convert.pipeline import convert

    convert(settings)


if __name__ == "__main__":
    main()
