"""python -m envise_tf.stream: answer a stream with a cascade that adapts to it."""

from __future__ import annotations

from collections.abc import Sequence

from envise_tf.errors import NOTHING_LEFT, reports_user_errors
from envise_tf.settings import StreamSettings, parsed

ABOUT = "Answer a stream of images with a student that adapts to it, and adapts again whenever it changes."


@reports_user_errors("resume with --resume RUN", before=NOTHING_LEFT)
def main(argv: Sequence[str] | None = None) -> None:
    """Reads the settings, answers the stream and writes its report."""
    settings, resumed = parsed(StreamSettings, "stream", ABOUT, argv)
    from envise_tf.stream.pipeline import stream

    stream(settings, resumed)


if __name__ == "__main__":
    main()
