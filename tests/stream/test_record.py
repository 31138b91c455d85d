"""Figures of a stream's record: computed by hand, against plain loops, and as properties."""

import dataclasses
import json
from itertools import pairwise

import numpy as np
import pytest

from envise_tf.errors import UserError
from envise_tf.stream.borders import borders, false_alarms, images_alone
from envise_tf.stream.record import Record, read_record, teacher_alone
from envise_tf.stream.result import as_figures
from envise_tf.stream.summary import Flops, gie_total_so_far, rolling_share, states, stretches, summary

ANSWERS = """image,phase,state,label,class,by_student,promised,score,asked,teacher,raw,truth,origin
0,0,adapt,7,"pear, ripe",0,1,,1,7,6,7,
1,0,adapt,7,"pear, ripe",0,1,,1,7,7,8,/photos/1.png
3,0,serve,8,plum,1,0,0.25,0,9,9,8,"/photos/a,,b ""c"" #3.png"
4,1,serve,9,#9,0,1,-1.5,1,9,9,9,/photos/4.png
"""
WORK = """image,student,deferred,audited,labelled,taught,trained,validated
1,0,0,0,2,64,64,5
4,2,1,0,2,64,64,5
"""
EVENTS = """{"image": 0, "state": "adapt", "event": "begin", "reason": "the first image"}
{"image": 3, "state": "serve", "event": "change", "reason": "deferral", "signal": "deferral"}
"""

FLOPS = Flops(student=1, student_as_float=10, teacher=100)
RESULT = {"work": {"student_flops": 1, "student_flops_as_float": 10, "teacher_flops": 100}, "phases": []}


@pytest.fixture
def run(tmp_path):
    for name, text in (("answers.csv", ANSWERS), ("work.csv", WORK), ("events.jsonl", EVENTS)):
        (tmp_path / name).write_text(text)
    return tmp_path


def made(truth=True, events=()):
    """Ten images in two batches of five: the first adapts, the second serves."""
    teacher = np.array([1, 2, 3, 1, 2, 3, 1, 2, 3, 1])
    by_student = np.array([0, 0, 0, 0, 0, 1, 0, 1, 0, 1], bool)
    label = teacher.copy()
    label[5] = 1  # the student's one mistake, about which the teacher is wrong too
    return Record(
        image=np.arange(10),
        phase=np.repeat([0, 1], 5),
        is_serving=np.repeat([False, True], 5),
        label=label,
        by_student=by_student,
        promised=np.arange(10) != 7,
        score=np.zeros(10, np.float32),
        asked=~by_student,
        teacher=teacher if truth else np.where(by_student, -1, teacher),
        raw=np.append(teacher[:-1], 2) if truth else np.where(by_student, -1, teacher),
        truth=np.array([1, 2, 3, 1, 1, 1, 1, 2, 3, 1]) if truth else np.full(10, -1),
        work_image=np.array([4, 9]),
        counts=np.array([[0, 0, 0, 5, 4, 4, 2], [5, 1, 1, 5, 4, 4, 2]], float),
        events=[{"image": image, "event": event} for image, event in events],
    )


# --- Reading ---------------------------------------------------------------------------------------------------------


def test_a_record_is_read_as_it_was_written(run):
    record = read_record(run)
    assert record.image.tolist() == [0, 1, 3, 4]
    assert record.phase.tolist() == [0, 0, 0, 1]
    assert record.is_serving.tolist() == [False, False, True, True]
    assert record.label.tolist() == [7, 7, 8, 9]
    assert record.by_student.tolist() == [False, False, True, False]
    assert record.promised.tolist() == [True, True, False, True]
    np.testing.assert_array_equal(record.score, np.array([np.nan, np.nan, 0.25, -1.5], np.float32))
    assert record.asked.tolist() == [True, True, False, True]
    assert record.teacher.tolist() == [7, 7, 9, 9]
    assert record.raw.tolist() == [6, 7, 9, 9]
    assert record.truth.tolist() == [7, 8, 8, 9]
    assert record.work_image.tolist() == [1, 4]
    assert record.counts.tolist() == [[0, 0, 0, 2, 64, 64, 5], [2, 1, 0, 2, 64, 64, 5]]
    assert [event["event"] for event in record.events] == ["begin", "change"]


