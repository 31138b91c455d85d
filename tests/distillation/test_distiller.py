"""The distiller: what a step changes and what it leaves alone, and that no label can reach the student."""

from dataclasses import dataclass

import numpy as np
import pytest
import tensorflow as tf

from envise_tf.distillation.adam import adam_for
from envise_tf.distillation.distiller import Distiller, student_class_of
from envise_tf.distillation.objective_model import agreement_of
from envise_tf.distillation.objectives import OBJECTIVES, Objective, objective
from envise_tf.errors import UserError
from envise_tf.images.digits import Digits
from envise_tf.images.windows import Augmentation, Stream
from envise_tf.networks.students import is_binary, residual_student
from envise_tf.networks.teachers import wide_resnet

pytestmark = pytest.mark.slow

layers = tf.keras.layers

CLASSES = [2, 0]  # the student's 0 is the teacher's 2; it does not know the teacher's 1
SIZE = 8


@pytest.fixture(autouse=True)
def _seed():
    tf.keras.backend.clear_session()
    tf.keras.utils.set_random_seed(8)


def colour_teacher():
    """Says which of red, green and blue an image has most of: logits 0.1 times the means, always right."""
    image = tf.keras.Input((SIZE, SIZE, 3), dtype="uint8")
    x = layers.Conv2D(3, 1, use_bias=False)(layers.Rescaling(0.1)(image))
    x = layers.Dense(3, use_bias=False)(layers.GlobalAveragePooling2D()(x))
    teacher = tf.keras.Model(image, x)
    teacher.set_weights([np.eye(3).reshape(1, 1, 3, 3), np.eye(3)])
    return teacher


def plain_student():
    """A student of two classes in which no image sees the others of its batch."""
    image = tf.keras.Input((SIZE, SIZE, 3), dtype="uint8")
    x = layers.Conv2D(6, 3, activation="relu")(layers.Rescaling(1 / 127.5, -1)(image))
    x = layers.Dense(8, activation="tanh")(layers.Flatten()(x))
    return tf.keras.Model(image, layers.Dense(2)(x))


def coloured(classes, seed=1):
    """Returns uint8 images that are brightest in the given channels."""
    images = np.random.default_rng(seed).integers(0, 150, (len(classes), SIZE, SIZE, 3), dtype=np.uint8)
    images[np.arange(len(classes)), ..., classes] += 100
    return tf.constant(images)


def objectives(**options):
    chosen = options or {"soft_label": {}, "hard_label": {"weight": 0.3}, "attention_triplet": {"weight": 2.0}}
    return {name: objective(name, values) for name, values in chosen.items()}


def compiled(distiller, binary_rate, float_rate):
    distiller.compile(adam_for(distiller.student, float_rate, binary_rate))
    return distiller


def binary_distiller(binary_rate=0.01, float_rate=0.01, **options):
    student = residual_student(SIZE, 2, (32,), (2,))
    return compiled(Distiller(student, colour_teacher(), CLASSES, objectives(**options)), binary_rate, float_rate)


def figures(distiller):
    return {metric.name: float(metric.result()) for metric in distiller.metrics}


