"""The cut: head(trunk(images)) are the model's logits, whatever dress the model comes in."""

import envise_tf  # noqa: F401  (first: it asks TensorFlow for Keras 2)

# isort: split
import larq
import numpy as np
import pytest
import tensorflow as tf

from envise_tf.errors import UserError
from envise_tf.networks.split import split
from envise_tf.networks.students import residual_student

pytestmark = pytest.mark.slow

layers = tf.keras.layers
CLASSES = 5


@pytest.fixture(autouse=True)
def _seed():
    tf.keras.backend.clear_session()
    tf.keras.utils.set_random_seed(3)


def images_for(model, count=3):
    return tf.random.stateless_uniform((count, *model.input_shape[1:]), seed=(1, 2), maxval=255.0)


def check_same(model, features_shape, is_softmax):
    """Checks that the halves make up the model, and returns them."""
    parts = split(model)
    images = images_for(model)
    expected = model(images, training=False).numpy()
    features = parts.trunk(images, training=False)
    logits = parts.head(features, training=False)
    assert tuple(features.shape[1:]) == tuple(parts.trunk.output_shape[1:]) == features_shape
    assert logits.dtype == tf.float32
    assert parts.head.output_shape[-1] == expected.shape[-1]
    got = tf.nn.softmax(logits).numpy() if is_softmax else logits.numpy()
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
    if is_softmax:
        assert np.abs(logits.numpy().sum(axis=-1) - 1).min() > 1e-3, "the head ends in probabilities"
    return parts


def convolutions(x, channels=4):
    x = layers.Conv2D(channels, 3, strides=2, use_bias=False)(x)
    x = layers.BatchNormalization()(x)
    return layers.ReLU()(x)


def flat_functional(end=None):
    image = tf.keras.Input((16, 16, 3))
    x = layers.GlobalAveragePooling2D()(convolutions(layers.Rescaling(1 / 255)(image)))
    x = layers.Dense(CLASSES, name="last")(x)
    return tf.keras.Model(image, end(x) if end else x)


def backbone(size=16):
    image = tf.keras.Input((size, size, 3))
    x = convolutions(layers.Rescaling(1 / 255)(image))
    shortcut = layers.Conv2D(4, 1)(x)
    return tf.keras.Model(image, layers.Add()([shortcut, convolutions_same(x)]), name="backbone")


def convolutions_same(x):
    return layers.ReLU()(layers.DepthwiseConv2D(3, padding="same")(x))


def test_functional_keeps_norm_and_activation_in_the_trunk():
    parts = check_same(flat_functional(), (7, 7, 4), is_softmax=False)
    assert float(tf.reduce_min(parts.trunk(tf.random.normal((2, 16, 16, 3))))) == 0.0


@pytest.mark.parametrize(
    "end",
    [
        layers.Softmax,
        lambda: layers.Activation("softmax"),
        lambda: tf.nn.softmax,
        lambda: lambda x: layers.Activation("linear", dtype="float32")(layers.Softmax()(x)),
    ],
    ids=["Softmax", "Activation", "tf.nn.softmax", "softmax then cast"],
)
def test_a_softmax_of_its_own_comes_off(end):
    check_same(flat_functional(end()), (7, 7, 4), is_softmax=True)


