import dataclasses
import importlib
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import yaml
from commands import error_line

from envise_tf import __version__
from envise_tf.errors import UserError
from envise_tf.export.benchmark import BenchmarkSettings
from envise_tf.export.classify import ClassifySettings
from envise_tf.export.settings import ExportSettings, VerifySettings
from envise_tf.permissions import code_is_allowed
from envise_tf.settings import (
    ConvertSettings,
    EvaluateSettings,
    StreamSettings,
    SweepSettings,
    TeachSettings,
    TrainSettings,
    as_yaml,
    parsed,
    preset_file,
    preset_names,
    settings_of_run,
    with_absolute_paths,
)

FIXTURES = Path(__file__).parent / "fixtures"


def train_settings(*words: str) -> TrainSettings:
    return parsed(TrainSettings, "train", "", words)[0]


@pytest.mark.parametrize(
    ("command", "settings_class"),
    [("train", TrainSettings), ("teach", TeachSettings), ("teach --student", TrainSettings)],
)
def test_every_preset_holds_only_settings_of_its_command(command, settings_class):
    for name in preset_names(command):
        settings, _ = parsed(settings_class, command, "", ["--preset", name])
        for key, value in yaml.safe_load(preset_file(command, name).read_text()).items():
            got = getattr(settings, key)
            assert (list(got) if isinstance(got, tuple) else got) == value


def test_every_preset_says_how_to_run_it():
    for command in ("train", "teach", "teach --student"):
        for name in preset_names(command):
            text = preset_file(command, name).read_text()
            assert re.search(rf"python -m envise_tf.{command}( --preset [\w-]+)? --preset {name}\n", text)


def test_flags_win_over_config_and_config_over_preset(tmp_path):
    config = tmp_path / "own.yaml"
    config.write_text("windows: 3\nseed: 7\n")
    settings = train_settings("--preset", "digits", "--config", str(config), "--seed", "9")
    assert (settings.windows, settings.seed) == (3, 9)
    assert settings.scenario == "digits"


def test_a_later_preset_is_laid_over_an_earlier_one():
    settings = train_settings("--preset", "cifar100-zoo", "--preset", "mix-kd")
    assert settings.objectives == {"mix_kd": {"weight": 1.0}}
    assert (settings.scenario, settings.mixup, settings.mixed) == ("cifar100-zoo", 1.0, 0.5)


def test_an_option_of_an_objective_leaves_its_other_options():
    settings = train_settings("--preset", "digits", "--objectives.attention_triplet.margin", "0.25")
    assert settings.objectives["attention_triplet"] == {"weight": 0.5, "margin": 0.25}
    assert settings.objectives["soft_label"] == {"weight": 1.0, "temperature": 2.0}


