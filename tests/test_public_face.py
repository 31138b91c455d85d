"""`import envise_tf as et`: its names, where they come from, and that it loads nothing heavy before one is used."""

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import envise_tf as et
from envise_tf.deferral.scores import SCORES
from envise_tf.distillation.objectives import OBJECTIVES

ROOT = Path(__file__).parents[1]
FACE = Path(et.__file__)


@pytest.mark.parametrize("name", et.__all__)
def test_every_public_name_is_what_its_own_module_defines(name):
    value = getattr(et, name)
    assert value.__module__ == f"envise_tf.{et._HOMES[name]}"
    assert inspect.getdoc(value)


def test_type_checkers_see_the_same_names_from_the_same_modules():
    block = next(node for node in ast.parse(FACE.read_text()).body if isinstance(node, ast.If))
    assert ast.unparse(block.test) == "TYPE_CHECKING"
    seen = {}
    for line in block.body:
        assert isinstance(line, ast.ImportFrom)
        assert [each.asname for each in line.names] == [each.name for each in line.names]
        seen |= {each.name: line.module for each in line.names}
    assert seen == {name: f"envise_tf.{home}" for name, home in et._HOMES.items()}


def test_no_public_name_hides_a_module():
    modules = {path.stem for path in (*FACE.parent.iterdir(), ROOT / "export", ROOT / "tuning")}
    assert modules.isdisjoint(et.__all__)


def test_every_score_and_objective_is_public():
    members = [*SCORES.values(), *OBJECTIVES.values()]
    assert {member.__name__ for member in members} <= set(et.__all__)


def test_dir_lists_the_public_names_and_other_names_are_refused():
    assert set(et.__all__) <= set(dir(et))
    with pytest.raises(AttributeError, match="module 'envise_tf' has no attribute 'load_techer'"):
        et.load_techer  # noqa: B018
    with pytest.raises(ImportError):
        from envise_tf import load_techer  # noqa: F401


@pytest.mark.slow
def test_importing_and_listing_loads_nothing_heavy_and_the_first_use_does():
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys\n"
            "import envise_tf as et\n"
            "names = dir(et) + et.__all__\n"
            "heavy = ('tensorflow', 'larq', 'tf_keras', 'keras', 'numpy', 'sklearn')\n"
            "print([name for name in heavy if name in sys.modules])\n"
            "et.UserError\n"
            "et.Cascade\n"
            "et.load_bundle\n"
            "print([name for name in heavy if name in sys.modules])\n"
            "et.gie\n"
            "print('tensorflow' in sys.modules)\n",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == ["[]", "['numpy']", "True"]


def test_a_star_import_gives_the_public_names_alone():
    names: dict[str, object] = {}
    exec("from envise_tf import *", names)
    assert set(names) - {"__builtins__"} == set(et.__all__)


def test_every_public_name_is_explained_in_the_guide_with_a_link_to_its_reference():
    guide = (ROOT / "docs" / "python.md").read_text()
    rows = re.findall(r"^\| \[`et\.(\w+)`\]\(reference/(\w+)\.md#(\S+)\) \| \S", guide, re.MULTILINE)
    homes = {name: f"envise_tf.{home}.{name}" for name, home in et._HOMES.items()}
    assert {name: anchor for name, _, anchor in rows} == homes
    for name, page, _ in rows:
        home = et._HOMES[name]
        assert page == (home.partition(".")[0] if "." in home else "ground")
