"""The adapted teacher as a network: the numbers of the formula, saved, cut and explained like any teacher."""

import envise_tf  # noqa: F401  (first: it asks TensorFlow for Keras 2)

# isort: split
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from scipy.special import log_softmax, softmax

from envise_tf.errors import UserError
from envise_tf.networks.normalisation import Normalisation
from envise_tf.networks.split import split
from envise_tf.prior.adapted import PriorShift, adapted_teacher, raw_teacher
from envise_tf.prior.calibration import Calibration
from envise_tf.prior.shift import adapted_logits, log_prior_ratio, uniform_prior

pytestmark = pytest.mark.slow

layers = tf.keras.layers
CLASSES = 4
SOURCE = uniform_prior(CLASSES)
PRIOR = np.array([0.7, 0.2, 0.1, 0.0])
CALIBRATION = Calibration(1.5, (0.3, -0.1, -0.4, 0.2))


@pytest.fixture(autouse=True)
def _seed():
    tf.keras.backend.clear_session()
    tf.keras.utils.set_random_seed(3)


def trunk():
    images = layers.Input((8, 8, 3))
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(6, 3, padding="same")(images)))
    return tf.keras.Model(images, x, name="backbone")


def ending_in(*end):
    """A functional classifier with a model nested in it."""
    base = trunk()
    images = layers.Input((8, 8, 3), dtype="uint8")
    x = layers.GlobalAveragePooling2D()(base(Normalisation("symmetric")(images)))
    for layer in end:
        x = layer(x)
    return tf.keras.Model(images, x)


def without_custom_layers():
    return tf.keras.Sequential([trunk(), layers.GlobalAveragePooling2D(), layers.Dense(CLASSES, activation="softmax")])


def wrapped(model):
    images = layers.Input((8, 8, 3))
    return tf.keras.Model(images, model(layers.Rescaling(1 / 255)(images)), name="wrapped")


TEACHERS = {
    "logits": lambda: ending_in(layers.Dense(CLASSES)),
    "softmax in the dense layer": lambda: ending_in(layers.Dense(CLASSES, activation="softmax")),
    "softmax layer": lambda: ending_in(layers.Dense(CLASSES), layers.Softmax()),
    "softmax activation": lambda: ending_in(layers.Dense(CLASSES), layers.Activation("softmax")),
    "tf.nn.softmax": lambda: ending_in(layers.Dense(CLASSES), tf.nn.softmax),
    "softmax in a wrapped model": lambda: wrapped(wrapped(without_custom_layers())),
    "sequential": lambda: tf.keras.Sequential(
        [
            layers.Input((8, 8, 3), dtype="uint8"),
            Normalisation("unit"),
            trunk(),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(CLASSES, activation="softmax"),
        ]
    ),
}


def images_of(count=5):
    return tf.constant(np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3)), tf.uint8)


@pytest.fixture(params=TEACHERS)
def teacher(request):
    return TEACHERS[request.param]()


def adapted_by_formula(teacher, images):
    """The probabilities that the network should have, from its own, in NumPy."""
    output = teacher(images, training=False).numpy().astype(np.float64)
    log_p = np.log(output) if np.allclose(output.sum(axis=1), 1) else log_softmax(output, axis=1)
    return softmax(adapted_logits(CALIBRATION.logits(log_p), PRIOR, SOURCE), axis=1)


def test_its_logits_are_those_of_the_formula(teacher):
    images = images_of()
    before = teacher(images, training=False).numpy()
    adapted = adapted_teacher(teacher, CALIBRATION, log_prior_ratio(PRIOR, SOURCE))
    logits = adapted(images, training=False)
    assert logits.dtype == tf.float32
    np.testing.assert_allclose(softmax(logits, axis=1), adapted_by_formula(teacher, images), rtol=1e-4, atol=1e-9)
    np.testing.assert_array_equal(teacher(images, training=False), before)
    np.testing.assert_array_equal(tf.keras.Model(teacher.input, teacher.output)(images, training=False), before)


def test_it_can_be_cut_and_its_attention_is_that_of_its_own_logits(teacher):
    images = images_of()
    adapted = adapted_teacher(teacher, CALIBRATION, log_prior_ratio(PRIOR, SOURCE))
    parts = split(adapted)
    features = parts.trunk(images)
    with tf.GradientTape() as tape:
        tape.watch(features)
        logits = parts.head(features)
        first = logits[:, 0]
    np.testing.assert_allclose(logits, adapted(images), rtol=1e-5, atol=1e-5)
    # The shift does not depend on the image: the gradient is that of the teacher's own logit, divided by T.
    raw = split(teacher)
    with tf.GradientTape() as raw_tape:
        raw_features = raw.trunk(images)
        raw_tape.watch(raw_features)
        raw_first = raw.head(raw_features)[:, 0]
    expected = raw_tape.gradient(raw_first, raw_features) / CALIBRATION.temperature
    np.testing.assert_allclose(tape.gradient(first, features), expected, rtol=1e-4, atol=1e-7)