@pytest.mark.parametrize("cut", range(1, 18))
def test_a_line_that_was_cut_off_is_dropped(run, cut):
    for name in ("answers.csv", "work.csv", "events.jsonl"):
        path = run / name
        path.write_text(path.read_text()[:-1][: -(cut - 1) or None])
    record = read_record(run)
    assert record.image.tolist() == [0, 1, 3]
    assert record.work_image.tolist() == [1]
    assert len(record.events) == 1


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("answers.csv", "image,label\n0,1\n", "begins with 'image,label': expected image,phase,state"),
        ("answers.csv", "", "begins with 'nothing'"),
        ("work.csv", WORK.splitlines()[0] + "\n", "holds no images yet"),
        ("answers.csv", ANSWERS.replace("-1.5", "high"), "not as a stream writes it .*high"),
        ("events.jsonl", "{'image'}\n", "not as a stream writes it"),
    ],
)
def test_what_is_no_record_is_said_so(run, name, text, message):
    (run / name).write_text(text)
    with pytest.raises(UserError, match=message):
        read_record(run)


def test_a_folder_without_a_record(tmp_path):
    with pytest.raises(UserError, match=r"cannot read .*answers\.csv: expected the folder of a run of stream"):
        read_record(tmp_path)


# --- Figures ---------------------------------------------------------------------------------------------------------


def test_a_summary_by_hand():
    # Work while adapting: 500 for labels, 400 once more, 3 * 4 * 10 + 2 * 10 for training; while serving: 5 + 200.
    found = summary(made(), FLOPS)
    assert found.answered == 10
    assert found.accuracy == pytest.approx(0.9)
    assert found.accuracy_teacher == pytest.approx(0.8)
    assert found.accuracy_raw_teacher == pytest.approx(0.7)
    assert found.agreement == pytest.approx(0.9)
    assert found.serving == pytest.approx(0.5)
    assert found.deferral_rate == pytest.approx(0.4)
    assert found.unpromised == pytest.approx(0.2)
    assert found.gie == pytest.approx(1 - 205 / 500)
    assert found.gie_total == pytest.approx(1 - (1040 + 205) / 1000)
    assert found.gie_total_off_device == pytest.approx(1 - (500 + 205) / 1000)


def test_a_stretch_that_only_adapts_has_no_gie_of_serving():
    found = summary(made(), FLOPS, 0, 5)
    assert (found.serving, found.gie, found.deferral_rate, found.unpromised) == (0.0, None, None, None)
    assert found.gie_total == pytest.approx(1 - 1040 / 500)
    assert found.gie_total_off_device == pytest.approx(0)


def test_a_border_inside_a_batch_shares_its_work():
    # Two of the five served images: 2/5 of the work of their batch.
    assert summary(made(), FLOPS, 5, 7).gie_total == pytest.approx(1 - 205 * 2 / 5 / 200)


@pytest.mark.parametrize("border", range(1, 10))
def test_the_parts_add_up_to_the_whole(border):
    parts = [summary(made(), FLOPS, 0, border), summary(made(), FLOPS, border)]
    whole = summary(made(), FLOPS)
    for name in ("gie_total", "gie_total_off_device", "accuracy", "serving"):
        assert sum(part.answered * getattr(part, name) for part in parts) == pytest.approx(10 * getattr(whole, name))


def test_without_labels_agreement_is_not_claimed():
    # The teacher is known for the images that it answered: it would agree with itself.
    found = summary(made(truth=False), FLOPS)
    assert (found.accuracy, found.accuracy_teacher, found.accuracy_raw_teacher, found.agreement) == (None,) * 4
    assert found.gie == summary(made(), FLOPS).gie


