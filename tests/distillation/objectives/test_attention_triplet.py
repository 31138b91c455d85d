"""The attention triplet loss: distances worked out by hand, and its gradient against finite differences."""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from envise_tf.distillation.objectives import Evidence
from envise_tf.distillation.objectives.attention_triplet import AttentionTriplet, attention_triplet, most_probable_other
from envise_tf.errors import UserError
from envise_tf.networks.grad_cam import HeadPass
from envise_tf.networks.split import split

layers = tf.keras.layers

# Unit maps of two positions: the teacher's is a 3-4-5 triangle, the student's two are at right angles.
STUDENT_RIGHT, STUDENT_WRONG, TEACHER_RIGHT = [[1.0, 0.0]], [[0.0, 1.0]], [[0.6, 0.8]]


@pytest.fixture
def doubles():
    tf.keras.utils.set_random_seed(6)
    tf.keras.backend.set_floatx("float64")
    yield
    tf.keras.backend.set_floatx("float32")


@pytest.mark.parametrize(
    ("anchor", "squared", "margin", "expected"),
    [
        ("student", False, 1.0, 0.8**0.5 - 2**0.5 + 1.0),
        ("student", False, 0.5, 0.0),
        ("student", True, 1.5, 0.8 - 2.0 + 1.5),
        ("student", True, 1.0, 0.0),
        ("teacher", False, 1.0, 0.8**0.5 - 0.4**0.5 + 1.0),
        ("teacher", False, 0.0, 0.8**0.5 - 0.4**0.5),
        ("teacher", True, 1.0, 0.8 - 0.4 + 1.0),
    ],
)
def test_two_positions_worked_out_by_hand(anchor, squared, margin, expected):
    maps = [tf.constant(each) for each in (STUDENT_RIGHT, STUDENT_WRONG, TEACHER_RIGHT)]
    np.testing.assert_allclose(attention_triplet(*maps, margin, anchor, squared), [expected], atol=1e-6)


@pytest.mark.parametrize("anchor", ["student", "teacher"])
def test_the_teachers_map_is_a_constant(anchor):
    maps = [tf.Variable(each) for each in (STUDENT_RIGHT, STUDENT_WRONG, TEACHER_RIGHT)]
    with tf.GradientTape() as tape:
        loss = attention_triplet(*maps, 1.0, anchor)
    right, wrong, teacher = tape.gradient(loss, maps)
    assert teacher is None
    assert np.abs(right).max() > 0.1
    assert np.abs(wrong).max() > 0.1


@pytest.mark.parametrize("squared", [False, True])
def test_equal_maps_have_a_finite_gradient(squared):
    same = tf.Variable(TEACHER_RIGHT)
    with tf.GradientTape() as tape:
        loss = attention_triplet(same, same, same, 0.3, squared=squared)
    np.testing.assert_allclose(loss, [0.3], atol=1e-5)
    assert np.isfinite(tf.convert_to_tensor(tape.gradient(loss, same))).all()


def test_the_most_probable_other_class():
    logits = tf.constant([[5.0, 1.0, 2.0], [5.0, 1.0, 2.0], [-7.0, -9.0, -9.0], [0.0, 0.0, 0.0]])
    np.testing.assert_array_equal(most_probable_other(logits, tf.constant([0, 2, 0, 0])), [2, 0, 1, 1])


def said(logits, maps):
    """A pass whose logits (batch, classes) and maps (batch, classes, height, width) are given."""
    maps = tf.convert_to_tensor(maps)
    return SimpleNamespace(logits=tf.constant(logits), attention=lambda classes: tf.gather(maps, classes, batch_dims=1))


def evidence_of(student, teacher, classes, pseudo_label, is_known):
    classes = tf.constant(classes, tf.int64)
    teacher_logits = tf.gather(teacher.logits, classes, axis=1)
    return Evidence(
        student, teacher, classes, teacher_logits, tf.constant(pseudo_label, tf.int64), tf.constant(is_known)
    )


def unit(values):
    flat = np.reshape(values, (len(values), -1))
    return flat / np.linalg.norm(flat, axis=1, keepdims=True)


