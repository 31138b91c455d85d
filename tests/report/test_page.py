"""The report as a reader opens it: in headless Chromium, on a wide screen, on a phone, and in print."""

import base64
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("no Chromium: install chromium and chromium-driver to see reports tested as a reader sees them")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, Service(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def opened(browser, digits_run, request):
    """The report of a run at a width in pixels."""
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": request.param, "height": 844, "deviceScaleFactor": 1, "mobile": request.param < 500},
    )
    browser.get((digits_run / "report.html").as_uri())
    return browser


@pytest.mark.parametrize("opened", [390, 1280], indirect=True, ids=["phone", "screen"])
def test_the_page_fits_and_every_image_is_there(opened):
    assert opened.get_log("browser") == []
    width = opened.execute_script("return document.documentElement.clientWidth")
    assert opened.execute_script("return document.documentElement.scrollWidth") <= width
    images = opened.execute_script(
        "return [...document.images].map(image => [image.complete, image.naturalWidth, image.alt])"
    )
    assert len(images) > 20
    assert all(complete and width > 0 and alt for complete, width, alt in images)


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
