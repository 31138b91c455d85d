"""Kotlin in README.md and in the guide: each piece is one that the tests of the library compile and run."""

import re
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TESTS = ROOT / "export" / "android"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
MARKED = re.compile(r"^ *// \[start ([\w-]+)\]\n(.*?)^ *// \[end \1\]$", re.MULTILINE | re.DOTALL)


def snippets() -> dict[str, str]:
    """What stands between marks in the tests of the Kotlin library, by name."""
    files = TESTS.glob("envise-*/src/test/kotlin/**/*.kt")
    found = [match.groups() for file in files for match in MARKED.finditer(file.read_text())]
    assert len({name for name, _ in found}) == len(found), "a name is marked twice"
    return {name: textwrap.dedent(text) for name, text in found}


def quoted(page: Path) -> list[str]:
    return re.findall(r"^```kotlin\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_kotlin_on_a_page_is_what_the_tests_run(page):
    known = snippets()
    for piece in quoted(page):
        assert piece in known.values(), f"{page.name} has Kotlin that no test runs:\n{piece}"


def test_every_snippet_is_quoted_and_the_readme_has_five_lines():
    everywhere = {piece for page in PAGES for piece in quoted(page)}
    assert {name for name, text in snippets().items() if text not in everywhere} == set()
    (five,) = quoted(ROOT / "README.md")
    assert five == snippets()["five-lines"]
    assert len(five.splitlines()) == 5