@pytest.mark.parametrize("negative", ["student", "teacher"])
def test_each_network_is_asked_for_the_maps_of_its_own_class_numbers(negative):
    random = np.random.default_rng(7)
    classes, label = np.array([3, 1, 4]), np.array([0, 2])  # the student's 0 is the teacher's 3
    student_maps, teacher_maps = random.uniform(size=(2, 3, 2, 2)), random.uniform(size=(2, 5, 2, 2))
    student = said([[9.0, 1.0, 2.0], [1.0, 2.0, 9.0]], student_maps)
    teacher = said([[9.0, 2.0, 8.0, 7.0, 1.0], [0.0, 1.0, 0.0, 2.0, 9.0]], teacher_maps)
    wrong = [2, 1] if negative == "student" else [1, 0]
    images = np.arange(2)
    right = unit(student_maps[images, label])
    positive = np.linalg.norm(right - unit(teacher_maps[images, classes[label]]), axis=1)
    apart = np.linalg.norm(right - unit(student_maps[images, wrong]), axis=1)
    expected = np.maximum(positive - apart + 0.9, 0)
    assert (expected > 0.1).all()
    triplet = AttentionTriplet(margin=0.9, negative=negative)
    loss, figures = triplet(evidence_of(student, teacher, classes, label, [True, True]))
    assert float(loss) == pytest.approx(expected.mean())
    assert float(figures["zero_maps"]) == 0


def test_a_teachers_finer_map_is_brought_to_the_students_grid():
    coarse = np.array([[[[1.0, 2.0], [3.0, 4.0]], [[4.0, 0.0], [0.0, 1.0]]]])
    fine = coarse.repeat(2, axis=2).repeat(2, axis=3)
    logits = [[2.0, 1.0]]
    loss, _ = AttentionTriplet(margin=1.5)(evidence_of(said(logits, coarse), said(logits, fine), [0, 1], [0], [True]))
    assert float(loss) == pytest.approx(1.5 - np.linalg.norm(unit(coarse[:, 0]) - unit(coarse[:, 1])), abs=1e-5)


def test_maps_of_zero_add_nothing_and_are_counted():
    maps = np.ones((5, 2, 2, 2), "float32")
    maps[:, 1, 0, 0] = 3.0
    student_maps, teacher_maps = maps.copy(), maps.copy()
    student_maps[0, 0] = 0  # right class
    student_maps[1, 1] = 0  # wrong class
    teacher_maps[2, 0] = 0
    student_maps[4] = 0  # not known: not counted
    variable = tf.Variable(student_maps)
    logits = np.tile([[2.0, 1.0]], (5, 1)).astype("float32")
    teacher = said(logits, teacher_maps)
    with tf.GradientTape() as tape:
        evidence = evidence_of(said(logits, variable), teacher, [0, 1], [0] * 5, [True] * 4 + [False])
        loss, figures = AttentionTriplet(margin=1.0)(evidence)
    gradient = tf.convert_to_tensor(tape.gradient(loss, variable)).numpy()
    only = 1.0 - np.linalg.norm(unit(maps[:1, 0]) - unit(maps[:1, 1]))
    assert float(loss) == pytest.approx(only / 4, abs=1e-6)
    assert float(figures["zero_maps"]) == pytest.approx(3 / 4)
    assert np.isfinite(gradient).all()
    np.testing.assert_array_equal(np.abs(gradient).max(axis=(1, 2, 3)) > 0, [False, False, False, True, False])


def smooth_network(classes, seed):
    """A small network without a sign or a corner; its maps are not all zero."""
    tf.keras.utils.set_random_seed(seed)
    image = tf.keras.Input((6, 6, 3))
    x = layers.Conv2D(4, 3, activation="softplus", name="features")(image)
    x = layers.Dense(5, activation="tanh")(layers.Flatten()(x))
    return tf.keras.Model(image, layers.Dense(classes)(x))


def seen(parts, images):
    return HeadPass(parts.head, parts.trunk(images, training=False))


def evidence_from(student, teacher, images, classes):
    student, teacher = seen(student, images), seen(teacher, images)
    own = np.array(teacher.logits)[:, classes]
    return evidence_of(student, teacher, classes, own.argmax(axis=1), [True] * len(own))


