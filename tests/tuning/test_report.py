"""The report of a sweep as its reader opens it: the page in headless Chromium, the files with what reads them."""

import csv
import dataclasses
import math
import random
import re
import warnings

import pytest
import yaml
from made_up_trials import record, sweep_records
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata
from tensorboard.util import tensor_util

from envise_tf.run import Run
from envise_tf.settings import SweepSettings, TrainSettings, parsed
from envise_tf.tuning.ranking import best_trial, ranked
from envise_tf.tuning.report import write_sweep_report
from envise_tf.tuning.space import Choices, Range, Space, load_space
from envise_tf.tuning.trials import BASELINE

pytestmark = pytest.mark.slow

SETTINGS = SweepSettings(trials=23, windows=10)
ONE = Space("one", {"learning_rate": Range(0.0003, 0.01, "log")})


def written(folder, records, space=ONE, settings=SETTINGS):
    """The folder of a sweep with its report; no warning on the way."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_sweep_report(Run(folder), settings, space, records)
    return folder


def page_text(folder):
    return (folder / "sweep.html").read_text()


def headline(folder):
    return re.search(r'<p class="lead">(.*?)</p>', page_text(folder))[1]


def headings(folder):
    return re.findall("<h2>(.*?)</h2>", page_text(folder))


def tables(page):
    return page.execute_script(
        "return [...document.querySelectorAll('table')].map(table =>"
        " [...table.rows].map(row => [...row.cells].map(cell => cell.innerText)))"
    )


def rows_of(folder):
    with (folder / "sweep.csv").open(newline="") as file:
        return {row["trial"]: row for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def trials():
    found = sweep_records(23)
    random.Random(0).shuffle(found)  # as several workers leave them
    return found


@pytest.fixture(scope="module")
def sweep(tmp_path_factory, trials):
    return written(tmp_path_factory.mktemp("sweeps") / "sweep", trials, load_space("distillation"))


# --- The page --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [390, 1280], ids=["phone", "screen"])
def test_the_page_fits_and_every_image_is_there(opened_at, assert_page_is_whole, sweep, width):
    page = opened_at(sweep / "sweep.html", width)
    assert_page_is_whole(page, least=4)
    sizes = page.execute_script(
        "return [...document.querySelectorAll('p, td')].map(e => parseFloat(getComputedStyle(e).fontSize))"
    )
    assert min(sizes) >= 12
    widths = page.execute_script("return [...document.images].map(image => image.width)")
    assert min(widths) >= 340


def test_a_phone_gets_parallel_coordinates_of_its_own(opened_at, sweep):
    shape = "const image = document.querySelector('.wide img'); return image.width / image.height"
    assert opened_at(sweep / "sweep.html", 390).execute_script(shape) < 1
    assert opened_at(sweep / "sweep.html", 1280).execute_script(shape) > 2


def test_the_page_is_one_file(sweep):
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page_text(sweep))
    assert "<script" not in page_text(sweep)


def test_all_trials_are_in_the_table_the_best_first(opened_at, sweep, trials):
    page = opened_at(sweep / "sweep.html", 1280)
    table, reasons = tables(page)[-2:]
    full = sorted((one for one in trials if one.windows == 10), key=lambda one: -one.figures["gie"])
    shown = [row[0].removesuffix(" (baseline)") for row in table[1:]]
    assert shown[: len(full)] == [one.trial for one in full]
    assert sorted(shown) == sorted(one.trial for one in trials)
    assert table[0][:7] == ["trial", "status", "GiE", "AUROC", "agreement", "windows", "minutes"]
    assert table[0][9] == "soft_label.weight"
    best = full[0]
    assert table[1][:3] == [best.trial, "completed", f"{100 * best.figures['gie']:.1f} %"]
    assert [float(cell) for cell in table[1][7:13]] == list(best.values.values())[:6]
    assert [row[1] for row in table[-2:]] == ["failed", "failed"]
    assert table[-1][2:5] == ["-", "-", "-"]
    assert ["17", "failed", "2", "loss became infinite in window 3"] in reasons
    assert len(reasons) == 1 + 2 + 3
    chosen = page.execute_script(
        "return [...document.querySelectorAll('tr.chosen')].map(row => row.cells[0].innerText)"
    )
    assert chosen == [best.trial]


def test_the_best_settings_beside_the_presets(opened_at, sweep, trials):
    table = tables(opened_at(sweep / "sweep.html", 1280))[0]
    best = best_trial(trials, "gie")
    rows = {row[0]: row[1:] for row in table}
    assert rows["learning_rate"] == [f"{best.values['learning_rate']:g}", "0.002", "0.0003 to 0.01, log"]
    assert rows["attention_triplet.anchor"][1:] == ["student", "student, teacher"]


def test_the_headline_says_by_how_much_the_preset_was_beaten(sweep, trials):
    best = best_trial(trials, "gie")
    gie = best.figures["gie"]
    assert headline(sweep) == (
        "23 of 23 trials ended: 18 completed, 3 stopped, 2 failed. "
        f"Trial {best.trial} is best, with GiE {100 * gie:.1f} %; "
        f"the preset has 55.0 %, {100 * (gie - 0.55):.1f} points less."
    )
    assert "The winner of 21 had more luck than most, so it looks better than it is." in page_text(sweep)
    assert "from one training with seed 0, so it has no standard error" in page_text(sweep)


@pytest.mark.parametrize("gie", [0.4, 0.5], ids=["below", "equal"])
def test_the_headline_says_when_the_preset_was_not_beaten(tmp_path, gie):
    written(tmp_path, [record("0", gie), record(BASELINE, 0.5)])
    assert headline(tmp_path).endswith(
        f"No trial beat the preset, which has GiE 50.0 %; trial 0 came nearest, with {100 * gie:.1f} %."
    )


def test_figures_after_fewer_windows_are_told_from_those_after_all(tmp_path):
    written(tmp_path, [record("0", 0.6, windows=3), record(BASELINE, 0.5)])
    assert headline(tmp_path).endswith("But it had 3 windows, the preset 10.")


def test_auroc_is_no_percentage(tmp_path):
    records = [record("0", figures={"gie": 0.1, "auroc": 0.875, "agreement": 0.5}), record(BASELINE)]
    written(tmp_path, records, settings=dataclasses.replace(SETTINGS, objective="auroc"))
    assert "with AUROC 0.875; the preset has 0.700, 0.175 less." in headline(tmp_path)


def test_importance_needs_enough_trials(sweep, tmp_path):
    assert "Too few trials: at least 15" in page_text(written(tmp_path, sweep_records(12)))
    assert "Too few trials" not in page_text(sweep)
    assert "one more feature" in page_text(sweep)
    assert "settings of 21 students" in page_text(sweep)


# --- Few trials, or none ---------------------------------------------------------------------------------------------


def test_without_trials(tmp_path, opened_at, assert_page_is_whole):
    written(tmp_path, [])
    assert headline(tmp_path) == "No trial has ended yet."
    assert headings(tmp_path) == ["Settings"]
    assert rows_of(tmp_path) == {}
    assert not (tmp_path / "best.yaml").exists()
    assert_page_is_whole(opened_at(tmp_path / "sweep.html", 390), least=0)


def test_with_the_baseline_only(tmp_path):
    written(tmp_path, [record(BASELINE)])
    assert headline(tmp_path) == "No trial has ended yet."
    assert headings(tmp_path) == ["All trials", "Settings"]
    assert not (tmp_path / "best.yaml").exists()


def test_with_failed_trials_only(tmp_path):
    written(tmp_path, [record("0", None), record("1", None, curve=[0.3]), record(BASELINE, None)])
    assert headline(tmp_path) == "2 of 23 trials ended: 2 failed. None of them has a figure."
    assert headings(tmp_path) == ["All trials", "Settings"]
    assert "loss nan in window 2" in page_text(tmp_path)
    assert not (tmp_path / "best.yaml").exists()


def test_with_one_trial_of_one_setting(tmp_path, opened_at, assert_page_is_whole):
    written(tmp_path, [record("0", windows=1)])
    assert headline(tmp_path).endswith("Trial 0 is best, with GiE 50.0 %. The preset has no figure to compare with.")
    assert "The winner" not in page_text(tmp_path)
    for width in (390, 1280):
        assert_page_is_whole(opened_at(tmp_path / "sweep.html", width), least=3)


def test_stopped_trials_alone_give_no_settings(tmp_path):
    written(tmp_path, [record("0", status="stopped", reason="hopeless")])
    assert "Trial 0 is best" in headline(tmp_path)
    assert not (tmp_path / "best.yaml").exists()
    assert "best.yaml" not in page_text(tmp_path)


def test_a_figure_without_a_value_is_a_gap(tmp_path):
    written(tmp_path, [record("0", figures={"gie": 0.5, "auroc": math.nan, "agreement": 1.0})])
    assert rows_of(tmp_path)["0"]["auroc"] == ""
    assert "nan" not in page_text(tmp_path).split("<h2>All trials</h2>")[1].split("<h2>")[0]


def test_a_baseline_outside_the_space_is_shown(tmp_path):
    space = Space("two", {"objectives.hard_label.weight": Range(0.5, 2.0), "blocks": Choices(((2, 2), (4, 4)))})
    own = {"objectives.hard_label.weight": 1.0, "blocks": [2, 2]}
    records = [record(BASELINE, values={"objectives.hard_label.weight": None, "blocks": (4, 4, 4)})]
    written(tmp_path, [*records, record("0", values=own)], space)
    assert rows_of(tmp_path)[BASELINE]["objectives.hard_label.weight"] == ""
    assert rows_of(tmp_path)[BASELINE]["blocks"] == "[4, 4, 4]"
    assert "<td>hard_label.weight</td><td>1</td><td>-</td><td>0.5 to 2</td>" in page_text(tmp_path)


# --- The best trial --------------------------------------------------------------------------------------------------


def test_the_first_of_equal_trials_is_best():
    records = [record("10", 0.6), record("9", 0.6), record("8", 0.5), record(BASELINE, 0.9)]
    assert best_trial(records, "gie").trial == "9"


def test_a_trial_with_fewer_windows_is_best_only_while_none_has_more():
    rungs = [record("0", 0.7, windows=3), record("1", 0.6, windows=3)]
    assert best_trial(rungs, "gie").trial == "0"
    records = [*rungs, record("2", 0.5, windows=9), record("3", 0.9, windows=5, status="stopped"), record("4", None)]
    assert best_trial(records, "gie").trial == "2"
    assert [one.trial for one in ranked([record(BASELINE, 0.55, windows=9), *records], "gie")] == [
        BASELINE, "2", "3", "0", "1", "4",
    ]  # fmt: skip


# --- Files -----------------------------------------------------------------------------------------------------------


def test_the_table_has_a_row_a_trial(sweep, trials):
    rows = rows_of(sweep)
    assert list(rows) == [BASELINE, *(f"{number:02d}" for number in range(23))]
    for one in trials:
        row = rows[one.trial]
        assert (row["status"], row["reason"], int(row["windows"])) == (one.status, one.reason, one.windows)
        assert float(row["seconds"]) == one.seconds
        assert {name: float(row[name]) for name in one.figures} == one.figures
        for key, value in one.values.items():
            assert (row[key] if isinstance(value, str) else float(row[key])) == value
    assert rows["08"]["gie"] == ""
    assert list(rows["00"])[:6] == ["trial", "status", "gie", "auroc", "agreement", "windows"]


def test_train_takes_the_best_settings(tmp_path):
    space = Space(
        "all kinds",
        {
            "learning_rate": Range(0.0003, 0.01, "log"),
            "batch_size": Range(32, 128),
            "blocks": Choices(((2, 2, 2), (4, 4, 4))),
            "flip": Choices((False, True)),
            "mixup": Choices((0.0, 0.5)),
            "objectives.attention_triplet.anchor": Choices(("student", "teacher")),
            "objectives.hard_label.weight": Range(0.5, 2.0),
        },
    )
    values = dict(zip(space.dimensions, (0.00123457, 96, [2, 2, 2], True, 0.5, "teacher", 1.5), strict=True))
    settings = dataclasses.replace(SETTINGS, epsilon=0.2, out=str(tmp_path))
    written(tmp_path, [record("4", 0.6123, values=values), record(BASELINE, 0.5, values=values)], space, settings)
    text = (tmp_path / "best.yaml").read_text()
    found, _ = parsed(TrainSettings, "train", "", ["--config", str(tmp_path / "best.yaml")])
    assert found == TrainSettings(
        windows=10, epsilon=0.2, learning_rate=0.00123457, batch_size=96, blocks=(2, 2, 2), flip=True, mixup=0.5,
        objectives={
            "soft_label": {"weight": 1.0, "temperature": 2.0},
            "attention_triplet": {"weight": 1.0, "margin": 0.5, "anchor": "teacher"},
            "hard_label": {"weight": 1.5},
        },
    )  # fmt: skip
    assert sorted(yaml.safe_load(text)) == sorted(field.name for field in dataclasses.fields(TrainSettings))
    head = "".join(line for line in text.splitlines(keepends=True) if line.startswith("#"))
    assert text.startswith(head)
    for told in (f"sweep {tmp_path}: trial 4.", "gie 0.6123", "preset has gie 0.5000", "bayesian", "envise_tf.tuning"):
        assert told in head
    assert re.search(r"\d{4}-\d\d-\d\d", head)


def test_no_unfinished_file_stays(sweep):
    assert sorted(path.name for path in sweep.iterdir()) == ["best.yaml", "sweep.csv", "sweep.html", "tensorboard"]


# --- TensorBoard -----------------------------------------------------------------------------------------------------


def plugin_content(folder):
    events = EventAccumulator(str(folder)).Reload()
    return events, events.PluginTagToContent("hparams")


def test_tensorboard_knows_the_space(sweep):
    _, content = plugin_content(sweep / "tensorboard" / "space")
    told = metadata.parse_experiment_plugin_data(content[metadata.EXPERIMENT_TAG])
    space = load_space("distillation")
    assert [one.name for one in told.hparam_infos] == list(space.dimensions)
    rate = told.hparam_infos[list(space.dimensions).index("learning_rate")].domain_interval
    assert (rate.min_value, rate.max_value) == (0.0003, 0.01)
    assert [one.name.tag for one in told.metric_infos] == ["gie", "auroc", "agreement"]


def test_tensorboard_has_a_run_a_trial(sweep, trials):
    runs = {path.name for path in (sweep / "tensorboard").iterdir()}
    assert runs == {"space", *(one.trial for one in trials)}
    for one in trials[:6]:
        events, content = plugin_content(sweep / "tensorboard" / one.trial)
        told = metadata.parse_session_start_info_plugin_data(content[metadata.SESSION_START_INFO_TAG])
        assert told.group_name == one.trial
        values = {name: getattr(value, value.WhichOneof("kind")) for name, value in told.hparams.items()}
        assert values == one.values
        figures = {name: tensor_util.make_ndarray(events.Tensors(name)[0].tensor_proto) for name in one.figures}
        assert figures == pytest.approx(one.figures, rel=1e-6)


def test_a_trial_is_told_to_tensorboard_once(tmp_path):
    space = Space("one", {"blocks": Choices(((2, 2), (4, 4)))})
    first = record("0", values={"blocks": [2, 2]})
    written(tmp_path, [first], space)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.v2")}
    written(tmp_path, [first, record("1", values={"blocks": (4, 4)})], space)
    after = {path: path.read_bytes() for path in tmp_path.rglob("*.v2")}
    assert len(before) == 2
    assert len(after) == 3
    assert before.items() <= after.items()
