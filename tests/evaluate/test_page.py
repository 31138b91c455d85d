"""The report as a reader opens it: in headless Chromium, on a wide screen, on a phone, and in print."""

import base64
import json
import re
from pathlib import Path

import pytest


@pytest.fixture
def opened(opened_at, digits_run, request):
    """The report of a run at a width in pixels."""
    return opened_at(digits_run / "report.html", request.param)


@pytest.mark.parametrize("opened", [390, 1280], indirect=True, ids=["phone", "screen"])
def test_the_page_fits_and_every_image_is_there(opened, assert_page_is_whole):
    assert_page_is_whole(opened, least=21)


@pytest.mark.parametrize("opened", [390], indirect=True, ids=["phone"])
def test_figures_are_wide_enough_to_read_on_a_phone(opened):
    widths = opened.execute_script("return [...document.querySelectorAll('.grid img')].map(image => image.width)")
    assert min(widths) >= 340
    sizes = opened.execute_script(
        "return [...document.querySelectorAll('p, td')].map(e => parseFloat(getComputedStyle(e).fontSize))"
    )
    assert min(sizes) >= 12


@pytest.mark.parametrize("opened", [1280], indirect=True, ids=["screen"])
def test_it_prints_on_pages_of_paper(opened):
    pdf = base64.b64decode(opened.execute_cdp_cmd("Page.printToPDF", {"paperWidth": 8.27, "paperHeight": 11.7})["data"])
    assert pdf.startswith(b"%PDF")
    assert 3 <= len(re.findall(rb"/Type\s*/Page[^s]", pdf)) <= 20


@pytest.mark.parametrize("opened", [1280], indirect=True, ids=["screen"])
def test_the_table_shows_the_figures_of_the_run(opened, digits_run):
    rates = json.loads((digits_run / "result.json").read_text())["evaluation"]["rates"]
    rows = {
        row[0]: row[1:]
        for row in opened.execute_script(
            "return [...document.querySelectorAll('table')][0].innerText.split('\\n').map(row => row.split('\\t'))"
        )
    }
    assert rows["cascade, accuracy"] == [f"{100 * point['accuracy_cascade']:.1f}" for point in rates]
    assert rows["GiE"] == [f"{100 * point['gie']:.1f}" for point in rates]


def test_the_report_is_one_file(digits_run):
    page = Path(digits_run / "report.html").read_text()
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)
    assert "<script" not in page
    for heading in (
        "Accuracy and work",
        "promise",
        "Outlier scores",
        "Attention",
        "Worst mistakes",
        "Confusion",
        "Work",
    ):
        assert heading in page
