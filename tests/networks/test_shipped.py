"""Shipped networks: packed and loaded again they are the same, and each comes with a card."""

import json

import numpy as np
import pytest
import tensorflow as tf

from envise_tf.errors import UserError
from envise_tf.images.digits import Digits
from envise_tf.networks import shipped
from envise_tf.networks.shipped import card, pack, shipped_names, shipped_network
from envise_tf.networks.students import residual_student
from envise_tf.networks.teachers import wide_resnet

pytestmark = pytest.mark.slow

SHIPPED = [(name, kind) for kind in ("teacher", "student") for name in shipped_names(kind)]
SETTINGS = {
    "source": "digits",
    "protocol": "disjoint",
    "windows": 3,
    "window": 64,
    "precision": "float32",
    "seed": 1,
    "out": "runs/x",
}
ARCHITECTURES = {
    "teacher": {"network": "wide_resnet", "size": 8, "classes": 4, "depth": 10, "width": 1},
    "student": {
        "network": "residual_student",
        "size": 8,
        "classes": 4,
        "widths": [32],
        "blocks": [1],
        "binary": True,
    },
}


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """An empty folder of weights in place of the package's."""
    folder = tmp_path / "weights"
    folder.mkdir()
    monkeypatch.setattr(shipped, "_folder", lambda: folder)
    return folder


def load_run(folder, kind, architecture=None):
    tf.keras.utils.set_random_seed(3)
    model = wide_resnet(8, 4, 10, 1) if kind == "teacher" else residual_student(8, 4, (32,), (1,))
    folder.mkdir()
    model.save(folder / f"{kind}.keras")
    result = {"accuracy": 0.5, "architecture": architecture or ARCHITECTURES[kind], "settings": SETTINGS}
    (folder / "result.json").write_text(json.dumps(result))
    return model


@pytest.mark.parametrize("kind", ["teacher", "student"])
def test_a_packed_network_is_the_same_up_to_half_precision(weights, tmp_path, kind):
    model = load_run(tmp_path / "run", kind)
    assert pack(tmp_path / "run", "tiny") == weights / f"tiny.{kind}.json"
    assert shipped_names(kind) == ["tiny"]
    loaded = shipped_network("tiny", kind)
    for ours, theirs in zip(loaded.get_weights(), model.get_weights(), strict=True):
        assert ours.dtype == np.float32
        np.testing.assert_array_equal(ours, theirs.astype(np.float16))
    images = np.random.default_rng(1).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    logits = model(images).numpy()
    np.testing.assert_allclose(loaded(images), logits, atol=0.01 * np.abs(logits).max())


@pytest.mark.parametrize(("kind", "flag"), [("teacher", ""), ("student", "--student ")])
def test_a_card_says_how_the_network_was_made(weights, tmp_path, kind, flag):
    load_run(tmp_path / "run", kind)
    pack(tmp_path / "run", "tiny")
    assert card("tiny", kind) == {
        "command": f"python -m envise_tf.teach {flag}--preset tiny",
        "source": "digits",
        "protocol": "disjoint",
        "windows": 3,
        "window": 64,
        "precision": "float32",
        "seed": 1,
        "accuracy": 0.5,
        "architecture": ARCHITECTURES[kind],
    }


def test_a_run_that_is_not_finished_is_refused(weights, tmp_path):
    load_run(tmp_path / "run", "teacher")
    (tmp_path / "run" / "result.json").unlink()
    for folder in (tmp_path / "run", tmp_path / "nowhere"):
        with pytest.raises(UserError, match="holds no finished run of teach"):
            pack(folder, "tiny")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"network": "MobileNetV2"},
            "holds a MobileNetV2: only efficientnet_lite, residual_student, wide_resnet are shipped",
        ),
        ({"width": 2}, "holds another network than its settings say"),
    ],
)
def test_a_network_that_could_not_be_built_again_is_refused(weights, tmp_path, change, message):
    load_run(tmp_path / "run", "teacher", ARCHITECTURES["teacher"] | change)
    with pytest.raises(UserError, match=message):
        pack(tmp_path / "run", "tiny")
    assert list(weights.iterdir()) == []


def test_an_unknown_name_is_refused_with_the_nearest():
    for function in (card, shipped_network):
        with pytest.raises(UserError, match="no teacher is shipped as digits-disjiont: nearest: digits-disjoint"):
            function("digits-disjiont", "teacher")


@pytest.mark.parametrize(("name", "kind"), SHIPPED)
def test_every_shipped_network_loads_and_its_card_is_complete(name, kind):
    made = card(name, kind)
    network = shipped_network(name, kind)
    flag = "--student " if kind == "student" else ""
    assert made["command"] == f"python -m envise_tf.teach {flag}--preset {name}"
    assert made["protocol"] in ("disjoint", "shared")
    assert network.count_params() == made["parameters"]
    assert network.output_shape == (None, len(made["class_names"]))
    assert all(np.isfinite(weight).all() for weight in network.get_weights())
    for key in ("seed", "versions", "git_commit", "machine", "date"):
        assert key in made


def test_the_shipped_digits_teacher_is_as_accurate_as_its_card_says():
    batch = next(iter(Digits().examples("test").batch(500)))
    answers = shipped_network("digits-disjoint", "teacher")(batch["image"], training=False).numpy().argmax(axis=1)
    accuracy = (answers == batch["label"].numpy()).mean()
    assert accuracy == pytest.approx(card("digits-disjoint", "teacher")["accuracy"], abs=0.006)
