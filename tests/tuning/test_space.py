import dataclasses
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from envise_tf.errors import UserError
from envise_tf.settings import TrainSettings, as_yaml, parsed, preset_names
from envise_tf.tuning.space import Choices, Range, Space, load_space, space_names

MARGIN = "objectives.attention_triplet.margin"
ANCHOR = "objectives.attention_triplet.anchor"
SQUARED = "objectives.attention_triplet.squared"

SEARCHED = {"window", "batch_size", "learning_rate", "warmup", "flip", "shift", "cutout", "mixup", "mixed"}
SEARCHED |= {"binary_rate", "widths", "blocks", "block", "stem", "student_size"}


def space(folder: Path, text: str) -> Space:
    path = folder / "own.yaml"
    path.write_text(text)
    return load_space(str(path))


def mistake(folder: Path, text: str) -> str:
    with pytest.raises(UserError) as caught:
        space(folder, text)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def preset(name: str) -> TrainSettings:
    return parsed(TrainSettings, "train", "", ["--preset", name])[0]


def drawn(found: Space, draws: int, folder: Path) -> list[dict]:
    """The values of trials that KerasTuner's own oracle chooses at random."""
    import keras_tuner

    oracle = keras_tuner.oracles.RandomSearchOracle(
        objective=keras_tuner.Objective("agreement", "max"),
        max_trials=draws,
        seed=1,
        hyperparameters=found.hyperparameters(),
    )
    oracle._set_project_dir(str(folder), "sweep")
    trials = [oracle.create_trial(f"tuner{index}") for index in range(draws)]
    return [json.loads(json.dumps(trial.hyperparameters.values)) for trial in trials]


def test_each_form_of_an_entry(tmp_path):
    found = space(
        tmp_path,
        f"{MARGIN}: {{least: 0.1, most: 1.5}}\n"
        f"{ANCHOR}: [student, teacher]\n"
        f"{SQUARED}: [true, false]\n"
        "learning_rate: {least: 3e-4, most: 0.01, scale: log}\n"
        "blocks: [[2, 2, 2], [4, 4, 4]]\n"
        "window: {least: 1000, most: 4000, step: 1000}\n"
        "shift: {least: 0, most: 0.3, step: 0.1}\n"
        "batch_size: {least: 16, most: 64}\n"
        "mixup: [0, 0.5]\n"
        "flip: [false, true]\n",
    )
    assert found.name == "own"
    assert found.dimensions == {
        MARGIN: Range(0.1, 1.5),
        ANCHOR: Choices(("student", "teacher")),
        SQUARED: Choices((True, False)),
        "learning_rate": Range(0.0003, 0.01, "log"),
        "blocks": Choices(((2, 2, 2), (4, 4, 4))),
        "window": Choices((1000, 2000, 3000, 4000)),
        "shift": Choices((0.0, 0.1, 0.2, 0.3)),
        "batch_size": Range(16, 64),
        "mixup": Choices((0.0, 0.5)),
        "flip": Choices((False, True)),
    }
    assert isinstance(found.dimensions["shift"].values[0], float)


def test_every_choice_comes_back_as_the_setting_takes_it(tmp_path):
    text = f"{ANCHOR}: [student, teacher]\n{SQUARED}: [true, false]\nblocks: [[2, 2, 2], [4, 4]]\nmixup: [0, 0.1]\n"
    text += (
        "flip: [false, true]\nwindow: {least: 1000, most: 2000, step: 500}\nshift: {least: 0, most: 0.3, step: 0.1}\n"
    )
    found = space(tmp_path, text)
    for hyperparameter in found.hyperparameters().space:
        dimension = found.dimensions[hyperparameter.name]
        returned = [dimension.value(given) for given in hyperparameter.values]
        assert returned == list(dimension.values)
        assert [type(value) for value in returned] == [type(value) for value in dimension.values]