def test_a_stretch_beyond_the_record_is_empty():
    assert summary(made(), FLOPS, 10, 20).answered == 0


def test_the_teacher_alone_saves_nothing():
    found = summary(teacher_alone(made()), FLOPS)
    assert (found.accuracy, found.agreement, found.gie) == (pytest.approx(0.8), 1.0, None)
    assert (found.gie_total, found.gie_total_off_device) == (0.0, 0.0)


def test_the_gie_so_far_ends_at_the_total():
    for on_device, name in ((True, "gie_total"), (False, "gie_total_off_device")):
        so_far = gie_total_so_far(made(), FLOPS, on_device)
        ends = [getattr(summary(made(), FLOPS, 0, stop), name) for stop in (5, 10)]
        np.testing.assert_allclose(so_far, ends, atol=1e-12)


# --- Adapting --------------------------------------------------------------------------------------------------------


def test_break_even_is_where_the_total_is_zero():
    (found,) = stretches(made(), FLOPS)
    assert (found.first, found.images, found.served) == (0, 5, 5)
    assert found.training_flops == 540
    assert found.gie == pytest.approx(0.59)
    assert found.break_even == pytest.approx(540 / 59)
    assert found.break_even_off_device == 0
    # Adapting and so many images served as here cost what the teacher alone would.
    assert 1040 + found.break_even * 205 / 5 == pytest.approx((5 + found.break_even) * 100)


def test_where_all_is_deferred_training_never_pays():
    record = dataclasses.replace(made(), asked=np.ones(10, bool))
    (found,) = stretches(record, FLOPS)
    assert found.gie < 0
    assert found.break_even == found.break_even_off_device == np.inf


def test_a_stretch_after_which_nothing_was_served():
    record = dataclasses.replace(made(), is_serving=np.array([False] * 3 + [True] * 4 + [False] * 3))
    first, second = stretches(record, FLOPS)
    assert (first.first, first.images, first.served) == (0, 3, 4)
    assert (second.first, second.images, second.served) == (7, 3, 0)
    assert (second.gie, second.break_even, second.break_even_off_device) == (None, None, None)


def test_states_cover_every_row_once():
    rng = np.random.default_rng(0)
    is_serving = rng.random(50) < 0.5
    record = dataclasses.replace(made(), image=np.arange(50), is_serving=is_serving)
    found = states(record)
    assert np.concatenate([np.full(rows.stop - rows.start, state) for state, rows in found]).tolist() == (
        is_serving.tolist()
    )
    assert all(one != other for (one, _), (other, _) in pairwise(found))


# --- Changes ---------------------------------------------------------------------------------------------------------

PHASES = [
    {"name": "zoo", "start": 0, "images": 10_000, "change": 0},
    {"name": "street", "start": 10_000, "images": 10_000, "change": 0},
    {"name": "garden", "start": 20_000, "images": 10_000, "change": 1000},
    {"name": "zoo", "start": 30_000, "images": 10_000, "change": 0},
]


def eventful(*events, last=39_999):
    return dataclasses.replace(made(events=events), image=np.linspace(0, last, 10).astype(int))


def test_changes_by_hand():
    record = eventful(
        (3000, "threshold"),
        (10_240, "change"),
        (12_800, "threshold"),
        (29_999, "change"),
        (30_064, "reuse"),
        (30_300, "change"),
        (33_000, "threshold"),
    )
    street, garden, zoo = borders(record, PHASES)
    assert (street.name, street.start, street.change) == ("street", 10_000, 0)
    assert (street.noticed_after, street.serving_after, street.by_reuse) == (240, 2800, False)
    assert (garden.noticed_after, garden.serving_after, garden.by_reuse) == (9999, None, None)
    assert (zoo.noticed_after, zoo.serving_after, zoo.by_reuse) == (300, 64, True)


