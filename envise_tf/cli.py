"""The console script `envise`: the modules' commands under one name, `envise train` for python -m envise_tf.train."""

from __future__ import annotations

import importlib
import sys

from envise_tf import __version__
from envise_tf.errors import UserError, nearest_names, reports_user_errors

COMMANDS = {
    "train": "distil a binary student, online, from a frozen teacher",
    "evaluate": "test a finished run: student, teacher and cascade, with a report",
    "stream": "answer a stream with a student that adapts to it whenever it changes",
    "convert": "make a teacher of Keras 2 of a network that Keras 3 has saved",
    "teach": "train a teacher, or with --student a generic student of it",
    "tuning": "search the settings of a training",
    "export": "write the bundle of an evaluated run, for phones",
    "export.verify": "check a bundle: its files, its golden images, its agreement with Keras",
    "export.classify": "classify photographs with a bundle",
    "export.benchmark": "measure a bundle on this machine",
}

USAGE = "usage: envise COMMAND [FLAGS]   (envise COMMAND --help lists its flags)\n\n" + "\n".join(
    f"  {name:<17} {about}" for name, about in COMMANDS.items()
)


@reports_user_errors("start again")
def main() -> None:
    """Runs the command that the first word names, with the rest of the words as its flags."""
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        print(USAGE)
        return
    if sys.argv[1] == "--version":
        print(f"envise-tf {__version__}")
        return
    name = sys.argv[1]
    if name not in COMMANDS:
        raise UserError(f"no command is called {name}: {nearest_names(name, COMMANDS)}")
    # Imported by name here, so that one command does not pay for another's imports.
    module = name if "." in name else f"{name}.__main__"
    importlib.import_module(f"envise_tf.{module}").main(sys.argv[2:])
