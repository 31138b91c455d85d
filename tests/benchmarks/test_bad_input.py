"""What comes of inputs: each harm is recorded by its name, and a few of the real inputs do none."""

from pathlib import Path

import bad_input
import harmful_feeder
import pytest
from small_bundle import small_bundle
from trust import feeding
from trust.feeding import Fed, fed
from trust.ledger import Ledger


@pytest.mark.slow
def test_each_harm_is_recorded_and_the_next_input_is_fed(tmp_path):
    found = list(fed("harmful_feeder", tmp_path, range(8)))
    assert [(one.seed, one.kind) for one in found] == list(enumerate(harmful_feeder.KINDS))
    outcomes = [*harmful_feeder.KINDS[:-1], "traceback"]
    assert [one.outcome for one in found] == outcomes
    said = [one.said for one in found]
    assert said[1] == "a line"
    assert said[2].startswith("ZeroDivisionError: by zero at harmful_feeder.py:")
    assert (said[3], said[4]) == ("of 1", "exit code -6")
    assert said[7].startswith("not one line but 2")


def test_a_row_counts_outcomes_and_names_what_is_no_answer_and_no_line():
    found = [Fed(0, "a", "answer", "", 0.5, 0), Fed(1, "b", "crash", "exit code -6", 0.0, 3 << 20)]
    row = bad_input.row(found)
    assert row["outcomes"] == {"a: answer": 1, "b: crash": 1}
    assert (row["inputs"], row["crashes"], row["slowest_seconds"], row["largest_mebibytes"]) == (2, 1, 0.5, 3)
    assert row["problems"] == ["1 (b): crash, 0.0 s, 3 MiB: exit code -6"]


def test_rows_of_a_count_and_of_a_larger_one_have_the_same_names():
    assert [part.name for part in bad_input.parts_of("images", 150)] == ["images from 0", "images from 100"]
    assert [len(part.seeds) for part in bad_input.parts_of("images", 150)] == [100, 50]


def test_what_has_passed_is_kept_and_what_failed_is_not(tmp_path):
    ledger = Ledger(tmp_path / "a.json", "a command")
    ledger.add("good", {"problems": []})
    ledger.add("bad", {"problems": ["a line"]})
    again = Ledger(tmp_path / "a.json", "a command")
    assert again.has_passed("good")
    assert not again.has_passed("bad")
    assert not again.has_passed("new")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_bundle(tmp_path_factory.mktemp("bundle") / "bundle", [0.0] * 7, [0.0] * 7)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "count"), [("images", 24), ("bundles", 24), ("settings", 70), ("teachers", 22)])
def test_some_of_the_inputs_end_in_an_answer_or_a_line(kind, count, bundle, monkeypatch):
    monkeypatch.setattr(feeding, "LONGEST", 600.0)  # what is slow on a busy machine is no hang here
    found = list(fed(f"trust.{kind}", bundle, range(count)))
    assert bad_input.row(found)["problems"] == []
    assert [one.seed for one in found] == list(range(count))