def test_it_is_saved_and_loaded_after_import_envise_tf_alone(tmp_path):
    images = images_of()
    logits = {}
    for number, build in enumerate(TEACHERS.values()):
        adapted = adapted_teacher(build(), CALIBRATION, log_prior_ratio(PRIOR, SOURCE))
        adapted.save(tmp_path / f"{number}.keras")
        logits[str(number)] = adapted(images)
    np.save(tmp_path / "images.npy", images)
    code = (
        "import sys, numpy as np, envise_tf, tensorflow as tf\n"
        "from pathlib import Path\n"
        "folder = Path(sys.argv[1])\n"
        "images = np.load(folder / 'images.npy')\n"
        "load = lambda path: tf.keras.models.load_model(path, compile=False)\n"
        "np.savez(folder / 'logits.npz', **{p.stem: load(p)(images) for p in folder.glob('*.keras')})"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    with np.load(tmp_path / "logits.npz") as loaded:
        assert len(loaded) == len(TEACHERS)
        for number, expected in logits.items():
            np.testing.assert_allclose(loaded[number], expected, rtol=1e-5, atol=1e-5)


def test_the_raw_teacher_comes_back(teacher):
    images = images_of()
    raw = raw_teacher(adapted_teacher(teacher, CALIBRATION, log_prior_ratio(PRIOR, SOURCE)))
    expected = log_softmax(split(teacher).head(split(teacher).trunk(images)), axis=1)
    np.testing.assert_allclose(log_softmax(raw(images), axis=1), expected, rtol=1e-4, atol=1e-5)
    assert raw_teacher(teacher) is teacher


def test_another_prior_can_be_assigned_to_a_traced_network():
    teacher = TEACHERS["logits"]()
    adapted = adapted_teacher(teacher, Calibration.identity(CLASSES), log_prior_ratio(SOURCE, SOURCE))
    traced = tf.function(adapted)
    np.testing.assert_allclose(traced(images_of()), teacher(images_of()), rtol=1e-5)
    adapted.get_layer("prior_shift").assign(CALIBRATION, log_prior_ratio(PRIOR, SOURCE))
    expected = adapted_by_formula(teacher, images_of())
    np.testing.assert_allclose(softmax(traced(images_of()), axis=1), expected, rtol=1e-4, atol=1e-9)


def test_the_shift_is_never_trained():
    adapted = adapted_teacher(TEACHERS["logits"](), CALIBRATION, log_prior_ratio(PRIOR, SOURCE))
    shift = adapted.get_layer("prior_shift")
    adapted.trainable = True
    assert len(shift.weights) == 3
    assert not {id(weight) for weight in shift.weights} & {id(weight) for weight in adapted.trainable_weights}


def test_half_precision_logits_are_shifted_in_float32():
    tf.keras.mixed_precision.set_global_policy("mixed_bfloat16")
    layer = PriorShift()
    shifted = layer(tf.ones((1, 2), tf.bfloat16))
    layer.assign(Calibration.identity(2), np.array([1e-3, 0.0]))
    assert shifted.dtype == tf.float32
    np.testing.assert_allclose(layer(tf.ones((1, 2), tf.bfloat16)), [[1.001, 1.0]], rtol=1e-6)


@pytest.mark.parametrize(
    ("calibration", "log_ratio"),
    [
        (Calibration.identity(3), np.zeros(CLASSES)),
        (Calibration.identity(CLASSES), np.zeros(3)),
        (Calibration.identity(CLASSES), np.array([0, 0, 0, -np.inf])),
    ],
    ids=["biases", "ratios", "infinite"],
)
def test_numbers_for_other_classes_are_refused(calibration, log_ratio):
    with pytest.raises(UserError, match="expected one finite number per class"):
        adapted_teacher(TEACHERS["logits"](), calibration, log_ratio)


def test_a_teacher_whose_end_is_neither_logits_nor_softmax_is_refused():
    with pytest.raises(UserError, match="sigmoid"):
        adapted_teacher(
            ending_in(layers.Dense(CLASSES, activation="sigmoid")), CALIBRATION, log_prior_ratio(PRIOR, SOURCE)
        )


@pytest.mark.parametrize("name", TEACHERS)
def test_the_teacher_is_had_back_from_the_adapted_one(name):
    model = TEACHERS[name]()
    adapted = adapted_teacher(model, CALIBRATION, log_prior_ratio(PRIOR, SOURCE))
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    raw = raw_teacher(adapted)
    expected = split(model).head(split(model).trunk(images))
    np.testing.assert_allclose(raw(images), expected, rtol=1e-5, atol=1e-5)
    assert raw_teacher(model) is model
