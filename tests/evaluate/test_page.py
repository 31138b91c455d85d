"""The report as a reader opens it: in headless Chromium, on a wide screen, on a phone, and in print."""

import base64
import json
import re
import shutil
from pathlib import Path

import pytest

from envise_tf.evaluate.__main__ import main

WIDTHS = pytest.mark.parametrize("width", [390, 1280, 1920], ids=["phone", "screen", "wide"])

pytestmark = pytest.mark.slow


@pytest.fixture(params=["digits_run", "unlabelled_run"], ids=["labels", "no labels"])
def report(request):
    """The report of a run with labels, and of one without."""
    return request.getfixturevalue(request.param) / "report.html"


@pytest.fixture(params=["light", "dark"])
def coloured(browser, request):
    """A browser that prefers light or dark pages."""
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": request.param}]}
    )
    yield request.param
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})


def headings(page):
    return page.execute_script("return [...document.querySelectorAll('h2')].map(each => each.innerText)")


def facts(page):
    """The figures of the card, by their labels."""
    return dict(
        page.execute_script(
            "return [...document.querySelectorAll('.card dt')].map(e => [e.innerText, e.nextElementSibling.innerText])"
        )
    )


def tables(page):
    return page.execute_script(
        "return [...document.querySelectorAll('table')].map(table => [...table.rows].map("
        "row => [...row.cells].map(cell => cell.textContent)))"
    )


@WIDTHS
def test_the_page_fits_and_every_image_is_there(opened_at, report, width, assert_page_is_whole):
    assert_page_is_whole(opened_at(report, width), least=21)


@WIDTHS
def test_the_verdict_comes_first_and_fits_one_screen(opened_at, report, width):
    page = opened_at(report, width)
    assert page.execute_script("return document.querySelector('section').className") == "card"
    assert page.execute_script("return document.querySelector('.card').getBoundingClientRect().bottom") <= 844


def test_the_widest_screen_is_used(opened_at, report):
    page = opened_at(report, 1920)
    rights = page.execute_script(
        "return [...document.querySelectorAll('main section')].map(e => e.getBoundingClientRect().right)"
    )
    assert max(rights) >= 1880
    tops = page.execute_script(
        "return [...document.querySelectorAll('main .half')].map(e => e.getBoundingClientRect().top)"
    )
    assert len(set(tops)) < len(tops)  # two stand side by side


def test_figures_are_wide_enough_to_read_on_a_phone(opened_at, report):
    page = opened_at(report, 390)
    widths = page.execute_script("return [...document.querySelectorAll('.grid img')].map(image => image.width)")
    assert min(widths) >= 340
    sizes = page.execute_script(
        "return [...document.querySelectorAll('p, td, dt, dd, figcaption, summary')]"
        ".map(e => parseFloat(getComputedStyle(e).fontSize))"
    )
    assert min(sizes) >= 12


def luminance(colour):
    """Relative luminance of "rgb(r, g, b)" by WCAG 2."""
    channels = [int(each) / 255 for each in re.findall(r"\d+", colour)[:3]]
    linear = [each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_text_stands_out_on_light_and_on_dark_pages(opened_at, report, coloured):
    page = opened_at(report, 1280)
    texts = page.execute_script(
        "return [...document.querySelectorAll('h1, h2, p, td, th, dt, dd, figcaption, summary, .settings')].map(e => {"
        "  let under = e; while (getComputedStyle(under).backgroundColor == 'rgba(0, 0, 0, 0)') under = "
        "under.parentElement; return [getComputedStyle(e).color, getComputedStyle(under).backgroundColor]})"
    )
    for colour, under in {tuple(each) for each in texts}:
        dark, light = sorted((luminance(colour), luminance(under)))
        assert (light + 0.05) / (dark + 0.05) >= 4.5, (colour, under)
    of_page = luminance(page.execute_script("return getComputedStyle(document.body).backgroundColor"))
    assert of_page < 0.05 if coloured == "dark" else of_page > 0.95
    filters = page.execute_script(
        "return [...document.querySelectorAll('.grid img')].map(e => getComputedStyle(e).filter != 'none')"
    )
    assert set(filters) == {coloured == "dark"}


def test_it_prints_on_pages_of_white_paper(opened_at, report, coloured):
    page = opened_at(report, 1280)
    pdf = base64.b64decode(page.execute_cdp_cmd("Page.printToPDF", {"paperWidth": 8.27, "paperHeight": 11.7})["data"])
    assert pdf.startswith(b"%PDF")
    assert 3 <= len(re.findall(rb"/Type\s*/Page[^s]", pdf)) <= 20
    page.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"media": "print", "features": [{"name": "prefers-color-scheme", "value": coloured}]},
    )
    page = opened_at(report, 718)  # what A4 leaves between the margins
    assert page.execute_script("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    sides = page.execute_script(
        "return [...document.querySelectorAll('table, img')].map(e => e.getBoundingClientRect().right)"
    )
    assert max(sides) <= 718


