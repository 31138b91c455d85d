"""A small bundle of the digits to work on, made by the commands of the package."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

BUNDLE = Path("runs/bad_input/bundle")
_SMALL = ("--windows", "8", "--widths", "[32]", "--blocks", "[1]", "--epsilon", "0.5", "--tensorboard", "false")


def require_bundle(bundle: Path) -> None:
    """Makes a bundle if there is none there: a small run beside it, trained and exported."""
    run = bundle.parent / "run"
    if bundle.exists():
        return
    if not (run / "report.html").exists():
        begun = ["--resume", str(run)] if (run / "settings.yaml").exists() else None
        words = begun or ["--preset", "digits", *_SMALL, "--out", str(run)]
        subprocess.run([sys.executable, "-m", "envise_tf.train", *words], check=True)
    subprocess.run([sys.executable, "-m", "envise_tf.export", str(run), "--out", str(bundle)], check=True)
