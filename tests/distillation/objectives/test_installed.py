"""Objectives of other packages: a toy package, as pip would have installed it, and packages that are broken."""

import json

import pytest
from commands import error_line

from envise_tf.distillation.objectives import known_objectives, objective
from envise_tf.errors import UserError
from envise_tf.train.__main__ import main
from envise_tf.tuning.space import load_space

TOY = '''
from dataclasses import dataclass

import tensorflow as tf

from envise_tf.distillation.objectives.objective import Objective, mean_of


@dataclass(frozen=True)
class Toy(Objective):
    """Draws all logits to a number."""

    to: float = 3.0

    @property
    def needs_teacher(self):
        return False

    def __call__(self, evidence):
        return mean_of(tf.reduce_mean((evidence.student.logits - self.to) ** 2, axis=1), evidence.is_known), {}


@dataclass(frozen=True)
class Unfinished(Objective):
    pass
'''


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Returns a function that installs a toy package with these entry points."""

    def install(**entries):
        (tmp_path / "toy_objectives.py").write_text(TOY)
        metadata = tmp_path / "toy_objectives-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-objectives\nVersion: 1.0\n")
        lines = [f"{name} = {place}" for name, place in entries.items()]
        (metadata / "entry_points.txt").write_text("\n".join(["[envise_tf.objectives]", *lines, ""]))
        monkeypatch.syspath_prepend(tmp_path)

    return install


def test_an_installed_objective_is_made_as_any_other(installed):
    installed(toy="toy_objectives:Toy")
    made = objective("toy", {"to": 5.0, "weight": 0.5})
    assert (type(made).__name__, made.to, made.weight) == ("Toy", 5.0, 0.5)
    with pytest.raises(UserError, match="objective toy has no option too: nearest: to"):
        objective("toy", {"too": 5.0})


def test_a_sweep_searches_its_options(installed, tmp_path):
    installed(toy="toy_objectives:Toy")
    space = tmp_path / "space.yaml"
    space.write_text("objectives.toy.to: {least: 1.0, most: 4.0}\n")
    assert [each.name for each in load_space(str(space)).hyperparameters().space] == ["objectives.toy.to"]


@pytest.mark.slow
def test_a_student_learns_by_it(installed, tmp_path):
    installed(toy="toy_objectives:Toy")
    run = tmp_path / "run"
    words = ["--preset", "digits", "--windows", "1", "--window", "64", "--widths", "[32]", "--blocks", "[1]"]
    given = '{"toy": {"weight": 0.1}, "soft_label": {}}'
    main([*words, "--tensorboard", "false", "--evaluate", "false", "--objectives", given, "--out", str(run)])
    assert json.loads((run / "log.jsonl").read_text())["toy"] > 0


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("toy_objectives:Missing", "objective toy of the installed package toy-objectives cannot be loaded: .*Missing"),
        ("nowhere_at_all:Toy", "cannot be loaded: No module named 'nowhere_at_all'; mend or uninstall that package"),
        ("toy_objectives:TOY_NAME", "cannot be loaded"),
        ("toy_objectives:mean_of", "is toy_objectives:mean_of: expected a subclass of envise_tf.Objective"),
        ("toy_objectives:Unfinished", "expected a subclass of envise_tf.Objective with a __call__"),
    ],
)
def test_a_package_that_is_broken_is_named(installed, place, message):
    installed(toy=place)
    with pytest.raises(UserError, match=message):
        known_objectives()


def test_no_package_takes_the_place_of_an_objective_of_ours(installed):
    installed(soft_label="toy_objectives:Toy")
    with pytest.raises(UserError, match=r"objective soft_label is envise_tf\S+ and, by an installed"):
        objective("soft_label", {})


def test_a_command_says_so_in_one_line(installed, capsys):
    installed(toy="toy_objectives:Unfinished")
    assert "mend or uninstall that package" in error_line(capsys, main, ["--preset", "digits"])
