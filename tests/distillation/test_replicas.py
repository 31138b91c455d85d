"""Several replicas train the network that one trains: losses, batches, normalisation, lost workers, mistakes."""

import json
import random
import signal
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from commands import COMMAND, Python, signalled_at

from envise_tf.distillation.replicas import _shares
from envise_tf.distillation.synchronised import SynchronisedBatchNormalization
from envise_tf.images.digits import Digits
from envise_tf.images.windows import Augmentation, Stream
from envise_tf.train.__main__ import main

pytestmark = pytest.mark.slow

# The twin: where a student's value is next to zero, rounding decides its sign, and the curves part.
FLAGS = [
    *("--preset", "digits", "--windows", "2", "--window", "96", "--batch_size", "32", "--held_back", "70"),
    *("--widths", "[32]", "--blocks", "[1]", "--twin", "true", "--tensorboard", "false", "--evaluate", "false"),
]

# One process with two devices.
TWO_DEVICES = """
import sys
import envise_tf
import tensorflow as tf
device = tf.config.LogicalDeviceConfiguration()
tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], [device, device])
from envise_tf.teach import __main__ as teach
from envise_tf.train import __main__ as train
train.main(sys.argv[2:])
words = ["--source", "digits", "--window", "64", "--batch_size", "32", "--windows", "2", "--learning_rate", "0.01"]
for strategy in ("one", "mirrored"):
    teach.main([*words, "--strategy", strategy, "--out", f"{sys.argv[1]}/{strategy}"])
"""


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("alone") / "run"
    main([*FLAGS, "--out", str(run)])
    return run


def curves(run: Path) -> dict[str, list[float]]:
    entries = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return {name: [entry[name] for entry in entries] for name in entries[0] if name != "seconds"}


def assert_same_training(run: Path, expected: Path, network: str) -> None:
    one, other = curves(run), curves(expected)
    assert one.keys() == other.keys()
    for name, values in other.items():
        np.testing.assert_allclose(one[name], values, rtol=1e-3, atol=1e-4, err_msg=name)
    trained, alone = (tf.keras.models.load_model(each / network, compile=False) for each in (run, expected))
    assert [type(layer) for layer in trained.layers] == [type(layer) for layer in alone.layers]
    for mine, wanted in zip(trained.get_weights(), alone.get_weights(), strict=True):
        np.testing.assert_allclose(mine, wanted, rtol=1e-2, atol=2e-3)


def test_two_devices_train_what_one_trains(alone, tmp_path):
    words = [str(tmp_path), *FLAGS, "--strategy", "mirrored", "--out", str(tmp_path / "student")]
    process = Python(TWO_DEVICES, *words)
    assert process.wait() == 0, process.stderr
    assert_same_training(tmp_path / "student", alone, "student.keras")
    assert_same_training(tmp_path / "mirrored", tmp_path / "one", "teacher.keras")


def tasks() -> list[str]:
    """Returns the TF_CONFIG of each of two workers on free ports; the first is the chief."""
    ports = random.SystemRandom().sample(range(20_000, 32_000), 2)
    cluster = {"worker": [f"127.0.0.1:{port}" for port in ports]}
    return [json.dumps({"cluster": cluster, "task": {"type": "worker", "index": i}}) for i in range(2)]


def test_two_workers_train_what_one_trains_and_a_lost_one_ends_the_other(alone, tmp_path):
    command, run = "envise_tf.train.__main__", tmp_path / "run"
    words = [*FLAGS, "--strategy", "multi_worker", "--out", str(run)]
    of_chief, of_other = tasks()
    chief = Python(COMMAND, command, *words, TF_CONFIG=of_chief)
    # At the end of the second window, before its checkpoint.
    place = "envise_tf.distillation.training:Recorder.on_epoch_end"
    other = signalled_at(2, place, command, words, TF_CONFIG=of_other)
    assert other.wait() == -signal.SIGKILL, other.stderr
    assert chief.wait() == 2, chief.stderr
    # TensorFlow's own messages may stand around it.
    (line,) = [line for line in chief.stderr.splitlines() if line.startswith("error: ")]
    assert line.startswith("error: worker 127.0.0.1:")
    assert f"--resume {run}" in line
    assert not (run / "student.keras").exists()
    resumed = [Python(COMMAND, command, "--resume", str(run), TF_CONFIG=task) for task in tasks()]
    assert [process.wait() for process in resumed] == [0, 0]
    assert_same_training(run, alone, "student.keras")


