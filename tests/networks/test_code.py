"""Code in a network's file: refused in one line before any of it runs, and run where that is asked for."""

import json
import sys
import zipfile

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel
from tf_keras.protobuf.saved_metadata_pb2 import SavedMetadata

from envise_tf.errors import UserError
from envise_tf.networks.code import load_keras, require_no_code
from envise_tf.networks.keras3.exported import rebuilt_export

layers = tf.keras.layers
IMAGES = np.random.default_rng(1).integers(0, 256, (2, 8, 8, 3)).astype(np.float32)
FORMS = ["network.keras", "network.h5", "network"]


def saved(folder, form, *inner):
    """Returns a network with some layers in front, and the path that it was saved to."""
    network = tf.keras.Sequential([tf.keras.Input((8, 8, 3)), *inner, layers.GlobalMaxPooling2D(), layers.Dense(3)])
    network.save(folder / form, save_format=None if "." in form else "tf")
    return network, folder / form


def refusal(path):
    with pytest.raises(UserError) as error:
        load_keras(path)
    assert "\n" not in str(error.value)
    assert "give --allow_code" in str(error.value)
    return str(error.value)


def changed(path, *changes):
    """Writes the configuration in a .keras file anew."""
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    text = files["config.json"].decode()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in (files | {"config.json": text.encode()}).items():
            archive.writestr(name, content)


@pytest.fixture(autouse=True)
def nothing_is_allowed(monkeypatch):
    monkeypatch.delenv("ENVISE_ALLOW_CODE", raising=False)


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
@pytest.mark.parametrize("form", FORMS)
def test_a_lambda_layer_is_refused_unless_code_is_allowed(tmp_path, monkeypatch, form):
    network, path = saved(tmp_path, form, layers.Lambda(lambda x: x / 2, name="half"))
    assert f"{path} holds code that would run on this computer (a Lambda layer, half)" in refusal(path)
    monkeypatch.setenv("ENVISE_ALLOW_CODE", "1")
    np.testing.assert_allclose(load_keras(path)(IMAGES), network(IMAGES), rtol=1e-5)


def test_a_lambda_in_the_place_of_a_function_is_refused(tmp_path):
    _, path = saved(tmp_path, "network.keras", layers.Dense(4, activation="relu"))
    code = {"class_name": "__lambda__", "config": {"value": ["4wEA", None, None]}}
    changed(path, ('"activation": "relu"', f'"activation": {json.dumps(code)}'))
    assert "(a lambda)" in refusal(path)


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
@pytest.mark.parametrize("form", FORMS)
def test_functions_of_tensorflow_that_calculate_are_no_code(tmp_path, form):
    image = tf.keras.Input((8, 8, 3))
    scores = tf.reshape(tf.reduce_mean(tf.nn.relu(image) + 1, axis=[1, 2]), [-1, 3])
    network = tf.keras.Model(image, layers.Dense(3, activation="swish")(tf.concat([scores, 2 * scores], axis=1)))
    network.save(tmp_path / form, save_format=None if "." in form else "tf")
    np.testing.assert_allclose(load_keras(tmp_path / form)(IMAGES), network(IMAGES), rtol=1e-5)


@pytest.mark.parametrize("function", ["io.write_file", "compat.v1.io.read_file", "py_function", "keras.utils.get_file"])
def test_functions_of_tensorflow_that_do_more_are_refused(tmp_path, function):
    _, path = saved(tmp_path, "network.keras", layers.ReLU())
    relu = json.dumps({"name": "re_lu", "function": function})
    changed(path, ('"class_name": "ReLU", "config": {', f'"class_name": "TFOpLambda", "config": {relu[:-1]}, '))
    assert f"(a layer of TensorFlow's {function})" in refusal(path)


def test_a_module_that_a_file_names_is_not_imported(tmp_path, monkeypatch):
    marked = f"open({str(tmp_path / 'imported')!r}, 'w')\n"
    code = "from tf_keras import Sequential\nclass Other(Sequential): pass\n"
    (tmp_path / "unheard_of.py").write_text(marked + code)
    monkeypatch.syspath_prepend(tmp_path)
    _, path = saved(tmp_path, "network.keras")
    changed(
        path,
        ('"module": "keras"', '"module": "unheard_of"'),
        ('"class_name": "Sequential"', '"class_name": "Other"'),
    )
    assert "(Other of the Python module unheard_of)" in refusal(path)
    assert not (tmp_path / "imported").exists()
    monkeypatch.setenv("ENVISE_ALLOW_CODE", "1")
    load_keras(path)
    assert (tmp_path / "imported").exists()
    del sys.modules["unheard_of"]


def test_a_layer_that_the_user_has_registered_is_no_code_of_the_file(tmp_path):
    @tf.keras.saving.register_keras_serializable("tests_of_code")
    class Doubled(layers.Layer):
        def call(self, x):
            return 2 * x

    network, path = saved(tmp_path, "network.keras", Doubled())
    np.testing.assert_allclose(load_keras(path)(IMAGES), network(IMAGES), rtol=1e-5)


def test_operations_of_a_saved_model_that_read_files_are_refused(tmp_path):
    class Reading(layers.Layer):
        def call(self, x):
            return x + tf.cast(tf.strings.length(tf.io.read_file("/dev/null")), tf.float32)

    _, path = saved(tmp_path, "network", Reading())
    assert "(ReadFile)" in refusal(path)


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
@pytest.mark.parametrize("other", ["{}", "{"])
def test_a_file_that_is_of_two_kinds_is_read_as_both(tmp_path, other):
    _, path = saved(tmp_path, "network.h5", layers.Lambda(lambda x: x / 2, name="half"))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("config.json", other)
    assert "(a Lambda layer, half)" in refusal(path)


def test_a_saved_model_without_the_file_of_its_layers_is_read_as_keras_would(tmp_path):
    _, path = saved(tmp_path, "network", layers.Lambda(lambda x: x / 2, name="half"))
    nodes = SavedMetadata.FromString((path / "keras_metadata.pb").read_bytes()).nodes
    model = SavedModel.FromString((path / "saved_model.pb").read_bytes())
    for node in nodes:
        model.meta_graphs[0].object_graph_def.nodes[node.node_id].user_object.metadata = node.metadata
    (path / "saved_model.pb").write_bytes(model.SerializeToString())
    (path / "keras_metadata.pb").unlink()
    assert "(a Lambda layer, half)" in refusal(path)


def test_layers_behind_one_that_is_no_json_are_read_too(tmp_path):
    _, path = saved(tmp_path, "network", layers.Lambda(lambda x: x / 2, name="half"))
    metadata = SavedMetadata.FromString((path / "keras_metadata.pb").read_bytes())
    metadata.nodes[0].metadata = "{"
    (path / "keras_metadata.pb").write_bytes(metadata.SerializeToString())
    assert "(a Lambda layer, half)" in refusal(path)


def test_an_exported_graph_that_reads_files_is_not_run(tmp_path):
    class Reading(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((None, 8, 8, 3))])
        def answer(self, x):
            return x[:, 0, 0] + tf.cast(tf.strings.length(tf.io.read_file("/dev/null")), tf.float32)

    module = Reading()
    tf.saved_model.save(module, str(tmp_path / "exported"), signatures=module.answer)
    with pytest.raises(UserError, match=r"holds code that would run on this computer \(ReadFile\)"):
        rebuilt_export(tmp_path / "exported")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x89HDF\r\n\x1a\n" + bytes(90)])
def test_a_damaged_file_is_left_to_keras(tmp_path, content):
    (tmp_path / "network.keras").write_bytes(content)
    require_no_code(tmp_path / "network.keras")