def test_a_range_is_kerastuners_own_and_never_left(tmp_path):
    found = space(
        tmp_path,
        "learning_rate: {least: 0.0003, most: 0.03, scale: log}\nshift: {least: 0, most: 0.5}\n"
        "window: {least: 64, most: 6400, scale: log}\nbatch_size: {least: 16, most: 64}\n",
    )
    ranges = {hyperparameter.name: hyperparameter for hyperparameter in found.hyperparameters().space}

    def value(key: str, share: float) -> float:
        return found.dimensions[key].value(ranges[key].prob_to_value(share))

    assert [value("learning_rate", share) for share in (0, 0.5, 1)] == [0.0003, 0.003, 0.03]
    assert [value("shift", share) for share in (0, 0.5, 1)] == [0, 0.25, 0.5]
    assert [value("batch_size", share) for share in (0, 0.5, 1)] == [16, 40, 64]
    assert ranges["window"].prob_to_value(1.0) == 6401  # what the clipping is for
    assert [value("window", share) for share in (0, 0.5, 1)] == [64, 640, 6400]
    assert type(value("window", 0.5)) is int


def test_a_number_of_a_trial_has_six_digits():
    assert Range(0.0003, 0.01, "log").value(0.00123456789) == 0.00123457
    assert Range(0.1234564, 0.2).value(0.1234564) == 0.1234564  # rounded, it would be less than the least


