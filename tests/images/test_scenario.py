import os
import re
import zipfile
from pathlib import Path

import pytest

import envise_tf.images.scenario as scenario_module
from envise_tf.errors import UserError
from envise_tf.images.digits import Digits
from envise_tf.images.scenario import Scenario, class_groups, load_scenario
from envise_tf.images.tiny_imagenet import ARCHIVE, class_names

CLASSES = ("apple", "bus", "cat", "dog", "elm")
CIFAR = tuple(sorted(name for members in class_groups("cifar100").values() for name in members))
SHIPPED = sorted(path.stem for path in (Path(scenario_module.__file__).parent / "scenarios").glob("*.yaml"))
CIFAR_SCENARIOS = [name for name in SHIPPED if name.startswith("cifar100-")]
TINY_SCENARIOS = [name for name in SHIPPED if name.startswith("tiny-imagenet-")]


def write(folder: Path, **changes) -> str:
    fields = {"source": "farm", "reason": "Because.", "inlier": "[dog, apple]", "outlier": "[cat]"} | changes
    path = folder / "farm.yaml"
    path.write_text("".join(f"{key}: {value}\n" for key, value in fields.items() if value is not None))
    return str(path)


def message(path: str, classes=CLASSES) -> str:
    with pytest.raises(UserError) as caught:
        load_scenario(path, classes)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_scenario_comes_in_label_order_and_the_rest_is_absent(tmp_path):
    expected = Scenario("farm", "farm", "Because.", ("apple", "dog"), ("cat",), ("bus", "elm"))
    assert load_scenario(write(tmp_path), CLASSES) == expected
    assert load_scenario(write(tmp_path, absent="rest"), CLASSES) == expected
    assert load_scenario(write(tmp_path, absent="[elm, bus]"), CLASSES) == expected


def test_labels_are_the_indices_of_the_class_names(tmp_path):
    scenario = load_scenario(write(tmp_path), CLASSES)
    assert scenario.labels("inlier", CLASSES) == (0, 3)
    assert scenario.labels("outlier", CLASSES) == (2,)
    assert scenario.labels("absent", CLASSES) == (1, 4)


def test_superclasses_stand_for_their_classes(tmp_path):
    path = write(tmp_path, source="cifar100", inlier="[trees, bee]", outlier="[people, bear]")
    scenario = load_scenario(path, CIFAR)
    assert scenario.inlier == ("bee", "maple_tree", "oak_tree", "palm_tree", "pine_tree", "willow_tree")
    assert scenario.outlier == ("baby", "bear", "boy", "girl", "man", "woman")
    assert len(scenario.absent) == 100 - 6 - 6


def test_unknown_classes_are_named_with_the_nearest(tmp_path):
    told = message(write(tmp_path, outlier="[buss, yak]"))
    assert "buss, yak in 'outlier'" in told
    assert "nearest: bus" in told


def test_a_class_in_two_sets_is_named_with_the_sets(tmp_path):
    assert "dog in both 'inlier' and 'outlier'" in message(write(tmp_path, outlier="[dog]"))
    assert "cat in both 'outlier' and 'absent'" in message(write(tmp_path, absent="[cat]"))
    by_group = write(tmp_path, source="cifar100", inlier="[trees]", outlier="[oak_tree]")
    assert "oak_tree in both" in message(by_group, CIFAR)


def test_an_explicit_absent_set_must_be_complete(tmp_path):
    assert "leaves out elm: put them in a set or write 'absent: rest'" in message(write(tmp_path, absent="[bus]"))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"inlier": "[]"}, "inlier is [], expected a list of at least one class name"),
        (
            {"reason": None, "outlier": None},
            "reason, outlier missing, expected the keys source, reason, inlier, outlier, absent",
        ),
        ({"outliers": "[bus]"}, "unknown key 'outliers'; nearest: outlier"),
        ({"inlier": "apple"}, "inlier is 'apple', expected a list"),
        ({"inlier": "[no]"}, "inlier[0] is False, expected a class name, in quotes"),
        ({"outlier": "rest"}, "outlier is 'rest', expected a list of class names"),
        ({"source": "3"}, "source is 3, expected some text"),
        ({"reason": ""}, "reason is None, expected some text"),
    ],
)
def test_a_wrong_file_is_a_user_error(tmp_path, changes, told):
    assert told in message(write(tmp_path, **changes))


