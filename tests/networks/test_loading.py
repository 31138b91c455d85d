"""A user's teacher, from whatever Keras 2 can load to uint8 images in and class scores out."""

import json

import numpy as np
import pytest
import tensorflow as tf

from envise_tf.errors import UserError
from envise_tf.networks.loading import as_classifier, load_generic, load_teacher
from envise_tf.networks.normalisation import Normalisation
from envise_tf.networks.shipped import card
from envise_tf.networks.students import residual_student, with_classes

layers = tf.keras.layers
IMAGES = np.random.default_rng(1).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)


def network(channels=3, dtype="float32", outputs=1):
    tf.keras.utils.set_random_seed(4)
    image = tf.keras.Input((8, 8, channels), dtype=dtype)
    x = layers.Conv2D(4, 3)(Normalisation("unit")(image) if dtype == "uint8" else image)
    x = layers.GlobalAveragePooling2D()(x)
    scores = [layers.Dense(5)(x) for _ in range(outputs)]
    return tf.keras.Model(image, scores[0] if outputs == 1 else scores)


def refusal(*given, **options):
    """Returns the one line with which a classifier is refused."""
    with pytest.raises(UserError) as error:
        load_teacher(*given, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
@pytest.mark.parametrize("form", ["teacher.keras", "teacher.h5", "folder"])
def test_a_network_of_uint8_images_is_taken_as_it_is(tmp_path, form):
    model = network(dtype="uint8")
    model.save(tmp_path / form, save_format=None if "." in form else "tf")
    classifier = load_teacher(str(tmp_path / form), pixel_range="caffe")
    np.testing.assert_allclose(classifier.model(IMAGES), model(IMAGES), rtol=1e-5)
    assert (classifier.size, classifier.classes, classifier.class_names) == (8, 5, ())


@pytest.mark.parametrize("pixel_range", ["raw", "unit", "symmetric", "torch", "caffe"])
def test_a_network_of_float_images_gets_the_pixels_it_expects(tmp_path, pixel_range):
    model = network()
    model.save(tmp_path / "teacher.keras")
    loaded = load_teacher(str(tmp_path / "teacher.keras"), pixel_range).model
    assert loaded.input.dtype == tf.uint8
    assert loaded.input_shape == (None, 8, 8, 3)
    expected = model(Normalisation(pixel_range)(IMAGES))
    np.testing.assert_allclose(loaded(IMAGES), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("sides", [(32, 48), (48, None)])
def test_a_network_of_images_that_are_not_square_is_refused(tmp_path, sides):
    model = tf.keras.Sequential([tf.keras.Input((*sides, 3)), layers.Conv2D(4, 3), layers.GlobalMaxPooling2D()])
    model.save(tmp_path / "teacher.keras")
    assert f"takes images of {sides[0]}x{sides[1]} pixels: expected square ones" in refusal(f"{tmp_path}/teacher.keras")


def test_a_path_goes_before_the_name_of_a_keras_application(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    network().save("MobileNetV2", save_format="tf")
    assert load_teacher("MobileNetV2").classes == 5


def test_a_network_that_takes_any_size_has_none(tmp_path):
    model = tf.keras.Sequential([tf.keras.Input((None, None, 3)), layers.Conv2D(4, 3), layers.GlobalMaxPooling2D()])
    model.save(tmp_path / "teacher.keras")
    assert load_teacher(str(tmp_path / "teacher.keras")).size is None


def load_run(folder):
    network(dtype="uint8").save(folder / "teacher.keras")
    (folder / "result.json").write_text(json.dumps({"class_names": list("abcde")}))


def test_a_run_brings_its_class_names(tmp_path):
    load_run(tmp_path)
    assert load_teacher(str(tmp_path)).class_names == tuple("abcde")


def test_a_run_that_is_not_finished_is_refused(tmp_path):
    load_run(tmp_path)
    (tmp_path / "result.json").unlink()
    assert f"{tmp_path} holds no finished run of teach" in refusal(str(tmp_path))


def test_names_that_are_given_go_before_a_networks_own(tmp_path):
    load_run(tmp_path)
    names = [f"name {i}" for i in range(10)]
    (tmp_path / "names.txt").write_text("\n".join(names) + "\n\n")
    (tmp_path / "five.txt").write_text("\n".join(names[:5]))
    assert load_teacher(str(tmp_path), classes_file=str(tmp_path / "five.txt")).class_names == tuple(names[:5])
    shipped = load_teacher("digits-disjoint", classes_file=str(tmp_path / "names.txt"))
    assert shipped.class_names == tuple(names)


def test_a_shipped_teacher_is_called_by_its_name():
    classifier = load_teacher("digits-disjoint")
    assert classifier.class_names[:3] == ("zero", "one", "two")
    assert (classifier.size, classifier.classes) == (32, 10)


def test_a_shipped_student_knows_the_classes_of_another_teacher_by_their_names():
    generic = load_generic("cifar100-disjoint", "my.keras", ("zebra", "apple", "wolf"), twin=False)
    names = card("cifar100-disjoint", "student")["class_names"]
    assert generic is not None
    assert {names[row]: label for row, label in enumerate(generic.classes) if label >= 0} == {"apple": 1, "wolf": 2}
    student = residual_student(32, 3, (32, 64, 128), (4, 4, 4))
    untrained = student.layers[-1].kernel.numpy()
    with_classes(student, generic.network, [0, 1, 2], generic.classes)
    own, given = student.get_weights(), generic.network.get_weights()
    rows = [names.index("apple"), names.index("wolf")]
    np.testing.assert_array_equal(own[-2], np.stack([untrained[:, 0], *given[-2][:, rows].T], axis=1))
    for trunk, other in zip(own[:-2], given[:-2], strict=True):
        np.testing.assert_array_equal(trunk, other)


def test_a_teachers_own_generic_student_has_all_its_classes():
    generic = load_generic("generic", "cifar100-disjoint", (), twin=False)
    assert generic is not None
    assert (generic.classes, generic.network.output_shape) == (None, (None, 100))


def test_names_that_are_too_few_are_refused(tmp_path):
    network().save(tmp_path / "teacher.keras")
    (tmp_path / "names.txt").write_text("cat\ndog\n")
    line = refusal(str(tmp_path / "teacher.keras"), classes_file=str(tmp_path / "names.txt"))
    assert "has 5 classes, but 2 names are given: expected one name per line" in line


def test_a_file_of_names_that_is_not_there_is_refused(tmp_path):
    line = refusal("digits-disjoint", classes_file=str(tmp_path / "names.txt"))
    assert f"cannot read class names from {tmp_path / 'names.txt'} (No such file or directory)" in line


def test_a_name_that_nothing_has_is_refused_with_the_nearest():
    assert "no teacher digits-disjont: " in refusal("digits-disjont")
    assert "nearest: digits-disjoint" in refusal("digits-disjont")
    assert "nearest: ResNet50" in refusal("ResNet5O")


@pytest.mark.parametrize("name", ["teacher.keras", "teacher.h5", "folder"])
def test_what_is_no_network_is_refused(tmp_path, name):
    if name == "folder":
        (tmp_path / name).mkdir()
    else:
        (tmp_path / name).write_bytes(b"no network at all")
    line = refusal(str(tmp_path / name))
    assert line.startswith(f"Keras 2 cannot load {tmp_path / name} (")
    assert line.endswith("save it with tf_keras, as .keras or SavedModel")


def test_a_network_of_keras_3_is_refused(tmp_path):
    keras = pytest.importorskip("keras", minversion="3")
    inner = [keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3), keras.layers.GlobalAveragePooling2D()]
    keras.Sequential([*inner, keras.layers.Dense(5)]).save(tmp_path / "teacher.keras")
    line = refusal(str(tmp_path / "teacher.keras"))
    assert "is a network of Keras 3" in line
    assert line.endswith(f"python -m envise_tf.convert {tmp_path / 'teacher.keras'}")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("teacher.tflite", "is a TensorFlow Lite file, whose layers are not known: give the Keras network"),
        ("teacher.onnx", "is an ONNX file, whose layers are not known: give the Keras network"),
        ("teacher.weights.h5", "holds weights without a network: save it whole"),
    ],
)
def test_a_file_without_layers_is_refused(tmp_path, name, told):
    (tmp_path / name).write_bytes(b"anything")
    assert told in refusal(str(tmp_path / name))