@pytest.mark.parametrize("activation", [None, "linear", "softmax"])
def test_sequential_with_flatten_dropout_and_dense_layers(activation):
    model = tf.keras.Sequential(
        [
            tf.keras.Input((12, 10, 3)),
            layers.Conv2D(6, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(8, activation="relu"),
            layers.Dropout(0.5),
            layers.Dense(CLASSES, activation=activation),
        ]
    )
    check_same(model, (5, 4, 6), is_softmax=activation == "softmax")


def test_models_nested_in_models():
    inner = backbone()
    middle = tf.keras.Sequential([inner, layers.BatchNormalization(), layers.ReLU()])
    image = tf.keras.Input((16, 16, 3))
    whole = tf.keras.Sequential([middle, layers.GlobalAveragePooling2D(), layers.Dense(CLASSES, activation="softmax")])
    model = tf.keras.Model(image, whole(image))
    check_same(tf.keras.Model(image, model(image)), (7, 7, 4), is_softmax=True)


def test_a_nested_model_that_is_called_twice():
    step = tf.keras.Sequential([tf.keras.Input((8, 8, 3)), layers.Conv2D(3, 3, padding="same", activation="relu")])
    image = tf.keras.Input((8, 8, 3))
    logits = layers.Dense(CLASSES)(layers.Flatten()(step(step(image))))
    parts = check_same(tf.keras.Model(image, logits), (8, 8, 3), is_softmax=False)
    assert len(parts.trunk.trainable_variables) == 2


def test_nested_side_outputs_are_left_out():
    image = tf.keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3)(image)
    inner = tf.keras.Model(image, [layers.GlobalMaxPooling2D()(x), layers.Conv2D(2, 3)(x)])
    _, features = inner(image)
    model = tf.keras.Model(image, layers.Dense(CLASSES)(layers.GlobalAveragePooling2D()(features)))
    check_same(model, (4, 4, 2), is_softmax=False)


@pytest.mark.parametrize(
    ("name", "features_shape"),
    [("MobileNetV2", (2, 2, 1280)), ("MobileNetV3Small", (2, 2, 576)), ("ResNet50", (2, 2, 2048))],
)
def test_keras_applications_with_their_top(name, features_shape):
    model = getattr(tf.keras.applications, name)(input_shape=(64, 64, 3), weights=None, classes=10)
    check_same(model, features_shape, is_softmax=True)


def test_application_without_top_inside_a_sequential():
    base = tf.keras.applications.MobileNetV2(input_shape=(64, 64, 3), weights=None, include_top=False, alpha=0.35)
    model = tf.keras.Sequential(
        [layers.Rescaling(1 / 127.5, offset=-1), base, layers.GlobalAveragePooling2D(), layers.Dense(CLASSES)]
    )
    model.build((None, 64, 64, 3))
    check_same(model, (2, 2, 1280), is_softmax=False)


def test_convolution_with_softmax_on_a_single_position_belongs_to_the_head():
    image = tf.keras.Input((16, 16, 3))
    x = layers.GlobalAveragePooling2D(keepdims=True)(convolutions(image))
    x = layers.Conv2D(CLASSES, 1, activation="softmax")(x)
    check_same(tf.keras.Model(image, layers.Reshape((CLASSES,))(x)), (7, 7, 4), is_softmax=True)


def test_an_image_of_unknown_size():
    image = tf.keras.Input((None, None, 3))
    model = tf.keras.Model(image, layers.Dense(CLASSES)(layers.GlobalAveragePooling2D()(convolutions(image))))
    parts = split(model)
    images = tf.random.normal((2, 21, 13, 3))
    np.testing.assert_allclose(parts.head(parts.trunk(images)), model(images), rtol=1e-6)


def test_a_reshaped_vector_is_no_map():
    image = tf.keras.Input((8, 8, 3))
    x = layers.Dense(16)(layers.Flatten()(layers.Conv2D(4, 3)(image)))
    x = layers.Flatten()(layers.Reshape((2, 2, 4))(x))
    check_same(tf.keras.Model(image, layers.Dense(CLASSES)(x)), (6, 6, 4), is_softmax=False)


def test_a_branch_around_the_last_convolution_moves_the_cut_before_it():
    image = tf.keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3)(image)
    pooled = [layers.GlobalAveragePooling2D()(x), layers.GlobalAveragePooling2D()(layers.Conv2D(2, 3)(x))]
    model = tf.keras.Model(image, layers.Dense(CLASSES)(layers.Concatenate()(pooled)))
    check_same(model, (6, 6, 4), is_softmax=False)