@pytest.mark.parametrize("replicas", [2, 4])
@pytest.mark.parametrize("workers", [1, 2])
def test_the_shares_of_each_batch_are_the_batch(workers, replicas):
    stream = Stream(Digits(), "stream", "disjoint", None, None, window=24, batch_size=8, seed=3)
    batches = stream.labelled_batches(Augmentation(shift=0.1, mixup=0.3)).take(3)
    contexts = [tf.distribute.InputContext(workers, worker, replicas) for worker in range(workers)]
    shares = [list(_shares(batches, context).as_numpy_iterator()) for context in contexts]
    here = replicas // workers
    assert {len(images) for of_worker in shares for images, _ in of_worker} == {8 // replicas}
    for step, (images, labels) in enumerate(batches.as_numpy_iterator()):
        parts = [part for of_worker in shares for part in of_worker[step * here : (step + 1) * here]]
        np.testing.assert_array_equal(np.concatenate([images for images, _ in parts]), images)
        np.testing.assert_array_equal(np.concatenate([labels for _, labels in parts]), labels)


def test_a_batch_smaller_than_the_replicas_leaves_some_without_images():
    whole = tf.data.Dataset.from_tensors(tf.range(3))
    context = tf.distribute.InputContext(1, 0, 4)
    assert [list(part) for part in _shares(whole, context).as_numpy_iterator()] == [[], [0], [1], [2]]


def test_normalisation_over_replicas_is_keras_own_where_there_is_one():
    x = tf.random.stateless_normal((6, 5, 5, 3), (1, 2)) * 4 + 30
    weight = tf.random.stateless_normal(x.shape, (3, 4))
    outcomes = []
    for kind in (tf.keras.layers.BatchNormalization, SynchronisedBatchNormalization):
        layer = kind(momentum=0.9)
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(layer(x, training=True) ** 3 * weight)
        outcomes.append([loss, tape.gradient(loss, x), *layer.get_weights(), layer(x, training=False)])
    for one, other in zip(*outcomes, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-3)


GOOD = {"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": 0}}


@pytest.mark.parametrize(
    ("config", "words", "named"),
    [
        (None, [], "without TF_CONFIG"),
        ("{", [], "JSONDecodeError"),
        (json.dumps({"cluster": GOOD["cluster"]}), [], "KeyError: 'task'"),
        (json.dumps(GOOD | {"task": {"type": "worker", "index": 2}}), [], "ValueError"),
        (json.dumps(GOOD | {"cluster": {"worker": ["a:1"], "ps": ["b:2"]}}), [], "ps"),
        (json.dumps(GOOD | {"cluster": {"worker": ["a", "b:2"]}}), [], "expected something like"),
        (json.dumps(GOOD), ["--batch_size", "33"], "expected a multiple of 2, such as 34"),
        (json.dumps(GOOD), ["--out", "null"], "--out"),
    ],
)
def test_a_mistake_is_one_line_before_anything_starts(config, words, named, capsys, tmp_path, monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if config is not None:
        monkeypatch.setenv("TF_CONFIG", config)
    with pytest.raises(SystemExit) as stop:
        main([*FLAGS, "--strategy", "multi_worker", "--out", str(tmp_path / "run"), *words])
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert named in line
    assert list(tmp_path.iterdir()) == []


def test_mirrored_over_one_device_is_one_process(alone, tmp_path, capsys):
    main([*FLAGS, "--strategy", "mirrored", "--out", str(tmp_path / "run")])
    assert "mirrored: 1 replica(s)" in capsys.readouterr().out
    one, other = curves(alone), curves(tmp_path / "run")
    assert one == other