def reference(student, teacher, images, classes, margin):
    """The loss in NumPy, from Grad-CAM maps of all classes."""
    student, teacher = seen(student, images), seen(teacher, images)
    count = len(images)
    student_maps = student.attention(tf.tile([range(len(classes))], [count, 1])).numpy()
    teacher_maps = teacher.attention(tf.tile([classes], [count, 1])).numpy()
    label = teacher.logits.numpy()[:, classes].argmax(axis=1)
    others = student.logits.numpy().copy()
    others[np.arange(count), label] = -np.inf
    right = unit(student_maps[np.arange(count), label])
    positive = np.linalg.norm(right - unit(teacher_maps[np.arange(count), label]), axis=1)
    apart = np.linalg.norm(right - unit(student_maps[np.arange(count), others.argmax(axis=1)]), axis=1)
    return np.maximum(positive - apart + margin, 0).mean()


def batch():
    return tf.random.stateless_normal((4, 6, 6, 3), seed=(1, 2), dtype=tf.float64)


def test_on_networks_it_equals_numpy(doubles):
    student, teacher, classes = split(smooth_network(3, 1)), split(smooth_network(5, 2)), [4, 0, 2]
    loss, _ = AttentionTriplet(margin=0.7)(evidence_from(student, teacher, batch(), classes))
    expected = reference(student, teacher, batch(), classes, 0.7)
    assert expected > 0.1
    assert float(loss) == pytest.approx(expected, rel=1e-9)


def test_a_student_that_is_its_teacher_is_only_asked_to_part_its_own_maps(doubles):
    parts = split(smooth_network(3, 1))
    loss, _ = AttentionTriplet(margin=1.5)(evidence_from(parts, parts, batch(), [0, 1, 2]))
    seen_maps = seen(parts, batch())
    ranking = np.argsort(-seen_maps.logits.numpy(), axis=1)[:, :2]
    maps = seen_maps.attention(tf.constant(ranking)).numpy()
    apart = np.linalg.norm(unit(maps[:, 0]) - unit(maps[:, 1]), axis=1)
    assert float(loss) == pytest.approx(np.maximum(1.5 - apart, 0).mean(), abs=1e-5)


@pytest.mark.parametrize(
    "options", [{}, {"anchor": "teacher"}, {"negative": "teacher"}, {"squared": True}], ids=lambda options: str(options)
)
def test_the_gradient_in_the_students_weights_agrees_with_finite_differences(doubles, options):
    student, teacher, classes = smooth_network(3, 1), smooth_network(5, 2), [4, 0, 2]
    halves, taught = split(student), split(teacher)
    triplet, images = AttentionTriplet(margin=0.7, **options), batch()

    label = np.array(seen(taught, images).logits)[:, classes].argmax(axis=1)

    @tf.function(autograph=False)
    def loss_now() -> tf.Tensor:
        return triplet(evidence_of(seen(halves, images), seen(taught, images), classes, label, [True] * len(label)))[0]

    with tf.GradientTape() as tape:
        loss, _ = triplet(evidence_from(halves, taught, images, classes))
    gradients = tape.gradient(loss, [*student.trainable_variables, *teacher.trainable_variables])
    count = len(student.trainable_variables)
    assert all(gradient is None for gradient in gradients[count:])

    step = 1e-6
    for variable, gradient in zip(student.trainable_variables, gradients[:count], strict=True):
        start = variable.numpy()
        slopes = np.zeros(min(start.size, 5))
        for place in range(len(slopes)):
            values = []
            for sign in (1, -1):
                nudged = start.copy()
                nudged.flat[place] += sign * step
                variable.assign(nudged)
                values.append(float(loss_now()))
            slopes[place] = (values[0] - values[1]) / (2 * step)
        variable.assign(start)
        exact = np.zeros(start.size) if gradient is None else np.ravel(gradient)
        np.testing.assert_allclose(exact[: len(slopes)], slopes, rtol=1e-5, atol=1e-8, err_msg=variable.name)
    assert np.abs(gradients[0]).max() > 1e-3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"margin": -0.1}, "margin -0.1, expected at least 0"),
        ({"anchor": "nobody"}, "anchor is 'nobody', expected student or teacher"),
        ({"negative": "nobody"}, "negative is 'nobody', expected student or teacher"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        AttentionTriplet(**options)