def test_larq_model_with_softmax_on_a_binary_dense_layer():
    binary = {"input_quantizer": "ste_sign", "kernel_quantizer": "ste_sign", "kernel_constraint": "weight_clip"}
    model = tf.keras.Sequential(
        [
            tf.keras.Input((8, 8, 3)),
            larq.layers.QuantConv2D(4, 3, kernel_quantizer="ste_sign", use_bias=False),
            layers.BatchNormalization(scale=False),
            larq.layers.QuantConv2D(6, 3, use_bias=False, **binary),
            layers.BatchNormalization(scale=False),
            layers.GlobalAveragePooling2D(),
            larq.layers.QuantDense(CLASSES, activation="softmax", **binary),
        ]
    )
    parts = check_same(model, (4, 4, 6), is_softmax=True)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(parts.head(parts.trunk(images_for(model))) ** 2)
    assert all(g is not None for g in tape.gradient(loss, model.trainable_variables))


def test_mixed_precision_logits_are_float32():
    tf.keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        inner = backbone()
        model = tf.keras.Sequential(
            [layers.Rescaling(1.0), inner, layers.GlobalAveragePooling2D(), layers.Dense(CLASSES)]
        )
        model.build((None, 16, 16, 3))
    finally:
        tf.keras.mixed_precision.set_global_policy("float32")
    parts = split(model)
    images = images_for(model)
    features = parts.trunk(images)
    assert features.dtype == tf.float16
    assert parts.head(features).dtype == tf.float32
    np.testing.assert_array_equal(parts.head(features), tf.cast(model(images), tf.float32))


def test_integer_images_are_cast_as_the_model_casts_them():
    model = flat_functional()
    images = tf.cast(images_for(model), tf.uint8)
    parts = split(model)
    np.testing.assert_allclose(parts.head(parts.trunk(images)), model(images), rtol=1e-6)


def test_the_given_model_is_left_as_it_was():
    model = tf.keras.Sequential(
        [backbone(), layers.GlobalAveragePooling2D(), layers.Dense(CLASSES, activation="softmax")]
    )
    everything = [*model._flatten_layers()]
    calls = [(len(layer._inbound_nodes), len(layer._outbound_nodes)) for layer in everything]
    config, images = model.get_config(), images_for(model)
    before = model(images).numpy()
    parts = split(model)
    parts.head(parts.trunk(images))
    assert [(len(layer._inbound_nodes), len(layer._outbound_nodes)) for layer in everything] == calls
    assert model.get_config() == config
    assert model.layers[-1].activation is tf.keras.activations.softmax
    assert model.layers[-1].output.shape == (None, CLASSES)
    np.testing.assert_array_equal(model(images), before)


def test_training_the_halves_trains_the_model(tmp_path):
    model = tf.keras.Sequential(
        [backbone(), layers.GlobalAveragePooling2D(), layers.Dense(CLASSES, activation="softmax")]
    )
    parts = split(model)
    halves = parts.trunk.trainable_variables + parts.head.trainable_variables
    assert {v.ref() for v in halves} == {v.ref() for v in model.trainable_variables}
    images, labels = images_for(model), tf.constant([0, 1, 2])
    optimizer = tf.keras.optimizers.SGD(0.1)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            logits = parts.head(parts.trunk(images, training=True), training=True)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
        optimizer.apply_gradients(zip(tape.gradient(loss, halves), halves, strict=True))
        return loss

    before, mean = model(images).numpy(), model.non_trainable_variables[0].numpy()
    losses = [float(step()) for _ in range(20)]
    assert losses[-1] < losses[0] - 0.05
    assert np.abs(model(images).numpy() - before).max() > 1e-3
    assert np.abs(model.non_trainable_variables[0].numpy() - mean).max() > 1e-3, "moving averages stood still"
    model.save(tmp_path / "model.keras")
    again = tf.keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(tf.nn.softmax(parts.head(parts.trunk(images))), again(images), rtol=1e-5)


def test_the_mode_reaches_dropout_and_a_call_may_fix_it():
    image = tf.keras.Input((8, 8, 3))
    frozen = tf.keras.Sequential([tf.keras.Input((8, 8, 3)), layers.Conv2D(4, 3), layers.BatchNormalization()])
    x = layers.GlobalAveragePooling2D()(frozen(image, training=False))
    model = tf.keras.Model(image, layers.Dense(CLASSES)(layers.Dropout(0.5)(x)))
    parts = split(model)
    images = images_for(model)
    np.testing.assert_array_equal(parts.trunk(images, training=True), parts.trunk(images, training=False))
    features = parts.trunk(images)
    assert np.abs(parts.head(features, training=True) - parts.head(features, training=False)).max() > 1e-3


