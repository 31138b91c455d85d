"""Grad-CAM against closed forms and finite differences, and the gradient of a loss on the maps."""

import envise_tf  # noqa: F401  (first: it asks TensorFlow for Keras 2)

# isort: split
import numpy as np
import pytest
import tensorflow as tf

from envise_tf.errors import UserError
from envise_tf.networks.grad_cam import SMALLEST_NORM, HeadPass, grad_cam, resized_to_smaller, unit_maps
from envise_tf.networks.split import split

pytestmark = pytest.mark.slow

layers = tf.keras.layers
BATCH, HEIGHT, WIDTH, CHANNELS, CLASSES = 3, 4, 5, 6, 7
PAIRS = tf.constant([[0, 3], [6, 1], [2, 2]])


@pytest.fixture(params=["float32", "float64"])
def floats(request):
    yield from _with_floats(request.param)


@pytest.fixture
def doubles():
    yield from _with_floats("float64")


def _with_floats(name):
    tf.keras.utils.set_random_seed(5)
    tf.keras.backend.set_floatx(name)
    yield name
    tf.keras.backend.set_floatx("float32")


def features_of(dtype):
    return tf.random.stateless_normal((BATCH, HEIGHT, WIDTH, CHANNELS), seed=(3, 4), dtype=dtype)


def head_of(*inner):
    return tf.keras.Sequential([tf.keras.Input((HEIGHT, WIDTH, CHANNELS)), *inner])


def pooling_head():
    return head_of(layers.GlobalAveragePooling2D(), layers.Dense(CLASSES))


def flatten_head(activation="relu"):
    return head_of(layers.Flatten(), layers.Dense(8, activation=activation), layers.Dense(CLASSES))