def test_the_teacher_runs_in_inference_mode_and_stays_as_it_is():
    image = tf.keras.Input((SIZE, SIZE, 3), dtype="uint8")
    x = layers.Dropout(0.5)(layers.Rescaling(1 / 255)(image))
    x = layers.BatchNormalization()(layers.Conv2D(4, 3)(x))
    x = layers.Dropout(0.5)(layers.GlobalAveragePooling2D()(x))
    teacher = tf.keras.Model(image, layers.Dense(3, activation="softmax")(x))
    before = teacher.get_weights()
    distiller = compiled(Distiller(plain_student(), teacher, CLASSES, objectives()), 0.0, 0.0)
    images = coloured([0, 1, 2, 0, 1, 2])
    losses = []
    for _ in range(3):
        distiller.reset_metrics()
        distiller.train_on_batch(images)
        losses.append(figures(distiller)["loss"])
    assert losses[0] == losses[1] == losses[2] > 0
    for one, other in zip(before, teacher.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert {id(variable) for variable in distiller.variables}.isdisjoint(id(each) for each in teacher.variables)


def gradient_of_a_step(images):
    """Returns the loss of a step and the gradient, seen as the change that plain descent with rate one makes."""
    tf.keras.utils.set_random_seed(8)
    student = plain_student()
    before = student.get_weights()
    distiller = Distiller(student, colour_teacher(), CLASSES, objectives())
    distiller.compile(tf.keras.optimizers.legacy.SGD(1.0))
    distiller.train_on_batch(images)
    return figures(distiller), [a - b for a, b in zip(before, student.get_weights(), strict=True)]


def test_images_of_classes_that_the_student_lacks_teach_nothing():
    classes = np.array([2, 1, 0, 0, 1, 1, 2])
    images = coloured(classes)
    all_figures, gradients = gradient_of_a_step(images)
    known_figures, known_gradients = gradient_of_a_step(images[classes != 1])
    assert all_figures == pytest.approx(known_figures, rel=1e-5)
    for one, other in zip(gradients, known_gradients, strict=True):
        assert np.abs(other).max() > 1e-4
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_a_batch_that_the_student_knows_nothing_of_changes_nothing():
    values, gradients = gradient_of_a_step(coloured([1, 1, 1]))
    assert values["loss"] == 0
    for gradient in gradients:
        np.testing.assert_array_equal(gradient, np.zeros_like(gradient))


def test_the_loss_is_the_weighted_sum_of_the_objectives_and_each_is_logged():
    distiller = binary_distiller()
    distiller.train_on_batch(coloured([0, 2, 1, 2]))
    logged = figures(distiller)
    assert set(logged) == {"loss", "soft_label", "hard_label", "attention_triplet", "zero_maps", "agreement"}
    parts = 1.0 * logged["soft_label"] + 0.3 * logged["hard_label"] + 2.0 * logged["attention_triplet"]
    assert min(logged["soft_label"], logged["hard_label"], logged["attention_triplet"]) > 0
    assert logged["loss"] == pytest.approx(parts, rel=1e-5)


def test_no_gradient_is_a_sum_of_three():
    """TensorFlow adds two numbers in any order to the same sum, but three in the order of free buffers."""
    distiller, images = binary_distiller(), coloured([0, 2, 1, 2])
    distiller.train_on_batch(images)
    nodes = tf.function(distiller.train_step).get_concrete_function(images).graph.get_operations()
    assert {len(node.inputs) for node in nodes if node.type == "AddN"} == {2}


def test_an_objectives_gradient_counts_by_its_weight():
    def change(weight):
        tf.keras.utils.set_random_seed(8)
        student = plain_student()
        before = student.get_weights()[-2]
        distiller = Distiller(student, colour_teacher(), CLASSES, objectives(hard_label={"weight": weight}))
        distiller.compile(tf.keras.optimizers.legacy.SGD(0.1))
        distiller.train_on_batch(coloured([0, 2, 1, 2]))
        return student.get_weights()[-2] - before

    assert np.abs(change(1.0)).max() > 1e-4
    np.testing.assert_allclose(change(3.0), 3 * change(1.0), rtol=1e-3, atol=1e-7)
    np.testing.assert_array_equal(change(0.0), np.zeros((8, 2)))


def test_binary_kernels_are_clipped_to_one():
    distiller = binary_distiller(binary_rate=2.0)
    kernels = [variable for variable in distiller.student.trainable_variables if is_binary(variable)]
    assert len(kernels) == 2
    for _ in range(4):
        distiller.train_on_batch(coloured([0, 2, 1, 2]))
        for kernel in kernels:
            assert np.abs(kernel).max() == 1.0


@pytest.mark.parametrize(("binary_rate", "float_rate"), [(0.0, 0.01), (0.01, 0.0)])
def test_each_optimiser_moves_its_own_variables(binary_rate, float_rate):
    distiller = binary_distiller(binary_rate, float_rate)
    variables = distiller.student.trainable_variables
    before = [variable.numpy() for variable in variables]
    for seed in range(3):
        distiller.train_on_batch(coloured([0, 2, 0, 2], seed))
    moved = [not np.array_equal(variable, old) for variable, old in zip(variables, before, strict=True)]
    assert moved == [is_binary(variable) == (binary_rate > 0) for variable in variables]


def test_a_student_without_binary_kernels_is_moved_by_the_other_optimiser():
    distiller = compiled(Distiller(plain_student(), colour_teacher(), CLASSES, objectives()), 0.0, 0.01)
    before = distiller.student.get_weights()
    distiller.train_on_batch(coloured([0, 2, 0, 2]))
    assert all(np.abs(a - b).max() > 1e-4 for a, b in zip(before, distiller.student.get_weights(), strict=True))


def test_a_student_learns_one_batch_by_heart_from_soft_labels_alone(monkeypatch):
    traces = []
    monkeypatch.setattr(
        Distiller, "train_step", lambda *given, step=Distiller.train_step: traces.append(1) or step(*given)
    )
    distiller = binary_distiller(soft_label={"temperature": 4.0})
    images = coloured([0, 2, 1, 2, 0, 0, 2, 1, 0, 2])
    distiller.fit(tf.data.Dataset.from_tensors(images).repeat(40), verbose=0)
    assert len(traces) == 1, "a step is traced twice that has to make its optimiser's variables"
    answers = tf.data.Dataset.from_tensors((images, colour_teacher()(images)))
    assert distiller.evaluate(answers, verbose=0, return_dict=True) == {"agreement": 1.0}
    predicted = distiller.predict(images, verbose=0).argmax(axis=1)
    np.testing.assert_array_equal(predicted[[0, 1, 3, 4, 5, 6, 8, 9]], [1, 0, 0, 1, 1, 0, 1, 0])


def test_agreement_is_averaged_over_known_images_and_not_over_batches():
    distiller = binary_distiller()
    images = coloured([0, 2, 1, 2, 0, 1, 1, 1])
    answers = colour_teacher()(images)
    predicted = distiller.student(images, training=False).numpy().argmax(axis=1)
    expected = (predicted[[0, 1, 3, 4]] == [1, 0, 0, 1]).mean()
    for batch_size in (3, 8):  # of three: 2, 2 and 0 known images
        pairs = tf.data.Dataset.from_tensor_slices((images, answers)).batch(batch_size)
        assert distiller.evaluate(pairs, verbose=0) == pytest.approx(expected)


def test_agreement_worked_out_by_hand():
    logits = tf.constant([[3.0, 1.0], [0.0, 2.0], [1.0, 5.0], [2.0, 1.0], [7.0, 0.0]])
    label, known = tf.constant([0, 1, 0, 0, 1], tf.int64), tf.constant([True, True, True, False, False])
    share, count = agreement_of(logits, label, known)
    assert float(share) == pytest.approx(2 / 3)
    assert float(count) == 3
    assert [float(value) for value in agreement_of(logits, label, tf.zeros(5, tf.bool))] == [0, 0]


def test_the_students_class_of_each_of_the_teachers():
    table = student_class_of([4, 0, 3], 6)
    np.testing.assert_array_equal(table, [1, -1, -1, 2, 0, -1])
    assert table.dtype == np.int64


def trained(steps=3):
    tf.keras.utils.set_random_seed(8)
    distiller = binary_distiller()
    distiller.fit(tf.data.Dataset.from_tensors(coloured([0, 2, 1, 2])).repeat(steps), verbose=0)
    return distiller.student.get_weights()


def test_a_strategy_of_one_device_trains_the_same_student():
    with tf.distribute.OneDeviceStrategy("/cpu:0").scope():
        distributed = trained()
    for one, other in zip(distributed, trained(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


# --- Keras' habits ----------------------------------------------------------------------------------------------------

IMAGES = coloured([0, 2, 1, 2, 0, 1, 1, 1, 2])
"""A batch of four has 3 known images, the next has 1, the last 1."""


def test_evaluated_on_images_alone_it_asks_the_teacher_itself():
    distiller = binary_distiller()
    found = distiller.evaluate(IMAGES, batch_size=4, verbose=0, return_dict=True)
    assert set(found) == {"loss", "soft_label", "hard_label", "attention_triplet", "zero_maps", "agreement"}
    pairs = distiller.evaluate(IMAGES, colour_teacher()(IMAGES), batch_size=4, verbose=0, return_dict=True)
    assert pairs == {"agreement": pytest.approx(found["agreement"])}
    whole = distiller.evaluate(tf.data.Dataset.from_tensors(IMAGES), verbose=0, return_dict=True)
    assert found == pytest.approx(whole, rel=1e-4)  # means over known images, however they are cut into batches


def test_evaluation_reports_the_loss_of_the_student_as_it_answers():
    distiller = Distiller(plain_student(), colour_teacher(), CLASSES, objectives(hard_label={"weight": 0.5}))
    distiller.compile()
    known = IMAGES.numpy()[[0, 1, 3, 4, 8]]
    loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)(
        [1, 0, 0, 1, 0], distiller.predict(known, verbose=0)
    )
    found = distiller.evaluate(IMAGES, batch_size=2, verbose=0, return_dict=True)
    assert found["hard_label"] == pytest.approx(float(loss), rel=1e-5)
    assert found["loss"] == pytest.approx(0.5 * float(loss), rel=1e-5)


def test_predictions_are_the_students_logits():
    distiller = binary_distiller()
    logits = distiller.student(IMAGES, training=False)
    for images in (IMAGES.numpy(), tf.data.Dataset.from_tensor_slices(IMAGES).batch(4)):
        np.testing.assert_allclose(distiller.predict(images, verbose=0), logits, rtol=1e-4, atol=1e-4)


def test_it_compiles_by_itself_and_fits_arrays_with_kerass_callbacks(tmp_path):
    distiller = Distiller(residual_student(SIZE, 2, (32,), (1,)), colour_teacher(), CLASSES, objectives())
    distiller.compile()
    callbacks = [
        tf.keras.callbacks.ModelCheckpoint(tmp_path / "best.weights.h5", "val_agreement", save_weights_only=True),
        tf.keras.callbacks.BackupAndRestore(tmp_path / "backup"),
        tf.keras.callbacks.EarlyStopping("loss", patience=9),
        tf.keras.callbacks.CSVLogger(tmp_path / "log.csv"),
    ]
    held_back = (IMAGES, colour_teacher()(IMAGES))
    history = distiller.fit(
        IMAGES, batch_size=3, epochs=2, validation_data=held_back, callbacks=callbacks, verbose=0
    ).history
    assert set(history) >= {"loss", "agreement", "val_agreement"}
    assert (tmp_path / "log.csv").read_text().count("\n") == 3
    weights = distiller.student.get_weights()
    distiller.student.set_weights([0 * weight for weight in weights])
    distiller.load_weights(tmp_path / "best.weights.h5")
    for one, other in zip(weights, distiller.student.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_labels_given_to_fit_are_refused():
    with pytest.raises(UserError, match="expected images alone"):
        binary_distiller().fit(IMAGES, np.zeros(9), verbose=0)


def test_classes_that_are_not_one_a_logit_are_refused():
    with pytest.raises(UserError, match="the student has 2 logits, but 3 classes are given"):
        Distiller(plain_student(), colour_teacher(), [0, 1, 2], objectives())


def test_it_is_made_again_from_its_config():
    distiller = Distiller(plain_student(), colour_teacher(), CLASSES, objectives(), name="mine")
    again = Distiller.from_config(distiller.get_config())
    assert again.name == "mine"
    assert again.get_config() == distiller.get_config()
    again.student.set_weights(distiller.student.get_weights())
    np.testing.assert_array_equal(again(IMAGES), distiller(IMAGES))


def test_saved_and_loaded_it_has_both_networks(tmp_path):
    distiller = binary_distiller()
    distiller.fit(IMAGES, verbose=0)
    distiller.save(tmp_path / "distiller.keras")
    loaded = tf.keras.models.load_model(tmp_path / "distiller.keras")
    loaded.compile()
    before, after = (each.evaluate(IMAGES, verbose=0, return_dict=True) for each in (distiller, loaded))
    assert after == pytest.approx(before, rel=1e-4)


class MislabelledDigits(Digits):
    """The same images in the same order; every label belongs to some other image."""

    def examples(self, split, labels=None):
        examples = super().examples(split, labels)
        shuffled = np.random.default_rng(1).permutation([int(each["label"]) for each in examples])
        mislabelled = tf.data.Dataset.zip((examples, tf.data.Dataset.from_tensor_slices(shuffled)))
        return mislabelled.map(lambda example, label: {**example, "label": label})


def student_from(source):
    tf.keras.utils.set_random_seed(8)
    teacher, student = wide_resnet(32, 10, 10, 1), residual_student(32, 10, (32,), (1,))
    stream = Stream(source, "stream", "disjoint", None, None, window=64, batch_size=16, seed=5)
    images = stream.batches(Augmentation(shift=0.1))
    distiller = compiled(Distiller(student, teacher, range(10), objectives()), 0.01, 0.01)
    distiller.fit(images, steps_per_epoch=4, verbose=0)
    return student.get_weights()


def test_labels_never_reach_the_student():
    right, wrong = (next(iter(s().examples("train").batch(99)))["label"] for s in (Digits, MislabelledDigits))
    assert (right.numpy() != wrong.numpy()).mean() > 0.5
    for one, other in zip(student_from(Digits()), student_from(MislabelledDigits()), strict=True):
        np.testing.assert_array_equal(one, other)


# --- What objectives ask for ------------------------------------------------------------------------------------------

EACH = [{name: {}} for name in OBJECTIVES]
ALL = {name: {} for name in OBJECTIVES} | {"amd": {"local_share": 0.2}}


@pytest.mark.parametrize("options", [*EACH, {"amd": {"local_share": 0.2}}, ALL], ids=lambda options: "-".join(options))
def test_each_objective_moves_the_student_and_no_gradient_is_a_sum_of_three(options):
    distiller, images = staged_distiller(**options), coloured([0, 2, 1, 2, 0, 0])
    before = distiller.student.get_weights()
    distiller.train_on_batch(images)
    assert all(np.isfinite(value) for value in figures(distiller).values())
    assert any(not np.array_equal(a, b) for a, b in zip(before, distiller.student.get_weights(), strict=True))
    nodes = tf.function(distiller.train_step).get_concrete_function(images).graph.get_operations()
    assert {len(node.inputs) for node in nodes if node.type == "AddN"} <= {2}


def staged_distiller(**options):
    student = residual_student(SIZE, 2, (32, 32), (1, 1))
    return compiled(Distiller(student, colour_teacher(), CLASSES, objectives(**options)), 0.01, 0.01)


def test_companions_are_trained_and_saved_with_the_distiller_alone(tmp_path):
    tf.keras.utils.set_random_seed(8)
    with_companions = ("amc", "deep_gambler", "embedding_triplet", "hint", "oskd")
    distiller = staged_distiller(**{name: {} for name in with_companions})
    assert distiller.student.count_params() == residual_student(SIZE, 2, (32, 32), (1, 1)).count_params()
    first = {name: layer.get_weights() for name, layer in distiller.companions.items()}
    assert tuple(first) == with_companions
    distiller.fit(IMAGES, batch_size=9, epochs=2, verbose=0)
    for name, layer in distiller.companions.items():
        assert any(not np.array_equal(a, b) for a, b in zip(first[name], layer.get_weights(), strict=True)), name
    distiller.save(tmp_path / "distiller.keras")
    loaded = tf.keras.models.load_model(tmp_path / "distiller.keras")
    loaded.compile()
    before, after = (each.evaluate(IMAGES, verbose=0, return_dict=True) for each in (distiller, loaded))
    assert after == pytest.approx(before, rel=1e-4)
    assert loaded.companions["amc"].get_weights() == [2.0]  # steps, and none by evaluation


def test_an_objective_that_does_not_suit_the_networks_is_refused_before_training():
    with pytest.raises(UserError, match="16 blocks of a student with 8 penultimate features"):
        Distiller(plain_student(), colour_teacher(), CLASSES, objectives(orthogonal_sphere={}))


@dataclass(frozen=True)
class Seen(Objective):
    needs = ("embedding",)

    def __call__(self, evidence):
        assert not evidence.student.stages  # nobody needs them
        return tf.reduce_sum(evidence.student.embedding) + tf.reduce_sum(evidence.teacher.embedding), {}


def test_the_embedding_is_what_the_last_dense_layer_sees():
    student, teacher = plain_student(), colour_teacher()
    distiller = Distiller(student, teacher, CLASSES, {"seen": Seen()})
    distiller.compile()
    parts = [tf.keras.Model(each.inputs, each.layers[-1].input)(IMAGES) for each in (student, teacher)]
    expected = sum(float(tf.reduce_sum(part)) for part in parts)
    found = distiller.evaluate(tf.data.Dataset.from_tensors(IMAGES), verbose=0, return_dict=True)
    assert found["seen"] == pytest.approx(expected, rel=1e-5)
