"""The console script `envise`: the modules' commands under one name, `envise train` for python -m envise_tf.train."""

from __future__ import annotations

import sys

from envise_tf.errors import UserError, nearest_names, reports_user_errors

COMMANDS = {
    "train": "distil a binary student, online, from a frozen teacher",
    "evaluate": "test a finished run: student, teacher and cascade, with a report",
    "teach": "train a teacher, or with --student its generic student",
}

USAGE = "usage: envise COMMAND [FLAGS]   (envise COMMAND --help lists the flags)\n\n" + "\n".join(
    f"  {name:<10} {about}" for name, about in COMMANDS.items()
)


@reports_user_errors
def main() -> None:
    """Runs the command that the first word names, with the rest of the words as its flags."""
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        print(USAGE)
        return
    name = sys.argv[1]
    if name not in COMMANDS:
        raise UserError(f"no command is called {name}: {nearest_names(name, COMMANDS)}")
    # Imported by name here, so that one command does not pay for another's imports.
    module = __import__(f"envise_tf.{name}", fromlist=["main"])
    module.main(sys.argv[2:])
