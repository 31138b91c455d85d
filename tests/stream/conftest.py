"""The run of a stream to report on."""

import json
from pathlib import Path
from typing import Any

import pytest

# --- A stream of four phases of 1,000 images, answered in batches of 50 -----------------------------------------------

FLOPS = {"student_flops": 1e6, "student_flops_as_float": 20e6, "teacher_flops": 100e6}
ADAPTING = ((0, 400), (1200, 1600), (2300, 2700), (3150, 3250))
EVENTS = (
    (0, "adapt", "begin", "the first image"),
    (350, "adapt", "threshold", "at most 10 % disagreement"),
    (1200, "serve", "change", "the mean deferral rose"),
    (1250, "adapt", "classes", "2 classes are frequent"),
    (1550, "adapt", "threshold", "at most 10 % disagreement"),
    (2300, "serve", "change", "the mean score rose"),
    (2650, "adapt", "threshold", "at most 10 % disagreement"),
    (3150, "serve", "change", "the mean <foreign> rose"),
    (3200, "adapt", "reuse", "an earlier student fits"),
)
POLICY = {"policy": "lifecycle", "epsilon": 0.1, "seed": 0}


def is_adapting(image: int) -> bool:
    return any(first <= image < stop for first, stop in ADAPTING)


def answer(image: int, has_labels: bool) -> tuple[Any, ...]:
    """The teacher is wrong about 10 %, as it came about 20 %, and gets 20 % deferred and 4 % audited.

    The student is wrong about 5 %.
    """
    adapting = is_adapting(image)
    truth = image % 4
    teacher = truth + 4 * (image % 10 == 0)
    asked = adapting or image % 5 == 0 or image % 25 == 1
    label = teacher if asked or image % 20 != 3 else 9
    score = "" if adapting else 0.5
    is_known = has_labels or asked
    raw = truth + 4 * (image % 5 == 0)
    known = (teacher if is_known else -1, raw if is_known else -1, truth if has_labels else -1)
    state = "adapt" if adapting else "serve"
    phase = image // 1000 if has_labels else -1
    return (image, phase, state, label, f"class {label}", int(not asked), 1, score, int(asked), *known, "")


def work(last: int) -> tuple[int, ...]:
    adapting = sum(map(is_adapting, range(last + 1)))
    served = [image for image in range(last + 1) if not is_adapting(image)]
    deferred, audited = (sum(image % n == rest for image in served) for n, rest in ((5, 0), (25, 1)))
    return (last, len(served), deferred, audited, adapting, adapting, adapting, 0)


def write_run(folder: Path, has_labels: bool = True) -> Path:
    folder.mkdir()
    answers = [answer(image, has_labels) for image in range(4000)]
    header = "image,phase,state,label,class,by_student,promised,score,asked,teacher,raw,truth,origin"
    (folder / "answers.csv").write_text("\n".join([header, *(",".join(map(str, row)) for row in answers), ""]))
    header = "image,student,deferred,audited,labelled,taught,trained,validated"
    rows = [",".join(map(str, work(last))) for last in range(49, 4000, 50)]
    (folder / "work.csv").write_text("\n".join([header, *rows, ""]))
    keys = ("image", "state", "event", "reason")
    events = [dict(zip(keys, event, strict=True)) for event in EVENTS]
    events[3]["classes"] = ["apple", "pear"]
    events[-1]["classes"] = [0]
    (folder / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    return folder


@pytest.fixture(scope="session")
def stream_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a simulated stream's record."""
    return write_run(tmp_path_factory.mktemp("simulated") / "run")


@pytest.fixture(scope="session")
def own_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the record of photographs without labels."""
    return write_run(tmp_path_factory.mktemp("own") / "run", has_labels=False)


@pytest.fixture(scope="session")
def stream_result() -> dict[str, Any]:
    """The result of the simulated stream, as far as a report needs it."""
    names = ("zoo", "street", "garden", "zoo")
    return {
        "settings": POLICY,
        "phases": [
            {"name": name, "start": 1000 * i, "images": 1000, "change": 200 * (i == 2)} for i, name in enumerate(names)
        ],
        "class_names": ["apple", "pear"],
        "work": FLOPS,
        "unreadable": 1,
        "seconds": 40.0,
        "images_per_second": 100.0,
        "repeats": 1000,
    }