@pytest.mark.parametrize(
    ("text", "told"),
    [("a: [", "not YAML at line"), ("- a\n", "['a'], expected the keys source"), ("", "None, expected the keys")],
)
def test_what_is_no_mapping_is_a_user_error(tmp_path, text, told):
    path = tmp_path / "x.yaml"
    path.write_text(text)
    assert told in message(str(path))


def test_unknown_names_and_paths_are_user_errors(tmp_path):
    assert "nearest: cifar100-zoo" in message("cifar100-zo")
    assert "cannot read the scenario " in message(str(tmp_path / "nowhere.yaml"))
    assert "cannot read the scenario " in message(str(tmp_path))
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\xfa")
    assert "not UTF-8" in message(str(binary))


def test_an_unlabelled_source_has_no_scenario(tmp_path):
    assert "choose a labelled source" in message(write(tmp_path), ())


def test_the_superclasses_are_20_times_5_classes():
    assert len(class_groups("cifar100")) == 20
    assert all(len(members) == 5 for members in class_groups("cifar100").values())
    assert len(set(CIFAR)) == 100
    assert class_groups("farm") == {}


def test_the_superclasses_are_those_of_the_prepared_set():
    prepared = Path(os.environ.get("TFDS_DATA_DIR", "nowhere")) / "cifar100/3.0.2"
    if not prepared.is_dir():
        pytest.skip("CIFAR-100 is not prepared: set TFDS_DATA_DIR")
    assert set(CIFAR) == set((prepared / "label.labels.txt").read_text().split())
    assert set(class_groups("cifar100")) == set((prepared / "coarse_label.labels.txt").read_text().split())


def test_the_shipped_scenarios_are_listed():
    assert len(CIFAR_SCENARIOS) >= 6
    assert len(TINY_SCENARIOS) >= 3
    assert sorted([*CIFAR_SCENARIOS, *TINY_SCENARIOS, "digits"]) == SHIPPED


@pytest.mark.parametrize("name", CIFAR_SCENARIOS)
def test_shipped_cifar_scenarios_fit(name):
    scenario = load_scenario(name, CIFAR)
    assert scenario.source == "cifar100"
    assert 15 <= len(scenario.inlier) <= 25
    assert 5 <= len(scenario.outlier) <= 15
    assert len(scenario.inlier) + len(scenario.outlier) + len(scenario.absent) == 100
    assert re.fullmatch(r"[A-Z][^\n.]+\.", scenario.reason)  # one sentence


def test_the_zoo_has_twenty_animals_and_ten_vehicles():
    zoo = load_scenario("cifar100-zoo", CIFAR)
    assert len(zoo.inlier) == 20
    assert {"lion", "elephant", "fox", "snake"} <= set(zoo.inlier)
    assert len(zoo.outlier) == 10
    assert {"bus", "tractor"} <= set(zoo.outlier)


def test_the_shipped_digits_scenario_fits():
    digits = load_scenario("digits", Digits.class_names)
    assert digits.labels("inlier", Digits.class_names) == (0, 1, 2, 3, 4, 5, 6)
    assert digits.labels("outlier", Digits.class_names) == (7, 8, 9)
    assert digits.absent == ()


def tiny_imagenet_archive() -> Path | None:
    beside = Path(os.environ.get("TFDS_DATA_DIR", "nowhere")).parent / "datasets" / ARCHIVE
    path = Path(os.environ.get("ENVISE_TINY_IMAGENET_ZIP", beside))
    return path if path.is_file() else None


@pytest.mark.parametrize("name", TINY_SCENARIOS)
def test_shipped_tiny_imagenet_scenarios_fit(name):
    path = tiny_imagenet_archive()
    if path is None:
        pytest.skip("no tiny-imagenet-200.zip: set ENVISE_TINY_IMAGENET_ZIP")
    with zipfile.ZipFile(path) as archive:
        names = tuple(class_names(archive).values())
    scenario = load_scenario(name, names)
    assert scenario.source == "tiny_imagenet"
    assert len(scenario.inlier) >= 10
    assert len(scenario.outlier) >= 5
    assert re.fullmatch(r"[A-Z][^\n.]+\.", scenario.reason)
