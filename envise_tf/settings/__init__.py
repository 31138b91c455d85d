"""Every setting of every command: frozen dataclasses, read from presets, YAML files and the command line.

Importing this loads nothing heavy, so that `--help` answers at once.
"""

from envise_tf.settings.commands import (
    DEMANDS,
    EvaluateSettings,
    FitSettings,
    ImageSettings,
    Policy,
    StreamSettings,
    SweepSettings,
    TeachSettings,
    TrainSettings,
)
from envise_tf.settings.parsing import (
    Settings,
    as_yaml,
    parsed,
    parsed_plain,
    preset_file,
    preset_names,
    settings_of_run,
)

__all__ = [
    "DEMANDS",
    "EvaluateSettings",
    "FitSettings",
    "ImageSettings",
    "Policy",
    "Settings",
    "StreamSettings",
    "SweepSettings",
    "TeachSettings",
    "TrainSettings",
    "as_yaml",
    "parsed",
    "parsed_plain",
    "preset_file",
    "preset_names",
    "settings_of_run",
]
