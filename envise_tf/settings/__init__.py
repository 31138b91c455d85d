"""Every setting of every command: frozen dataclasses, read from presets, YAML files and the command line.

Importing this loads nothing heavy, so that `--help` answers at once.
"""

from envise_tf.settings.convert import ConvertSettings
from envise_tf.settings.evaluate import EvaluateSettings
from envise_tf.settings.parsing import (
    Settings,
    as_yaml,
    checked_value,
    parsed,
    preset_file,
    preset_names,
    settings_of_run,
)
from envise_tf.settings.places import FilePath, with_absolute_paths
from envise_tf.settings.ranges import Checked, Count
from envise_tf.settings.shared import FitSettings, ImageSettings, StudentSettings, TeacherSettings
from envise_tf.settings.stream import AdaptBy, Policy, StreamSettings
from envise_tf.settings.teach import TeachSettings
from envise_tf.settings.train import SweepSettings, TrainSettings

__all__ = [
    "AdaptBy",
    "Checked",
    "ConvertSettings",
    "Count",
    "EvaluateSettings",
    "FilePath",
    "FitSettings",
    "ImageSettings",
    "Policy",
    "Settings",
    "StreamSettings",
    "StudentSettings",
    "SweepSettings",
    "TeachSettings",
    "TeacherSettings",
    "TrainSettings",
    "as_yaml",
    "checked_value",
    "parsed",
    "preset_file",
    "preset_names",
    "settings_of_run",
    "with_absolute_paths",
]