def test_printed_settings_read_back_as_themselves(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        train_settings("--preset", "digits", "--widths", "[32,96]", "--print_config")
    assert not stop.value.code
    config = tmp_path / "printed.yaml"
    config.write_text(capsys.readouterr().out)
    again = train_settings("--config", str(config))
    assert again == train_settings("--preset", "digits", "--widths", "[32,96]")
    assert as_yaml(again) == config.read_text()


def test_a_resumed_run_has_the_settings_of_the_run(tmp_path):
    settings = train_settings("--preset", "digits", "--seed", "3")
    (tmp_path / "settings.yaml").write_text(as_yaml(settings))
    again, resumed = parsed(TrainSettings, "train", "", ["--resume", str(tmp_path)])
    assert resumed
    assert again.seed == 3
    assert again.out == str(tmp_path)
    assert yaml.safe_load(as_yaml(again))["widths"] == [32, 64]
    assert train_settings("--widths", "auto").widths == "auto"


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--preset", "cifar100-zo"], "cifar100-zoo"),
        (["--windows", "many"], "many"),
        (["--no_such_flag", "1"], "no_such_flag"),
        (["--protocol", "both"], "disjoint"),
        (["--resume", "nowhere"], "nowhere"),
        (["--resume", "nowhere", "--seed", "1"], "no other flag"),
        (["--config", "missing.yaml"], "missing.yaml"),
    ],
)
def test_a_wrong_word_is_named_in_one_line(words, named):
    with pytest.raises(UserError, match=named) as error:
        train_settings(*words)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--windows", "0"], "--windows 0 given: expected at least 1"),
        (["--learning_rate", "-0.1"], "--learning_rate -0.1 given: expected more than 0"),
        (["--learning_rate", ".inf"], "--learning_rate .inf given: expected a finite number"),
        (["--binary_rate", "0"], "--binary_rate 0 given: expected more than 0"),
        (["--mixup", "1.5"], "--mixup 1.5 given: expected 0 to 1"),
        (["--warmup", "1"], "--warmup 1 given: expected at least 0 and less than 1"),
        (["--window", "32"], "--window 32 with --batch_size 64 given: expected at least one batch per window"),
        (["--seed", "-1"], "--seed -1 given: expected 0 to 2147483646"),
        (["--seed", "99999999999"], "--seed 99999999999 given: expected 0 to 2147483646"),
        (["--windows", "99999999999"], "--windows 99999999999 given: expected at most 2147483647"),
        (["--epsilon", "0"], "--epsilon 0 given: expected more than 0 and less than 1"),
        (["--coverage", "0"], "--coverage 0 given: expected more than 0 and at most 1"),
        (["--min_share", "1"], "--min_share 1 given: expected at least 0 and less than 1"),
        (["--held_back", "1"], "--held_back 1 given: expected at least 2"),
        (["--image_size", "0"], "--image_size 0 given: expected 8 to 4096"),
        (["--windows", "!!timestamp x"], "--windows !!timestamp x given: expected a whole number"),
        (["--widths", "[32,0]"], "--widths [32,0] given: expected at least 1"),
        (["--widths", "wide"], "--widths wide given: expected a list of whole numbers, such as [32,64] or auto"),
        (["--blocks", "[]"], "--blocks [] given: expected at least one number"),
        (["--prior.apple", "-1"], "--prior.apple -1 given: expected more than 0"),
    ],
)
def test_numbers_that_make_no_training_are_refused(words, expected):
    with pytest.raises(UserError, match=f"^{re.escape(expected)}$"):
        train_settings(*words)


def main_of(command: str) -> Callable[[Sequence[str]], None]:
    name = f"envise_tf.{command}"
    module = importlib.import_module(name)
    return module.main if hasattr(module, "main") else importlib.import_module(f"{name}.__main__").main


OUT_OF_RANGE = {
    "train": (["--epsilon 1", "--coverage 1.1", "--min_share -0.1", "--held_back 0", "--image_size 7", "--seed -1"]),
    "teach": ["--image_size 5000", "--seed 99999999999", "--depth 4", "--label_smoothing 1", "--weight_decay -1"],
    "teach --student": ["--held_back 0", "--seed -1"],
    "stream": [
        *("--epsilon 0", "--confidence 1", "--memory 0", "--held_back 1", "--coverage 0", "--min_share 1", "--find 0"),
        *("--seed -1", "--every 0", "--floor 2", "--false_alarms 0", "--image_size 1", "--students 0"),
    ],
    "evaluate": [f"RUN {flag}" for flag in ("--epsilon 1", "--confidence 0", "--recall 1", "--rate 0", "--seed -1")],
    "tuning": ["--trials 0", "--lost_after 3", "--faithful 1.5", "--epsilon 0", "--seed -1"],
    "export.verify": ["BUNDLE --images 0"],
    "export.classify": [f"BUNDLE photo.jpg {flag} 0" for flag in ("--threads", "--workers", "--shard")],
    "export.benchmark": ["BUNDLE --rounds 0", "BUNDLE --threads [1,0]"],
}


@pytest.mark.parametrize(("command", "words"), [(name, line) for name in OUT_OF_RANGE for line in OUT_OF_RANGE[name]])
def test_every_command_refuses_a_number_out_of_its_range_before_it_looks_for_anything(command, words, capsys):
    name, *student = command.split()
    flag, value = words.split()[-2:]
    line = error_line(capsys, main_of(name), [*student, *words.split()])
    assert line.startswith(f"error: {flag} {value} given: expected ")


COMMANDS = {
    **{"train": TrainSettings, "teach": TeachSettings, "teach --student": TrainSettings, "stream": StreamSettings},
    **{"tuning": SweepSettings, "evaluate": EvaluateSettings, "export": ExportSettings, "convert": ConvertSettings},
    **{"export.verify": VerifySettings, "export.classify": ClassifySettings, "export.benchmark": BenchmarkSettings},
}


