"""The page of results says what the files say, and its formats round as they are read."""

import json

import pytest
import results


def test_the_pages_are_made_of_the_files_that_are_there():
    pages = results.rendered()
    assert set(pages) == {"results.md", "method.md", "objectives.md", "security.md", "reliability.md"}
    for name, text in pages.items():
        assert (results.DOCS / name).read_text() == text, "python benchmarks/results.py writes it anew"


def test_the_readme_has_the_figures_of_the_files():
    readme = (results.DOCS.parent / "README.md").read_text()
    zoo = results.read("cifar100-zoo")["evaluation"]
    cascade, teacher, gie = (
        results.percent(zoo["rates"][1][key]) for key in ("accuracy_cascade", "accuracy_teacher", "gie")
    )
    verdict = zoo["promise"]["verdict"]
    assert f"right on {cascade}, the adapted teacher on {teacher}, with {gie} less work; promise {verdict}" in readme
    prior = results.prior_figures("cifar100-disjoint", "even")
    assert f"{results.percent(prior['raw'])} before, {results.percent(prior['adapted'])} after" in readme
    pairs = ("EfficientNet Lite, deep stem", "wide ResNet")
    strong, weak = (results.percent(results.pair_at_work(pair, 50e6)) for pair in pairs)
    assert f"right on {strong}, the pair `wide-resnet`, whose teacher is weaker, on {weak}" in readme


@pytest.mark.parametrize(
    ("format_of", "value", "text"),
    [
        (results.percent, 0.12345, "12.3 %"),
        (results.signed, 0.0123, "+1.2"),
        (results.signed, -0.0001, "+0.0"),
        (results.count, 12345.6, "12,346"),
        (results.minutes, 95.0, "2 min"),
        (results.each, [0.1, 0.256], "10.0, 25.6 %"),
    ],
)
def test_figures_are_rounded_as_they_are_read(format_of, value, text):
    assert format_of(value) == text


@pytest.fixture
def table(tmp_path, monkeypatch):
    rows = [
        {"kind": kind, "scenario": scenario, "seed": seed, "figures": [{"gie": gie}]}
        for kind, scenario, seed, gie in [
            ("a", "zoo", 0, 0.30),
            ("b", "zoo", 0, 0.28),
            ("a", "zoo", 1, 0.34),
            ("b", "zoo", 1, 0.30),
            ("a", "street", 0, 0.29),
            ("b", "street", 0, 0.29),
            ("a", "street", 1, 0.90),
            ("c", "zoo", 1, 0.35),
            ("d", "farm", 1, 0.35),
        ]
    ]
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    (tmp_path / "table.json").write_text(json.dumps({"rows": rows}))
    return "table"


def test_differences_are_paired_by_scenario_and_seed(table):
    found = results.paired(table, "a", "b", "figures/0/gie")
    assert (found["pairs"], found["difference"]) == (3, pytest.approx(0.02))
    # Standard deviation of 0.02, 0.04, 0.00 is 0.02; t of 97.5 % with two degrees of freedom is 4.3027.
    half = 4.3027 * 0.02 / 3**0.5
    assert found["interval"] == pytest.approx((0.02 - half, 0.02 + half), abs=1e-5)


def test_scores_are_ranked_by_what_they_save_student_by_student(tmp_path, monkeypatch):
    def row(**gies: float) -> dict:
        return {"scores": {name: {"gie_at_equal_accuracy": {"0.05": gie}} for name, gie in gies.items()}}

    monkeypatch.setattr(results, "FOLDER", tmp_path)
    one, two = row(margin=0.4, msp=0.3, vim=0.1), row(margin=0.2, msp=0.3)
    (tmp_path / "pairs.json").write_text(json.dumps({"rows": [one, two]}))
    (tmp_path / "objectives.json").write_text(json.dumps({"rows": [one]}))
    assert results.students_of_all_grids() == [one, two]  # one stands in both
    margin, msp, vim = sorted(results.ranked_scores("margin"), key=lambda of: of["name"])
    assert [of["name"] for of in results.ranked_scores("margin")][-1] == "vim"
    assert (margin["gie"], margin["difference"], msp["difference"]) == pytest.approx((0.3, 0.0, 0.0))
    # Student's t of 97.5 % with one degree of freedom is 12.706; the differences are -0.1 and 0.1.
    assert msp["interval"] == pytest.approx((-1.2706, 1.2706), abs=1e-4)
    assert (vim["students"], vim["difference"]) == (1, pytest.approx(-0.3))


def test_one_pair_has_no_interval_and_none_no_difference(table):
    assert results.paired(table, "c", "b", "figures/0/gie") == {
        "pairs": 1,
        "difference": pytest.approx(0.05),
        "interval": None,
    }
    assert results.paired(table, "d", "b", "figures/0/gie") is None