class Subclassed(tf.keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(CLASSES)

    def call(self, inputs):
        return self.dense(inputs)


def with_subclassed_end():
    image = tf.keras.Input((8, 8, 3))
    return tf.keras.Model(image, Subclassed()(layers.GlobalAveragePooling2D()(layers.Conv2D(2, 3)(image))))


def perceptron():
    return tf.keras.Sequential(
        [tf.keras.Input((8, 8, 3)), layers.Flatten(), layers.Reshape((8, 8, 3)), layers.Flatten(), layers.Dense(3)]
    )


def two_outputs():
    image = tf.keras.Input((8, 8, 3))
    x = layers.Flatten()(layers.Conv2D(2, 3)(image))
    return tf.keras.Model(image, [layers.Dense(2)(x), layers.Dense(3)(x)])


def single_position():
    image = tf.keras.Input((3, 3, 3))
    return tf.keras.Model(image, layers.Dense(2)(layers.Flatten()(layers.Conv2D(2, 3)(image))))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (Subclassed, "expected a functional or built sequential"),
        (lambda: tf.keras.Sequential([layers.Conv2D(2, 3)]), "expected a functional or built sequential"),
        (lambda: layers.Dense(3), "expected a functional or built sequential"),
        (two_outputs, "1 inputs and 2 outputs"),
        (backbone, r"output has shape \(None, 7, 7, 4\), expected \(batch, classes\)"),
        (perceptron, "no convolutional feature map"),
        (single_position, "no convolutional feature map"),
        (with_subclassed_end, "its output comes from .*Subclassed"),
        (lambda: flat_functional(layers.Activation("sigmoid")), "ends in sigmoid"),
        (lambda: flat_functional(tf.nn.sigmoid), "ends in sigmoid"),
        (lambda: flat_functional(layers.Dense(1, activation="sigmoid")), "ends in sigmoid"),
    ],
)
def test_what_cannot_be_cut_is_refused_in_one_line(make, message):
    with pytest.raises(UserError, match=message) as error:
        split(make())
    assert "\n" not in str(error.value)


# --- Stages and the penultimate features ------------------------------------------------------------------------------


def test_stages_and_embedding_beside_the_same_features_and_logits():
    model = residual_student(32, 5, (32, 64), (2, 1))
    plain, tapped = split(model), split(model, stages=True, embedding=True)
    images = tf.constant(np.random.default_rng(1).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8))
    features = plain.trunk(images)
    *stages, last = tapped.trunk(images)
    assert [tuple(stage.shape) for stage in stages] == [(3, 32, 32, 32), (3, 16, 16, 64)]
    first = next(layer for layer in model.layers if isinstance(layer, tf.keras.layers.AveragePooling2D)).input
    np.testing.assert_array_equal(stages[0], tf.keras.Model(model.inputs, first)(images))
    np.testing.assert_array_equal(stages[1], features)
    np.testing.assert_array_equal(last, features)
    embedding, logits = tapped.head(features)
    np.testing.assert_array_equal(logits, plain.head(features))
    np.testing.assert_array_equal(embedding, tf.keras.Model(model.inputs, model.get_layer("pool").output)(images))


def test_the_penultimate_features_of_a_classifier_with_an_activation_and_a_layer_without_kernel_at_its_end():
    image = tf.keras.Input((8, 8, 3))
    x = layers.Dense(7)(layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(image)))
    model = tf.keras.Model(image, layers.Softmax()(layers.Dropout(0.5)(layers.Dense(5)(x))))
    embedding, logits = split(model, embedding=True).head.outputs
    assert (embedding.shape[-1], logits.shape[-1]) == (7, 5)


def test_a_head_without_a_kernel_has_no_penultimate_features():
    image = tf.keras.Input((8, 8, 3))
    model = tf.keras.Model(image, layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(image)))
    assert split(model).head.output_shape == (None, 4)
    with pytest.raises(UserError, match="no penultimate features"):
        split(model, embedding=True)