def printed(capsys: pytest.CaptureFixture[str], command: str, *words: str) -> str:
    """Returns what a command prints that ends at once."""
    name, *student = command.split()
    with pytest.raises(SystemExit) as stop:
        main_of(name)([*student, *words])
    assert not stop.value.code
    return capsys.readouterr().out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_shows_each_flag_once_by_subject(command, capsys):
    text = printed(capsys, command, "--help")
    for field in dataclasses.fields(COMMANDS[command]):
        has_default = (field.default, field.default_factory) != (dataclasses.MISSING, dataclasses.MISSING)
        line = rf"^  --{field.name}( |$)" if has_default else rf"^  {field.name.upper()} "
        assert len(re.findall(line, text, re.MULTILINE)) == 1
    assert f"python -m envise_tf.{command}" in " ".join(text.split())
    assert "None" not in text


def test_help_shows_range_and_default(capsys):
    text = " ".join(printed(capsys, "stream", "--help").split())
    assert "shortest interval between audits, in images that the student answers (at least 1; default 8)" in text
    assert "--widths [N,N,...]|auto channels of each stage, multiples of 32 but for the twin" in text
    titles = [text.index(f"{title}:") for title in ("Images", "Stream", "Teacher", "Student", "Serving", "Adapting")]
    assert titles == sorted(titles)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_version(command, capsys):
    assert printed(capsys, command, "--version") == f"envise-tf {__version__}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_allows_code_beside_resume_too(command, monkeypatch, capsys):
    monkeypatch.setenv("ENVISE_ALLOW_CODE", "0")
    assert "--allow_code" in printed(capsys, command, "--allow_code", "--help")
    assert code_is_allowed()


@pytest.mark.parametrize("command", COMMANDS)
def test_what_print_config_prints_is_read_by_config(command, capsys, tmp_path):
    needed = {
        "convert": ["a.keras"],
        "evaluate": ["runs/a"],
        "export": ["runs/a"],
        "export.classify": ["bundles/a", "a.jpg", "b.jpg"],
    }
    words = needed.get(command, ["bundles/a"] if command.startswith("export.") else [])
    text = printed(capsys, command, *words, "--print_config")
    (tmp_path / "printed.yaml").write_text(text)
    assert printed(capsys, command, "--config", str(tmp_path / "printed.yaml"), "--print_config") == text


@pytest.mark.parametrize("command", COMMANDS)
def test_a_mistyped_flag_is_told_the_nearest(command, capsys):
    name, *student = command.split()
    known = dataclasses.fields(COMMANDS[command])[-1].name
    line = error_line(capsys, main_of(name), [*student, f"--{known[:-1]}", "1"])
    assert f"no flag is called --{known[:-1]}; nearest: --{known}" in line
    assert line.endswith(f"see python -m envise_tf.{command} --help")


def test_a_mistyped_student_of_teach_is_told_the_nearest(capsys):
    assert "no flag is called --studnt; nearest: --student" in error_line(capsys, main_of("teach"), ["--studnt"])


def test_windos_is_windows():
    with pytest.raises(UserError, match="no flag is called --windos; nearest: --windows"):
        train_settings("--windos", "3")


@pytest.mark.parametrize(
    ("words", "twin", "flip"),
    [
        (["--twin"], True, False),
        (["--twin", "true"], True, False),
        (["--twin", "false"], False, False),
        (["--twin=false", "--flip"], False, True),
        (["--twin", "--flip", "false"], True, False),
        (["--flip", "--seed", "3", "--twin"], True, True),
    ],
)
def test_a_flag_that_is_on_or_off_needs_no_value(words, twin, flip):
    settings = train_settings(*words)
    assert (settings.twin, settings.flip) == (twin, flip)


def test_a_word_after_such_a_flag_is_still_a_word():
    settings, _ = parsed(ExportSettings, "export", "", ["--overwrite", "runs/a"])
    assert (settings.run, settings.overwrite) == ("runs/a", True)


