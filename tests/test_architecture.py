"""Imports point one way: from later rooms to earlier ones, in the order that docs/architecture.md lists them."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {"envise_tf": ROOT / "envise_tf", "envise_tf.export": ROOT / "export", "envise_tf.tuning": ROOT / "tuning"}
PAGE = ROOT / "docs" / "architecture.md"
PICTURE = ROOT / "docs" / "architecture.svg"
ROOMS = re.findall(r"^\| \[(\w+)\]", PAGE.read_text(), re.MULTILINE)
GROUND = "ground"
MOST_FLOORS = 8


def found_modules() -> dict[str, Path]:
    """The dotted name of each module of the package as it is installed, and its file."""
    return {
        ".".join((package, *path.relative_to(folder).with_suffix("").parts)).removesuffix(".__init__"): path
        for package, folder in PACKAGES.items()
        for path in folder.rglob("*.py")
    }


MODULES = found_modules()


def room_of(module: str) -> str:
    """The folder that a module lies in; plain modules of the package and its settings are the ground."""
    _, *inside = module.split(".")
    is_folder = len(inside) > 1 or MODULES[module].name == "__init__.py"
    return inside[0] if inside and is_folder and inside[0] != "settings" else GROUND


@cache
def imports_of(module: str) -> frozenset[str]:
    """The modules of the package that one imports, anywhere in its code but for type checkers alone."""
    return frozenset(_imports(module, ast.parse(MODULES[module].read_text())))


def _imports(module: str, node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        return
    names = []
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, f"{module} has a relative import"
        names = [f"{node.module}.{each.name}" for each in node.names]
        names = [name if name in MODULES else node.module or "" for name in names]
    elif isinstance(node, ast.Import):
        names = [each.name for each in node.names]
    yield from (name for name in names if name in MODULES and name != module)
    for child in ast.iter_child_nodes(node):
        yield from _imports(module, child)


def rooms_below() -> dict[str, set[str]]:
    """The rooms that each room imports from."""
    below: dict[str, set[str]] = {room: set() for room in ROOMS}
    for module in MODULES:
        below[room_of(module)] |= {room_of(each) for each in imports_of(module)} - {room_of(module)}
    return below


def test_the_page_and_its_picture_name_every_room_and_no_other():
    assert len(ROOMS) == len(set(ROOMS))
    assert set(ROOMS) == {room_of(module) for module in MODULES}
    texts = ElementTree.parse(PICTURE).iter("{http://www.w3.org/2000/svg}text")
    assert sorted(text.text or "" for text in texts if text.get("class") == "room") == sorted(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_from_earlier_rooms_alone(room):
    earlier = ROOMS[: ROOMS.index(room) + 1]
    wrong = [
        f"{module} imports {each}"
        for module in MODULES
        if room_of(module) == room
        for each in imports_of(module)
        if room_of(each) not in earlier
    ]
    assert wrong == []


def test_no_module_imports_itself_by_way_of_others():
    # Raises CycleError, which names the circle.
    assert len(list(TopologicalSorter({module: imports_of(module) for module in MODULES}).static_order())) >= len(
        MODULES
    )


def test_the_house_has_few_floors():
    below, floors = rooms_below(), {}
    for room in TopologicalSorter(below).static_order():
        floors[room] = 1 + max((floors[each] for each in below[room]), default=0)
    assert max(floors.values()) <= MOST_FLOORS, floors


def test_every_room_has_a_page_in_the_reference():
    pages = {path.stem for path in (ROOT / "docs" / "reference").glob("*.md")} - {"index"}
    assert pages == set(ROOMS)
    navigation = (ROOT / "mkdocs.yml").read_text()
    assert [f"reference/{room}.md" for room in ROOMS] == re.findall(r"reference/(?!index)\w+\.md", navigation)


def test_the_ground_page_documents_every_module_of_the_ground():
    documented = re.findall(r"^::: (\S+)", (ROOT / "docs" / "reference" / "ground.md").read_text(), re.MULTILINE)
    ground = {module for module in MODULES if room_of(module) == GROUND} - {"envise_tf"}
    ground = {module for module in ground if not module.startswith("envise_tf.settings.")}
    assert set(documented) == ground


@pytest.mark.parametrize("page", ["docs/architecture.md", "CONTRIBUTING.md"])
def test_every_file_that_a_page_names_is_there(page):
    text = (ROOT / page).read_text()
    named = {name for name in re.findall(r"`([\w/.-]+/[\w/.-]*)`", text) if not re.search(r"NAME|^build/|^runs/", name)}
    assert named
    missing = [name for name in named if not ((ROOT / name).exists() or (ROOT / "envise_tf" / name).exists())]
    assert missing == []