def test_settings_of_a_trial_differ_from_the_base_in_nothing_else(tmp_path):
    found = space(
        tmp_path,
        f"{MARGIN}: {{least: 0.1, most: 1.5}}\nlearning_rate: {{least: 0.0003, most: 0.01}}\n"
        "blocks: [[2, 2, 2], [4, 4, 4]]\nobjectives.hard_label.weight: [0.5, 1.0]\n",
    )
    base = preset("cifar100-zoo")
    before = dataclasses.asdict(base)
    values = {MARGIN: 0.25, "learning_rate": 0.001, "blocks": "[2, 2, 2]", "objectives.hard_label.weight": "0.5"}
    values["tuner/epochs"] = 4  # Hyperband's own
    settings = found.settings(values, base)
    assert settings == dataclasses.replace(
        base,
        learning_rate=0.001,
        blocks=(2, 2, 2),
        objectives={
            "soft_label": base.objectives["soft_label"],
            "attention_triplet": {**base.objectives["attention_triplet"], "margin": 0.25},
            "hard_label": {"weight": 0.5},
        },
    )
    assert dataclasses.asdict(base) == before
    assert found.row(values) == {
        MARGIN: 0.25,
        "learning_rate": 0.001,
        "blocks": (2, 2, 2),
        "objectives.hard_label.weight": 0.5,
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", space_names())
def test_random_trials_of_shipped_spaces_are_trainings(name, tmp_path):
    from envise_tf.distillation.objectives import objective

    found = load_space(name)
    base = dataclasses.replace(preset("cifar100-zoo"), student_init="scratch")
    trials = drawn(found, 50, tmp_path)
    all_settings = [found.settings(values, base) for values in trials]
    for values, settings in zip(trials, all_settings, strict=True):
        path = tmp_path / "trial.yaml"
        path.write_text(as_yaml(settings))
        assert parsed(TrainSettings, "train", "", ["--config", str(path)])[0] == settings
        for key, value in found.row(values).items():
            _, objective_name, option = key.split(".") if "." in key else ("", "", key)
            holder = objective(objective_name, settings.objectives[objective_name]) if objective_name else settings
            assert getattr(holder, option) == value
    for key, dimension in found.dimensions.items():
        seen = [found.row(values)[key] for values in trials]
        if isinstance(dimension, Choices):
            assert set(seen) == set(dimension.values)
        else:
            position = math.log if dimension.scale == "log" else float
            least, most = position(dimension.least), position(dimension.most)
            shares = [(position(value) - least) / (most - least) for value in seen]
            assert 0 <= min(shares) < 0.2
            assert 0.8 < max(shares) <= 1


@pytest.mark.slow
def test_shipped_spaces_fit_the_presets():
    for name in preset_names("train"):
        if preset(name).source is not None:  # others are laid over one that has
            load_space("distillation").check(preset(name))
    load_space("full").check(dataclasses.replace(preset("cifar100-zoo"), student_init="scratch"))


def test_the_full_space_adds_the_students_shape_to_that_of_distillation():
    full, distillation = load_space("full").dimensions, load_space("distillation").dimensions
    assert full == {"widths": full["widths"], "blocks": full["blocks"], **distillation}


def test_shipped_spaces_say_how_to_run_them():
    import envise_tf.tuning

    folder = Path(envise_tf.tuning.__path__[0]) / "spaces"
    assert sorted(path.stem for path in folder.iterdir()) == space_names()
    for name in space_names():
        assert f"--space {name}" in (folder / f"{name}.yaml").read_text()


def test_every_setting_is_searched_or_the_same_in_all_trials(tmp_path):
    searched = set()
    for field in dataclasses.fields(TrainSettings):
        told = mistake(tmp_path, f"{field.name}: nothing")
        if "is not searched, because it says" not in told:
            searched.add(field.name)
        else:
            assert told.endswith(f"give it once as --{field.name}")
    assert searched == SEARCHED | {"objectives"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: [", "not YAML at line"),
        ("", "names no setting"),
        ("- learning_rate", "names no setting"),
        ("{}", "names no setting"),
        ("1: [1, 2]", "no setting is called 1"),
        ("learning_rat: [0.1, 0.2]", "no setting is called learning_rat: nearest: learning_rate"),
        ("attention_triplet.margin: [0.1, 0.2]", f"nearest: {MARGIN}"),
        ("objectives: [1, 2]", "objectives given, expected one option per line, as objectives.NAME.OPTION"),
        ("objectives: {soft_label: {weight: [1, 2]}}", "as objectives.NAME.OPTION"),
        ("objectives.soft_label: [1, 2]", "as objectives.NAME.OPTION"),
        ("objectives.soft_labels.weight: [1, 2]", "no objective is called soft_labels: nearest: soft_label"),
        ("objectives.soft_label.weigth: [1, 2]", "objective soft_label has no option weigth: nearest: weight"),
        ("seed: [1, 2]", "seed is not searched"),
        ("scenario: [a, b]", "what the student learns"),
        ("learning_rate: 0.01", "learning_rate is 0.01, expected a list of choices or a range"),
        ("learning_rate: [0.01]", "has 1 choice(s), expected at least two; to fix it, give it as --learning_rate"),
        ("learning_rate: []", "has 0 choice(s)"),
        ("mixup: [0.5, 0.1, 0.50]", "mixup has the choice 0.5 twice"),
        ("mixup: [0, 0.0]", "the choice 0.0 twice"),
        ("blocks: [[2, 2], [2, 2]]", "the choice [2, 2] twice"),
        (f"{ANCHOR}: [student, student]", "the choice student twice"),
        ("window: [1000, many]", "window is 'many', expected a whole number"),
        ("window: [1000, 2000.5]", "window is 2000.5, expected a whole number"),
        ("window: [1000, null]", "window is None, expected a whole number"),
        ("flip: [true, 3]", "flip is 3, expected true or false"),
        ("learning_rate: [0.1, fast]", "learning_rate is 'fast', expected a number"),
        ("learning_rate: [0.1, true]", "learning_rate is True, expected a number"),
        ("learning_rate: [0.1, .inf]", "expected a finite number"),
        ("widths: [[32, 64], 32]", "widths is 32, expected a list of whole numbers"),
        ("widths: [[32, 64], [32, a]]", "expected a list of whole numbers"),
        ("widths: [[32, 64], [32, null]]", "expected a list of whole numbers"),
        ("blocks: [[4, 4, 4], [4, 4, 0]]", "blocks is [4, 4, 0], expected at least 1"),
        ("blocks: [[4, 4, 4], []]", "blocks is [], expected at least one number"),
        ("batch_size: [0, 64]", "batch_size is 0, expected at least 1"),
        ("learning_rate: {least: 0, most: 1}", "learning_rate is 0, expected more than 0"),
        ("mixup: {least: 0, most: 1.5}", "mixup is 1.5, expected 0 to 1"),
        ("warmup: {least: 0, most: 1}", "warmup is 1, expected at least 0 and less than 1"),
        ("window: {least: 1, most: 2.5}", "window is 2.5, expected a whole number"),
        (f"{MARGIN}: {{least: -0.1, most: 1}}", "attention_triplet: margin -0.1, expected at least 0"),
        (f"{MARGIN}: [0.1, wide]", "margin is 'wide', expected float"),
        (f"{MARGIN}: {{least: 0.1, most: .nan}}", "expected a finite number"),
        (f"{ANCHOR}: [student, pupil]", "anchor is 'pupil', expected student or teacher"),
        (f"{ANCHOR}: {{least: 1, most: 2}}", "but not a number: expected a list of choices"),
        ("flip: {least: 0, most: 1}", "but not a number: expected a list of choices"),
        ("mixup: {least: 0.1, mots: 0.5}", "unknown key 'mots'; nearest: most"),
        ("mixup: {least: 0.1}", "mixup: most missing, expected least and most"),
        ("mixup: {least: 0.5, most: 0.5}", "least 0.5 and most 0.5: expected least to be the smaller"),
        ("mixup: {least: 0.1, most: 0.5, scale: logarithmic}", "scale is 'logarithmic', expected linear or log"),
        ("mixup: {least: 0.1, most: 0.5, scale: [log]}", "scale is ['log'], expected linear or log"),
        ("mixup: {least: 0, most: 0.5, scale: log}", "log scale from 0.0: expected least to be more than 0"),
        ("mixup: {least: 0.1, most: 0.5, scale: log, step: 0.1}", "a step on a log scale"),
        ("mixup: {least: 0.1, most: 0.5, step: 0.3}", "step 0.3: expected one that leads from 0.1 to exactly 0.5"),
        ("mixup: {least: 0.1, most: 0.5, step: 0}", "step 0:"),
        ("mixup: {least: 0.1, most: 0.5, step: -0.1}", "step -0.1:"),
        ("mixup: {least: 0.1, most: 0.5, step: 1}", "step 1:"),
        ("mixup: {least: 0.1, most: 0.5, step: some}", "step 'some':"),
        ("window: {least: 1000, most: 2000, step: 300}", "leads from 1000 to exactly 2000"),
        ("window: {least: 1000, most: 2000, step: 250.0}", "step 250.0:"),
    ],
)
def test_a_wrong_entry_is_a_user_error(tmp_path, text, told):
    message = mistake(tmp_path, text)
    assert message.startswith("space own: ")
    assert told in message


def test_a_space_that_is_not_there_is_a_user_error(tmp_path):
    with pytest.raises(UserError, match=r"no search space is called distilation.*nearest: distillation"):
        load_space("distilation")
    with pytest.raises(UserError, match=r"cannot read the search space .*none\.yaml \(No such file"):
        load_space(str(tmp_path / "none.yaml"))
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(UserError, match="not UTF-8 text"):
        load_space(str(tmp_path / "bytes.yaml"))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("batch_size: [64, 2048]", "a window of 1000 images with a batch of 2048: expected at least one batch"),
        ("window: {least: 32, most: 2000}", "a window of 32 images with a batch of 64"),
        ("window: [100, 200]\nbatch_size: {least: 50, most: 150}", "a window of 100 images with a batch of 150"),
        ("widths: [[32, 64, 128], [32, 48, 128]]", "widths [32, 48, 128]: expected multiples of 32"),
        ("widths: [[32, 64, 128], [32, 64]]", "widths [32, 64] and blocks [4, 4, 4]: expected one positive number"),
        ("widths: [[32, 64], [64, 64]]\nblocks: [[2, 2], [2, 2, 2]]", "widths [32, 64] and blocks [2, 2, 2]"),
    ],
)
def test_what_does_not_fit_together_is_a_user_error(tmp_path, text, told):
    found = space(tmp_path, text)
    with pytest.raises(UserError) as caught:
        found.check(TrainSettings())
    assert str(caught.value).startswith("space own")
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_trial_of_another_space_is_not_taken_for_one_of_this(tmp_path):
    found = space(tmp_path, f"{ANCHOR}: [student, teacher]")
    for values in ({}, {ANCHOR: "pupil"}, {MARGIN: 0.5}):
        with pytest.raises(KeyError):
            found.settings(values, TrainSettings())


def test_a_student_that_starts_from_a_given_one_keeps_its_shape(tmp_path):
    found = space(tmp_path, "blocks: [[2, 2, 2], [4, 4, 4]]")
    base = dataclasses.replace(preset("cifar100-zoo"), student_init="generic")
    with pytest.raises(
        UserError, match=r"varies blocks, but the student starts from generic, .* --student_init scratch"
    ):
        found.check(base)
    found.check(dataclasses.replace(base, student_init="scratch"))


def test_importing_spaces_imports_nothing_heavy():
    heavy = ("tensorflow", "keras", "keras_tuner", "numpy")
    code = f"import sys, envise_tf.tuning.space; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
