"""python -m envise_tf.tuning --preset cifar100-zoo: the best settings of a training, searched with KerasTuner."""

from __future__ import annotations

from collections.abc import Sequence

from envise_tf.errors import NOTHING_LEFT, reports_user_errors
from envise_tf.settings import SweepSettings, parsed

ABOUT = "Search the settings of a training: many short trials, each measured on held-back stream images."


@reports_user_errors("resume with the same command, or with --resume RUN", before=NOTHING_LEFT)
def main(argv: Sequence[str] | None = None) -> None:
    """Reads the settings and runs the sweep's trials into its folder."""
    settings, resumed = parsed(SweepSettings, "tuning", ABOUT, argv)
    from envise_tf.tuning.pipeline import stored_settings, sweep

    sweep(stored_settings(str(settings.out)) if resumed else settings, resumed)


if __name__ == "__main__":
    main()