def test_words_without_a_flag_are_the_settings_without_a_default():
    words = ["bundles/a", "a.jpg", "--threads", "2", "b.jpg"]
    settings, _ = parsed(ClassifySettings, "export.classify", "", words)
    assert (settings.bundle, settings.images, settings.threads) == ("bundles/a", ["a.jpg", "b.jpg"], 2)
    with pytest.raises(
        UserError, match=r"no images given: expected python -m envise_tf\.export\.classify BUNDLE IMAGES"
    ):
        parsed(ClassifySettings, "export.classify", "", ["bundles/a"])
    with pytest.raises(UserError, match="runs/b given: expected a flag before it"):
        parsed(ExportSettings, "export", "", ["runs/a", "runs/b"])


@pytest.mark.parametrize(
    "words",
    [
        "bundles/a --images a.jpg b.jpg",  # what the shell makes of --images *.jpg
        "bundles/a --images a.jpg --images b.jpg",
        "--bundle bundles/a --images [a.jpg,b.jpg]",
        "--images a.jpg --bundle bundles/a b.jpg",
        "--bundle bundles/a a.jpg b.jpg",
    ],
)
def test_words_may_have_their_flags(words):
    settings, _ = parsed(ClassifySettings, "export.classify", "", words.split())
    assert (settings.bundle, settings.images) == ("bundles/a", ["a.jpg", "b.jpg"])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("windoos: 3", "own.yaml has the unknown setting windoos; nearest: windows"),
        ("windows: many", "own.yaml: windows is 'many', expected a whole number"),
        ("windows: null", "own.yaml: windows is None, expected a whole number"),
        ("seed: -1", "own.yaml: seed is -1, expected 0 to 2147483646"),
        ("protocol: both", "own.yaml: protocol is 'both', expected one of disjoint, shared"),
        ("- seed", "own.yaml holds no settings"),
        ("a: [", "own.yaml is not YAML at line 1"),
    ],
)
def test_a_wrong_line_of_a_file_is_named(tmp_path, text, told):
    (tmp_path / "own.yaml").write_text(text)
    with pytest.raises(UserError, match=re.escape(told)):
        train_settings("--config", str(tmp_path / "own.yaml"))


def test_settings_of_the_first_release_are_still_read():
    old = settings_of_run(TrainSettings, str(FIXTURES / "run-0.1.0"))
    assert (old.scenario, old.widths, old.epsilon, old.prior) == ("digits", (32, 64), 0.05, None)
    assert old.objectives["attention_triplet"] == {"weight": 0.5, "margin": 0.5}


def test_paths_are_absolute_and_names_stay(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("photos", "digits-disjoint", "scratch", "cifar100-zoo", "data"):
        (tmp_path / name).mkdir()
    for name in ("my.yaml", "my.keras", "names.txt"):
        (tmp_path / name).touch()
    own = TrainSettings(
        **{"source": "photos", "stream": "./photos", "scenario": "my.yaml", "teacher": "my.keras"},
        **{"teacher_classes": "names.txt", "student_init": "my.keras", "data_dir": "data"},
    )
    found = with_absolute_paths(own)
    for name in ("source", "stream", "scenario", "teacher", "teacher_classes", "student_init", "data_dir"):
        assert getattr(found, name) == str(tmp_path / getattr(own, name))
    named = TrainSettings(source="cifar100", scenario="cifar100-zoo", teacher="digits-disjoint", data_dir="/no/such")
    assert with_absolute_paths(named) == named


ALIASES = "[&a0 x" + "".join(f", &a{i} [{', '.join([f'*a{i - 1} '] * 10)}]" for i in range(1, 10)) + "]"


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("2001-99-99", "is not YAML: expected settings by name"),
        ("9" * 5000, "is not YAML: expected settings by name"),
        ("0x_", "is not YAML: expected settings by name"),
        ("[" * 3000, "is not YAML: expected settings by name"),
        (ALIASES, "has aliases that stand for more than 100000 values: expected settings by name"),
        ("&a [*a]", "has aliases that stand for more than 100000 values: expected settings by name"),
        ("1" + "0" * 400, "learning_rate is 1000"),
    ],
)
def test_yaml_that_nobody_meant_is_told_in_one_line(value, told, tmp_path):
    (tmp_path / "a.yaml").write_text(f"learning_rate: {value}\n")
    with pytest.raises(UserError) as error:
        parsed(TrainSettings, "train", "", ["--config", str(tmp_path / "a.yaml")])
    assert told in str(error.value)
    assert len(str(error.value).splitlines()) == 1
