import re

import pytest
import yaml

from envise_tf.errors import UserError
from envise_tf.settings import TeachSettings, TrainSettings, as_yaml, parsed, preset_file, preset_names


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
            assert f"python -m envise_tf.{command} --preset {name}" in preset_file(command, name).read_text()


def test_flags_win_over_config_and_config_over_preset(tmp_path):
    config = tmp_path / "own.yaml"
    config.write_text("windows: 3\nseed: 7\n")
    settings = train_settings("--preset", "digits", "--config", str(config), "--seed", "9")
    assert (settings.windows, settings.seed) == (3, 9)
    assert settings.scenario == "digits"


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
        (["--binary_rate", "0"], "--binary_rate 0.0 given: expected more than 0"),
        (["--mixup", "1.5"], "--mixup 1.5 given: expected a share of 0..1"),
        (["--warmup", "1"], "--warmup 1.0 given: expected a share of 0..1 that leaves some steps to the cosine"),
        (["--window", "32"], "--window 32 with --batch_size 64 given: expected at least one batch a window"),
    ],
)
def test_numbers_that_make_no_training_are_refused(words, expected):
    with pytest.raises(UserError, match=f"^{re.escape(expected)}$"):
        train_settings(*words)