def test_what_was_not_noticed():
    (street, *_) = borders(eventful((3000, "threshold"), (4000, "change")), PHASES)
    assert (street.noticed_after, street.serving_after, street.by_reuse) == (None, None, None)


def test_borders_that_the_stream_has_not_come_to():
    assert [border.name for border in borders(eventful(last=25_000), PHASES)] == ["street", "garden"]
    assert borders(eventful(), []) == ()


@pytest.mark.parametrize(
    ("images", "false"),
    [
        ([10_000], []),
        ([9999], [9999]),
        ([19_000], []),  # late, but the first
        ([10_100, 11_999], []),
        ([10_100, 12_000], [12_000]),
        ([20_100, 22_999], []),  # the prior moves over 1,000 images
        ([20_100, 23_000, 24_000], [23_000, 24_000]),
        ([500, 30_000, 39_000], [500, 39_000]),
    ],
)
def test_false_alarms_by_hand(images, false):
    assert false_alarms(eventful(*((image, "change") for image in images)), PHASES) == false


def test_without_phases_no_alarm_is_known_to_be_false():
    assert false_alarms(eventful((500, "change")), []) == []


# --- Along the stream ------------------------------------------------------------------------------------------------


def test_rolling_shares_by_hand():
    hits = np.array([1, 0, 1, 1, 0], bool)
    counted = np.array([1, 1, 0, 1, 0], bool)
    np.testing.assert_array_equal(rolling_share(hits, counted, 2), [1, 0.5, 0, 1, 1])


@pytest.mark.parametrize("window", [1, 7, 50, 500])
def test_rolling_shares_are_those_of_a_loop(window):
    rng = np.random.default_rng(window)
    hits, counted = rng.random(300) < 0.3, rng.random(300) < 0.5
    expected = []
    for end in range(1, 301):
        seen = slice(max(0, end - window), end)
        few = counted[seen].sum() < max(1, window / 10)
        expected.append(np.nan if few else hits[seen][counted[seen]].mean())
    np.testing.assert_allclose(rolling_share(hits, counted, window), expected)


# --- Written down ----------------------------------------------------------------------------------------------------


def test_figures_are_json_without_infinity():
    record = dataclasses.replace(made(events=[(5, "change")]), asked=np.ones(10, bool))
    phases = [{"name": "a", "start": 0, "images": 5, "change": 0}, {"name": "b", "start": 5, "images": 5, "change": 2}]
    found = json.loads(json.dumps(as_figures(record, {**RESULT, "phases": phases}), allow_nan=False))
    assert found["total"]["answered"] == 10
    assert [(one["name"], one["answered"], one["gie"]) for one in found["by_phase"]] == [
        ("a", 5, None),
        ("b", 5, pytest.approx(-0.01)),
    ]
    assert found["borders"] == [
        {"name": "b", "start": 5, "change": 2, "noticed_after": 0, "serving_after": None, "by_reuse": None}
    ]
    assert found["stretches"][0]["break_even"] is None
    assert found["spent"]["trained"] == {"images": 4, "flops": 120}
    assert sum(one["flops"] for one in found["spent"].values()) == 1245
    # These names are the result's own, and would be lost.
    assert not set(found) & {"images", "phases", "work", "settings", "class_names", "unreadable", "repeats"}


# --- The teacher alone -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("events", "images"),
    [
        ((), 0),
        (((2, "alone"),), 7),
        (((2, "alone"), (4, "postponed"), (6, "threshold")), 4),
        (((1, "alone"), (3, "change"), (5, "alone")), 6),
    ],
)
def test_images_that_the_teacher_answered_alone_last_until_something_else_comes_of_it(events, images):
    record = made(events=events)
    assert images_alone(record) == images
    assert as_figures(record, RESULT)["images_alone"] == images