def test_the_score_tables_are_folded_and_printed_in_full(opened_at, browser, digits_run):
    page = opened_at(digits_run / "report.html", 1280)
    shown = "return [...document.querySelectorAll('details table')].map(table => table.checkVisibility())"
    assert page.execute_script(shown) == [False] * 3
    page.execute_script("document.querySelector('details').open = true")
    assert page.execute_script(shown) == [True] * 3
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    page = opened_at(digits_run / "report.html", 718)
    assert page.execute_script(shown) == [True] * 3
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_the_card_of_a_labelled_run_has_the_true_loss_and_the_verdict(opened_at, digits_run):
    found = json.loads((digits_run / "result.json").read_text())["evaluation"]
    page = opened_at(digits_run / "report.html", 1280)
    assert facts(page) == {
        "answered by the student": f"{100 * found['threshold']['coverage']:.1f} %",
        "work saved (GiE)": f"{100 * found['work']['stream']['gie']:.1f} %",
        "promised": "≤ 15 %",
        "estimated": f"{100 * found['estimated']:.2f} %",
        "true loss, by labels": f"{100 * found['promise']['measured']:.2f} %",
        "the promise is": found["promise"]["verdict"],
    }
    card = page.execute_script("return document.querySelector('.card').innerText")
    assert f"{100 * found['promise']['lower']:.2f} % to {100 * found['promise']['upper']:.2f} %" in card
    assert "The promise supposes that the teacher is right as often as its probabilities say" in card
    assert headings(page)[0] == "Worst mistakes"


def test_the_table_shows_the_figures_of_the_run(opened_at, digits_run):
    rates = json.loads((digits_run / "result.json").read_text())["evaluation"]["rates"]
    rows = {row[0]: row[1:] for row in tables(opened_at(digits_run / "report.html", 1280))[0]}
    assert rows["cascade, accuracy"] == [f"{100 * point['accuracy_cascade']:.1f}" for point in rates]
    assert rows["GiE"] == [f"{100 * point['gie']:.1f}" for point in rates]


def test_a_score_that_defers_everything_has_no_threshold(opened_at, digits_run):
    found = json.loads((digits_run / "result.json").read_text())["evaluation"]
    nothing = -found["work"]["student"]["flops"] / found["work"]["teacher"]["flops"]
    own = next(
        rows for rows in tables(opened_at(digits_run / "report.html", 1280)) if rows[0][0] == "GiE, own threshold"
    )
    assert len(own) == len(found["scores"]) + 1
    for name, *shown in own[1:]:
        gains = found["scores"][name]["gie"].values()
        assert shown == ["no threshold" if gain <= nothing + 1e-9 else f"{100 * gain:.1f} %" for gain in gains]


def test_a_report_without_labels_shows_what_the_teachers_probabilities_say(opened_at, unlabelled_run):
    found = json.loads((unlabelled_run / "result.json").read_text())["evaluation"]
    assert "rates" not in found
    page = opened_at(unlabelled_run / "report.html", 1280)
    assert list(facts(page)) == ["answered by the student", "work saved (GiE)", "promised", "estimated"]
    assert headings(page) == [
        "Accuracy and work, as expected without labels",
        "Which classes the stream shows",
        "The score that decides",
        "The threshold and its promise",
        "Left to the teacher",
        "Answered by the student, least sure",
        "Answered by the student, surest",
        "Rare classes found",
        "Attention",
        "Work",
        "Settings",
    ]
    accuracy, gains, *_ = tables(page)
    teacher, cascade, student = (float(row[1].removesuffix(" %")) for row in accuracy[1:])
    assert teacher - cascade == pytest.approx(100 * found["estimated"], abs=0.11)
    assert teacher >= cascade >= student
    assert [row[0] for row in gains[1:]] == ["0.5 points", "1 point", "2 points", "5 points", "10 points"]


@pytest.mark.usefixtures("few_scores")
@pytest.mark.parametrize("run", ["unlabelled_run", "digits_run"])
def test_photographs_of_ones_own_are_in_no_report_that_nobody_asked_them_for(request, run, tmp_path):
    asked_for = request.getfixturevalue(run)
    copied = Path(shutil.copytree(asked_for, tmp_path / "run"))
    main([str(copied), "--score", "msp", "--epsilon", "0.15", *(["--photographs", "false"] * (run == "digits_run"))])
    shown, left_out = ((folder / "report.html").read_text() for folder in (asked_for, copied))
    assert shown.count("data:image/png") > 10
    assert not re.findall("data:image/(?!svg)", left_out)
    assert left_out.count("data:image/svg") > 1
    assert "No photographs are shown" in left_out


@pytest.mark.usefixtures("few_scores")
def test_a_promise_out_of_reach_is_explained_in_the_card(opened_at, unlabelled_run, tmp_path, capsys):
    run = Path(shutil.copytree(unlabelled_run, tmp_path / "run"))
    main([str(run), "--epsilon", "0.0001", "--score", "msp"])
    printed = capsys.readouterr().out
    page = opened_at(run / "report.html", 390)
    assert facts(page) == {
        "answered by the student": "nothing",
        "work saved (GiE)": "none",
        "promise": "no threshold",
    }
    assert all(word in printed for word in ("nothing", "none", "no threshold"))
    card = page.execute_script("return document.querySelector('.card').innerText")
    assert "The teacher answers everything: " in card
    assert "a larger --epsilon promises less" in card
    assert page.execute_script("return document.documentElement.scrollWidth") <= 390
    assert "Answered by the student, surest" not in headings(page)


def test_the_report_is_one_file(report):
    page = report.read_text()
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)
    assert "<script" not in page