def test_pooling_and_dense_head_has_the_closed_form(floats):
    head, features = pooling_head(), features_of(floats)
    kernel = head.layers[-1].kernel.numpy()
    weighted = np.einsum("bhwk,kc->bchw", features.numpy(), kernel) / (HEIGHT * WIDTH)
    expected = np.stack([np.maximum(weighted[i, PAIRS[i].numpy()], 0) for i in range(BATCH)])
    glance = HeadPass(head, features)
    maps = glance.attention(PAIRS)
    assert maps.shape == (BATCH, 2, HEIGHT, WIDTH)
    assert maps.dtype == floats
    assert (expected > 0).any()
    np.testing.assert_allclose(maps, expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(glance.logits, head(features))


def test_flatten_head_agrees_with_finite_differences(doubles):
    head, features = flatten_head(), features_of(doubles).numpy()
    step, slopes = 1e-6, np.zeros((CLASSES, *features.shape))
    for place in np.ndindex(features.shape[1:]):
        nudge = np.zeros_like(features)
        nudge[(slice(None), *place)] = step
        rise = (head(features + nudge) - head(features - nudge)).numpy() / (2 * step)
        slopes[(slice(None), slice(None), *place)] = rise.T
    weights = slopes.mean(axis=(2, 3))
    expected = np.maximum(np.einsum("cbk,bhwk->bchw", weights, features), 0)
    every_class = tf.tile(tf.range(CLASSES)[tf.newaxis], [BATCH, 1])
    np.testing.assert_allclose(HeadPass(head, tf.constant(features)).attention(every_class), expected, atol=1e-8)


def test_several_classes_at_once_equal_one_at_a_time(doubles):
    glance = HeadPass(flatten_head(), features_of(doubles))
    together = glance.attention(PAIRS)
    for k in range(2):
        np.testing.assert_allclose(together[:, k : k + 1], glance.attention(PAIRS[:, k : k + 1]), rtol=1e-12)


def loss_on_maps(head, features):
    """A loss like the triplet's: distance of unit maps from a fixed direction and from each other, plus the logits."""
    glance = HeadPass(head, features)
    unit, _ = unit_maps(glance.attention(PAIRS[:2]))
    fixed = tf.linspace(tf.constant(0.1, unit.dtype), 1.0, HEIGHT * WIDTH)
    apart = tf.reduce_sum((unit[:, 0] - unit[:, 1]) ** 2)
    return tf.reduce_sum((unit[:, 0] - fixed) ** 2) - 0.5 * apart + 0.1 * tf.reduce_sum(glance.logits**2)


def central_differences(function, values, step=1e-5):
    slopes = np.zeros_like(values)
    for place in np.ndindex(values.shape):
        nudge = np.zeros_like(values)
        nudge[place] = step
        slopes[place] = (function(values + nudge) - function(values - nudge)) / (2 * step)
    return slopes


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_the_gradient_of_a_loss_on_maps_agrees_with_finite_differences(doubles, activation):
    head, features = flatten_head(activation), features_of(doubles)[:2]
    with tf.GradientTape() as tape:
        tape.watch(features)
        loss = loss_on_maps(head, features)
    by_features, *by_weights = tape.gradient(loss, [features, *head.trainable_variables])
    compiled = tf.function(lambda x: loss_on_maps(head, x))

    numeric = central_differences(lambda x: compiled(tf.constant(x)).numpy(), features.numpy())
    assert np.abs(numeric).max() > 0.05
    np.testing.assert_allclose(by_features, numeric, rtol=1e-6, atol=1e-7)

    for variable, slopes in zip(head.trainable_variables, by_weights, strict=True):
        start = variable.numpy()
        rows = start[:4]  # enough of the first kernel, which has 120

        def moved(x, variable=variable, start=start):
            variable.assign(np.concatenate([x, start[4:]]))
            return compiled(features).numpy()

        numeric = central_differences(moved, rows)
        variable.assign(start)
        np.testing.assert_allclose(slopes[:4], numeric, rtol=1e-6, atol=1e-7)
        assert np.abs(numeric).max() > 1e-3


def test_a_trunk_is_trained_through_the_maps_within_a_tf_function():
    tf.keras.utils.set_random_seed(5)
    image = tf.keras.Input((9, 9, 3))
    x = layers.Conv2D(CHANNELS, 3, activation="relu")(image)
    x = layers.Flatten()(layers.MaxPooling2D()(layers.BatchNormalization()(x)))
    model = tf.keras.Model(image, layers.Dense(CLASSES, activation="softmax")(layers.Dense(8, activation="relu")(x)))
    parts = split(model)
    images = tf.random.stateless_normal((BATCH, 9, 9, 3), seed=(1, 2))

    def gradients():
        with tf.GradientTape() as tape:
            glance = HeadPass(parts.head, parts.trunk(images, training=False), training=False)
            unit, _ = unit_maps(glance.attention(PAIRS))
            loss = tf.reduce_sum((unit[:, 0] - unit[:, 1]) ** 2)
        return tape.gradient(loss, [model.layers[1].kernel, model.layers[-1].kernel])

    eager, compiled = gradients(), tf.function(gradients)()
    for one, other in zip(eager, compiled, strict=True):
        assert np.abs(one).max() > 1e-3
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_the_training_flag_reaches_the_head(doubles):
    head = head_of(layers.Dropout(0.5), layers.GlobalAveragePooling2D(), layers.Dense(CLASSES))
    features = features_of(doubles)
    np.testing.assert_array_equal(HeadPass(head, features).logits, head(features, training=False))
    assert np.abs(HeadPass(head, features, training=True).logits - head(features, training=False)).max() > 1e-3


def test_half_precision_features_are_summed_in_float32():
    tf.keras.utils.set_random_seed(5)
    head, features = pooling_head(), features_of("float32")
    entrance = tf.keras.Input((HEIGHT, WIDTH, CHANNELS), dtype="float16")
    half = tf.keras.Model(entrance, head(entrance))
    maps = HeadPass(half, tf.cast(features, tf.float16)).attention(PAIRS)
    assert maps.dtype == tf.float32
    np.testing.assert_allclose(maps, HeadPass(head, features).attention(PAIRS), atol=2e-3)


def test_unit_maps_have_length_one_unless_they_are_zero():
    maps = tf.constant([[[[3.0, 0.0], [0.0, 4.0]], [[0.0, 0.0], [0.0, 0.0]], [[SMALLEST_NORM / 2, 0.0], [0.0, 0.0]]]])
    unit, is_zero = unit_maps(maps)
    np.testing.assert_allclose(unit, [[[0.6, 0, 0, 0.8], [0, 0, 0, 0], [0, 0, 0, 0]]], atol=1e-7)
    np.testing.assert_array_equal(is_zero, [[False, True, True]])


def test_zero_maps_pass_a_gradient_of_zero(doubles):
    head, features = pooling_head(), -tf.abs(features_of(doubles))
    head.layers[-1].kernel.assign(tf.abs(head.layers[-1].kernel))
    with tf.GradientTape() as tape:
        tape.watch(features)
        unit, is_zero = unit_maps(HeadPass(head, features).attention(PAIRS))
        loss = tf.reduce_sum((unit - 1.0) ** 2)
    assert bool(tf.reduce_all(is_zero))
    for gradient in tape.gradient(loss, [features, head.layers[-1].kernel]):
        np.testing.assert_array_equal(gradient, np.zeros(gradient.shape))


def test_resizing_goes_to_the_smaller_grid():
    large = tf.reshape(tf.range(2 * 3 * 4 * 4, dtype=tf.float32), (2, 3, 4, 4))
    small = tf.ones((2, 1, 2, 2))
    for one, other in [resized_to_smaller(large, small), resized_to_smaller(small, large)[::-1]]:
        assert other is small
        # Halved with half-pixel centres, bilinear is the mean of 2x2 neighbours.
        np.testing.assert_allclose(one, large.numpy().reshape(2, 3, 2, 2, 2, 2).mean(axis=(3, 5)), rtol=1e-6)


def test_resizing_leaves_equal_grids_alone_and_keeps_the_type():
    a, b = tf.ones((2, 3, 4, 5)), tf.zeros((2, 1, 4, 5))
    assert resized_to_smaller(a, b) == (a, b)
    crossed = resized_to_smaller(tf.ones((1, 2, 6, 3), tf.float64), tf.ones((1, 1, 4, 5), tf.float64))
    assert [tuple(maps.shape) for maps in crossed] == [(1, 2, 4, 3), (1, 1, 4, 3)]
    assert {maps.dtype for maps in crossed} == {tf.float64}


def test_resizing_maps_of_unknown_size():
    spec = tf.TensorSpec((None, 2, None, None))
    resized = tf.function(resized_to_smaller, input_signature=[spec, spec])(
        tf.ones((1, 2, 8, 6)), tf.ones((1, 2, 4, 3))
    )
    assert [tuple(maps.shape) for maps in resized] == [(1, 2, 4, 3)] * 2


def classifier():
    tf.keras.utils.set_random_seed(5)
    image = tf.keras.Input((9, 9, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(CHANNELS, 3)(image))
    return tf.keras.Model(image, layers.Dense(CLASSES, activation="softmax")(x))


def test_grad_cam_takes_a_model_or_its_halves():
    model, images = classifier(), np.random.default_rng(1).normal(size=(BATCH, 9, 9, 3)).astype("float32")
    features, kernel = model.layers[1](images).numpy(), model.layers[-1].kernel.numpy()
    expected = np.maximum(np.einsum("bhwk,kc->bchw", features, kernel) / 49, 0)[
        np.arange(BATCH)[:, None], PAIRS.numpy()
    ]
    np.testing.assert_allclose(grad_cam(model, images, PAIRS), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(grad_cam(split(model), images, PAIRS.numpy()), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ([0, 1, 2], r"int32 of shape \(3,\), expected integers of shape \(3, K\)"),
        ([[0], [1]], r"shape \(2, 1\), expected integers of shape \(3, K\)"),
        ([[0.0], [1.0], [2.0]], "classes are float32"),
        ([[0], [CLASSES], [2]], f"class {CLASSES} was asked for, expected 0 to {CLASSES - 1}"),
        ([[0], [-1], [2]], "class -1 was asked for"),
    ],
)
def test_grad_cam_refuses_classes_that_make_no_sense(classes, message):
    with pytest.raises(UserError, match=message):
        grad_cam(classifier(), tf.zeros((BATCH, 9, 9, 3)), classes)
