"""The report of a stream of four phases whose figures follow by hand from its making, see conftest.py."""

import dataclasses
import re

import pytest

from envise_tf.stream.record import read_record, teacher_alone
from envise_tf.stream.timeline import write_stream_report

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def report(stream_run, stream_result):
    record = read_record(stream_run)
    write_stream_report(stream_run, record, stream_result, {"never": teacher_alone(record)})
    return stream_run / "stream_report.html"


@pytest.fixture(scope="module")
def own_report(own_run, stream_result):
    result = {**stream_result, "phases": [], "unreadable": 0}
    del result["repeats"]
    write_stream_report(own_run, read_record(own_run), result, {})
    return own_run / "stream_report.html"


def tables(page):
    return page.execute_script(
        "return [...document.querySelectorAll('table')].map(table =>"
        " [...table.rows].map(row => [...row.cells].map(cell => cell.innerText.replaceAll('\\u00a0', ' '))))"
    )


@pytest.mark.parametrize("width", [390, 1280], ids=["phone", "screen"])
def test_the_page_fits_and_every_image_is_there(opened_at, assert_page_is_whole, report, width):
    assert_page_is_whole(opened_at(report, width), least=2)


@pytest.mark.parametrize("width", [390, 1280], ids=["phone", "screen"])
def test_the_page_of_own_photographs_fits_too(opened_at, assert_page_is_whole, own_report, width):
    assert_page_is_whole(opened_at(own_report, width), least=1)


def test_a_phone_gets_a_figure_of_its_own(opened_at, report):
    shown = {}
    for width in (390, 1280):
        page = opened_at(report, width)
        shown[width] = page.execute_script(
            "const image = document.querySelector('.wide img');"
            " return [image.width / image.height, image.width, image.currentSrc]"
        )
    assert shown[390][0] < 1 < shown[1280][0]
    assert shown[390][1] >= 340
    assert shown[1280][1] >= 1000
    assert shown[390][2] != shown[1280][2]


def test_text_is_large_enough_on_a_phone(opened_at, report):
    sizes = opened_at(report, 390).execute_script(
        "return [...document.querySelectorAll('p, td')].map(e => parseFloat(getComputedStyle(e).fontSize))"
    )
    assert min(sizes) >= 12


def test_the_table_by_phase(opened_at, report):
    # Street: 600 of 1,000 images are served, 24 % of them go to the teacher, and the student is wrong about 5 %. The
    # work in units of the teacher: 6 + 144 while serving, 400 labels, 400 once more, 3 * 400 * 0.2 of training.
    table = tables(opened_at(report, 1280))[0]
    assert table[0] == [
        "", "images", "right", "teacher right", "raw teacher", "as teacher", "serving", "to teacher", "GiE serving",
        "GiE total", "off device",
    ]  # fmt: skip
    assert table[2] == [
        "2 street", "1,000", "87.0 %", "90.0 %", "80.0 %", "97.0 %", "60.0 %", "24.0 %", "75.0 %", "-19.0 %", "45.0 %",
    ]  # fmt: skip
    assert [row[0] for row in table[1:]] == ["1 zoo", "2 street", "3 garden", "4 zoo", "whole stream"]


def test_the_table_of_changes(opened_at, report):
    table = tables(opened_at(report, 1280))[1]
    assert table[1:] == [
        ["2 street", "1,000", "at once", "200", "550", "a new student"],
        ["3 garden", "2,000", "200", "300", "650", "a new student"],
        ["4 zoo", "3,000", "at once", "150", "200", "an earlier student"],
    ]


def test_where_the_work_went(opened_at, report):
    # 1,300 images while adapting, 2,700 served.
    work, paid = tables(opened_at(report, 1280))[2:4]
    rows = {row[0]: row[1:] for row in work}
    assert rows["student, serving"] == ["2,700", "2.7", "0.7 %"]
    assert rows["teacher, deferred"] == ["540", "54.0", "13.5 %"]
    assert rows["teacher, labels while adapting"] == ["1,300", "130.0", "32.5 %"]
    assert rows["student, in training steps"] == ["1,300", "78.0", "19.5 %"]
    assert rows["all"] == ["", "405.5", "101.4 %"]
    assert rows["all but training"] == ["", "", "49.4 %"]
    # Training of 400 images is worth 400 * 1.6 answers of the teacher, and serving saves 0.75 of an answer an image.
    assert paid[1] == ["0", "400", "640", "75.0 %", "854 images", "800"]
    assert paid[4] == ["3,150", "100", "160", "75.0 %", "214 images", "750"]


def test_policies_side_by_side(opened_at, report):
    table = tables(opened_at(report, 1280))[4]
    rows = {row[0]: dict(zip(table[0], row, strict=True)) for row in table}
    assert list(rows)[1:] == ["lifecycle", "teacher", "never"]
    assert rows["teacher"]["right"] == "90.0 %"
    assert rows["teacher"]["GiE serving"] == "-"
    assert rows["teacher"]["GiE total"] == "0.0 %"


def test_the_table_of_events(opened_at, report):
    table = tables(opened_at(report, 1280))[5]
    assert table[0] == ["image", "event", "state", "since the border", "reason"]
    assert table[4] == ["1,250", "classes", "adapt", "250", "2 classes are frequent: apple, pear"]
    assert table[8] == ["3,150", "change", "serve", "150", "the mean <foreign> rose"]
    assert table[9] == ["3,200", "reuse", "adapt", "200", "an earlier student fits: apple"]


def test_the_headline(report):
    page = report.read_text()
    assert (
        "Of 4,000 images the cascade answered 86.6 % rightly, the teacher alone 90.0 %, and 80.0 % as it came." in page
    )
    assert "3 of 3 changes of the prior were noticed, after 200, 300 and 150 images." in page
    assert "the whole stream took 1.4 % more work than the teacher alone" in page
    assert "1,000 of 4,000 images (25.0 %) had been shown before." in page
    assert "1 image could not be read" in page


def test_without_labels_their_parts_are_left_out(opened_at, own_report):
    page = opened_at(own_report, 1280)
    found = tables(page)
    assert found[0][0] == ["", "images", "serving", "to teacher", "GiE serving", "GiE total", "off device"]
    assert found[-1][0] == ["image", "event", "state", "reason"]
    headings = page.execute_script("return [...document.querySelectorAll('h2')].map(e => e.innerText)")
    assert headings == ["Along the stream", "Accuracy and work", "Where the work went", "Events", "Settings"]


def test_a_stream_that_ended_before_a_student_came_to_serve(tmp_path, stream_run, stream_result):
    write_stream_report(tmp_path, teacher_alone(read_record(stream_run)), stream_result, {})
    page = (tmp_path / "stream_report.html").read_text()
    assert "No student came to serve." in page
    assert "nothing of it has been paid back" in page
    assert "0 of 3 changes of the prior were noticed." in page


def test_a_teacher_that_answers_alone_is_told(tmp_path, stream_run, stream_result):
    record = read_record(stream_run)
    events = [*record.events[:6], {"image": 2700, "state": "adapt", "event": "alone", "reason": "too few images"}]
    write_stream_report(tmp_path, dataclasses.replace(record, events=events), stream_result, {})
    page = (tmp_path / "stream_report.html").read_text()
    assert "No promise could be made for 1,299 images, which the teacher answered alone." in page
    assert "too few images" in page


def test_the_report_is_one_file(report):
    page = report.read_text()
    assert not re.findall(r'(?:src|srcset|href)="(?!data:|#)', page)
    assert "<script" not in page
