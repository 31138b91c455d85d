"""The notebook as its reader runs it, from the first cell to the last, in a folder and a kernel of its own."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "examples" / "quickstart.ipynb"
MOST_LINES = 15
BESIDE = {"stand-ins", "look"}
"""Tags of cells that are no part of the way from teacher and photographs to a cascade: they make files, or show."""


@pytest.fixture(scope="module")
def written() -> nbformat.NotebookNode:
    return nbformat.read(NOTEBOOK, as_version=4)


@pytest.fixture(scope="module")
def executed(written, tmp_path_factory) -> nbformat.NotebookNode:
    """The notebook, run by the Python that runs the tests, with 2 passes over the photographs where it has 25."""
    folder = tmp_path_factory.mktemp("quickstart")
    copy = nbformat.from_dict(written)
    (training,) = [cell for cell in cells(copy, "way") if "epochs=25" in cell.source]
    training.source = training.source.replace("25", "2")
    client = NotebookClient(copy, timeout=None, kernel_name="python3", resources={"metadata": {"path": str(folder)}})
    return client.execute()


def cells(notebook: nbformat.NotebookNode, wanted: str) -> list[nbformat.NotebookNode]:
    """The code cells with a tag, or those of the way itself, which have none."""
    code = [(cell, set(cell.metadata.get("tags", ()))) for cell in notebook.cells if cell.cell_type == "code"]
    return [cell for cell, tags in code if (wanted in tags if wanted in BESIDE else not tags)]


def way(notebook: nbformat.NotebookNode) -> list[str]:
    lines = [line for cell in cells(notebook, "way") for line in cell.source.splitlines()]
    return [line for line in lines if line.strip() and not line.startswith("#")]


def shown(notebook: nbformat.NotebookNode) -> tuple[str, int]:
    """What the notebook prints, and how many pictures it has."""
    outputs = [output for cell in cells(notebook, "look") for output in cell.outputs]
    text = "".join(output.text for output in outputs if output.output_type == "stream")
    return text, sum("image/png" in output.get("data", {}) for output in outputs)


def test_the_way_from_teacher_and_photographs_to_a_cascade_is_short(written):
    lines = way(written)
    assert lines[0] == "import envise_tf as et"
    assert lines[-1].startswith("cascade = et.keras_cascade(")
    assert len(lines) <= MOST_LINES


def test_it_is_committed_as_it_ran(written):
    code = [cell for cell in written.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not [output for cell in code for output in cell.outputs if output.get("name") == "stderr"]
    text, pictures = shown(written)
    assert "with confidence 95 %, as far as the teacher's probabilities are right\n" in text
    assert pictures == 2


@pytest.mark.slow
def test_it_runs_from_the_first_cell_to_the_last(executed):
    text, pictures = shown(executed)
    # Which classes occur follows from the shipped teacher; what a training reaches may differ.
    assert text.startswith("the student learns zero, one, two, three, four, five, six\n")
    assert "of the images are answered by the student; GiE" in text
    assert pictures == 2


def test_the_guide_shows_the_same_lines(written):
    guide = (ROOT / "docs" / "python.md").read_text()
    blocks = [block.splitlines() for block in guide.split("```")[1::2]]
    shown_there = next(block[1:] for block in blocks if block[1] == "import envise_tf as et")
    assert [line for line in shown_there if line.strip() and not line.startswith("#")] == way(written)