def test_a_network_of_one_unit_is_refused(tmp_path):
    inner = [tf.keras.Input((8, 8, 3)), layers.Conv2D(4, 3), layers.GlobalAveragePooling2D()]
    tf.keras.Sequential([*inner, layers.Dense(1, activation="sigmoid")]).save(tmp_path / "teacher.keras")
    line = refusal(str(tmp_path / "teacher.keras"))
    assert "gives one number per image, as a sigmoid of one unit does: expected one for each class" in line


def test_a_network_of_grey_images_is_refused(tmp_path):
    network(channels=1).save(tmp_path / "teacher.keras")
    line = refusal(str(tmp_path / "teacher.keras"))
    assert "takes input of shape (None, 8, 8, 1): expected (batch, height, width, 3), RGB images" in line


def test_a_network_that_is_no_classifier_is_refused(tmp_path):
    tf.keras.Sequential([tf.keras.Input((8, 8, 3)), layers.Conv2D(4, 3)]).save(tmp_path / "maps.keras")
    assert "gives output of shape (None, 6, 6, 4): expected (batch, classes)" in refusal(str(tmp_path / "maps.keras"))
    network(outputs=2).save(tmp_path / "two.keras")
    assert "gives output of shape [(None, 5), (None, 5)]: expected" in refusal(str(tmp_path / "two.keras"))


def test_a_saved_model_that_is_not_from_keras_is_refused(tmp_path):
    tf.saved_model.save(tf.Module(), str(tmp_path / "module"))
    line = refusal(str(tmp_path / "module"))
    assert "is a SavedModel without layers, as model.export writes it: give the .keras file" in line
    assert f"python -m envise_tf.convert {tmp_path / 'module'}" in line


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_network_with_a_weight_that_is_no_number_is_refused(tmp_path, value):
    model = network()
    weights = model.get_weights()
    weights[2][0, 0] = value
    model.set_weights(weights)
    model.save(tmp_path / "teacher.keras")
    assert "has weights that are no numbers, in dense" in refusal(str(tmp_path / "teacher.keras"))


def test_answers_that_are_no_numbers_are_refused_with_how_many_there_are():
    images = layers.Input((4, 4, 3))
    model = tf.keras.Model(images, layers.Dense(2)(layers.Flatten()(images)))
    model.set_weights([np.full((48, 2), 3e37), np.zeros(2)])  # finite, and too large for sums of bright pixels
    shown = np.stack([np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 255, np.uint8)])
    with pytest.raises(UserError, match="outputs are no numbers on 1 of 2 images"):
        as_classifier(model, "large.keras")(shown)
