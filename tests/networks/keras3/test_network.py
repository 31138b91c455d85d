"""Networks that Keras 3 wrote, rebuilt in Keras 2: outputs are compared with those that Keras 3 gave."""

import json
import zipfile

import numpy as np
import pytest
import tensorflow as tf

from envise_tf.errors import UserError
from envise_tf.networks.keras3.file import is_keras3, keras_version, read_keras3
from envise_tf.networks.keras3.network import rebuilt
from envise_tf.networks.split import split


def refusal(path):
    with pytest.raises(UserError) as error:
        rebuilt(path)
    assert "\n" not in str(error.value)
    return str(error.value)


def answers(folder, name):
    """Images of the size that a network takes, and what Keras 3 says of them."""
    with np.load(folder / "answers.npz") as file:
        return file["images"], file[name]


@pytest.mark.parametrize(
    "file",
    [
        *("sequential.keras", "sequential.h5", "nested.keras", "nested.h5", "frozen.keras", "frozen.h5"),
        *("operations.keras", "MobileNetV3Small.keras", "EfficientNetV2B0.keras"),
        *("operations_exported", "MobileNetV3Small_exported"),
    ],
)
def test_a_rebuilt_network_answers_as_keras_3_did_also_after_saving(keras3_files, tmp_path, file):
    network = rebuilt(keras3_files / file)
    images, expected = answers(keras3_files, file.partition(".")[0].removesuffix("_exported"))
    images = images[:, : network.input_shape[1], : network.input_shape[2]]
    np.testing.assert_allclose(network(images, training=False), expected, rtol=1e-4, atol=1e-5)
    network.save(tmp_path / "teacher.keras")
    loaded = tf.keras.models.load_model(tmp_path / "teacher.keras", compile=False)
    np.testing.assert_allclose(loaded(images, training=False), expected, rtol=1e-4, atol=1e-5)
    halves = split(loaded)
    logits = halves.head(halves.trunk(images))
    is_softmax = np.allclose(expected.sum(axis=-1), 1, atol=1e-5)
    np.testing.assert_allclose(tf.nn.softmax(logits) if is_softmax else logits, expected, rtol=1e-4, atol=1e-5)


def test_the_outputs_tell_networks_apart(keras3_files):
    # Otherwise the test above would compare what is the same whatever the layers do.
    with np.load(keras3_files / "answers.npz") as file:
        assert all(np.ptp(file[name], axis=0).max() > 1e-3 for name in ("sequential", "nested", "operations"))


def test_a_frozen_layer_stays_frozen(keras3_files):
    base = rebuilt(keras3_files / "frozen.keras").get_layer("base")
    assert [layer.name for layer in base.layers if not layer.trainable] == ["frozen"]


@pytest.mark.parametrize(
    ("file", "told"),
    [
        ("code.keras", "layer scaled (Lambda) holds code"),
        ("own.keras", "layer mine (own>Own) has no counterpart in Keras 2"),
        ("argument.keras", "layer resized (Resizing) has pad_to_aspect_ratio=True"),
        ("activation.keras", "layer curved (Activation) has the activation celu"),
        ("operation.keras", "(Flip) has no counterpart in Keras 2"),
        (
            "sequential_exported",
            "draws random numbers when it answers, as augmentation layers do",
        ),
        ("any_size_exported", "takes images of shape (None, None, 3): expected one size"),
        ("small.weights.h5", "holds weights without a network"),
        ("nothing.keras", "there is no file"),
    ],
)
def test_what_has_no_counterpart_is_named(keras3_files, file, told):
    assert told in refusal(keras3_files / file)


def test_files_of_keras_3_are_told_from_others(keras3_files, tmp_path):
    assert is_keras3(keras3_files / "nested.keras")
    assert is_keras3(keras3_files / "nested.h5")
    assert str(keras_version(keras3_files / "nested.h5")).startswith("3.")
    tf.keras.Sequential([tf.keras.Input((2,)), tf.keras.layers.Dense(2)]).save(tmp_path / "two.keras")
    assert not is_keras3(tmp_path / "two.keras")
    assert "is a file of Keras 2" in refusal(tmp_path / "two.keras")
    (tmp_path / "text.keras").write_text("no network")
    assert keras_version(tmp_path / "text.keras") is None
    assert "holds no network of Keras" in refusal(tmp_path / "text.keras")


def changed(path, to, change):
    """Copies a .keras file with a change of its configuration."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(to, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "config.json":
                config = json.loads(content)
                change(config)
                content = json.dumps(config)
            new.writestr(name, content)
    return to


def test_weights_that_do_not_fit_are_refused(keras3_files, tmp_path):
    def wider(config):
        layer = next(each for each in config["config"]["layers"] if each["class_name"] == "Conv2D")
        layer["config"]["filters"] = 9

    told = refusal(changed(keras3_files / "one_unit.keras", tmp_path / "wider.keras", wider))
    assert "has weights of shapes [(1, 1, 3, 4), (4,)] for layer conv2d" in told
    assert "(Conv2D): expected [(1, 1, 3, 9), (9,)]" in told


def test_a_network_with_code_of_its_own_is_refused(keras3_files, tmp_path):
    def of_a_class(config):
        config.update(class_name="Own", registered_name="own>Own", module=None)

    told = refusal(changed(keras3_files / "nested.keras", tmp_path / "own.keras", of_a_class))
    assert "(Own) has code of its own: expected a functional or sequential one" in told


def test_a_folder_without_a_network_of_images_is_refused(tmp_path):
    tf.saved_model.save(tf.Module(), str(tmp_path / "module"))
    assert "TensorFlow cannot read" in refusal(tmp_path / "module")


def test_a_damaged_file_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "cut.keras", "w") as archive:
        archive.writestr("metadata.json", '{"keras_version": "3.0.5"}')
    with pytest.raises(UserError, match="is damaged"):
        read_keras3(tmp_path / "cut.keras")
